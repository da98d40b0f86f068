"""Who may open which page: every route names its door, and a write through it needs our origin and the CSRF token.

Deny by default: the portal refuses to be built with a route that names no door. Owns no decision of substance; what
a right allows is in `api.enterprises.sessions` and the services.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.concurrency import run_in_threadpool

from api.auth import RouteWithoutPermission
from api.control import Control
from api.enterprises import sessions
from api.enterprises.sessions import COOKIE, CsrfMissing, Visitor
from api.enterprises.states import Right
from api.errors import Forbidden, Invalid, TooLarge

MAX_BODY = 64 << 10
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"
_READING = frozenset({"GET", "HEAD"})


class WrongOrigin(Forbidden):
    """A write that was not sent from a page of this site."""

    code = "wrong_origin"


async def form(request: Request) -> dict[str, str]:
    """The fields of an urlencoded body, read once. Raises TooLarge or Invalid."""
    if not hasattr(request.state, "form"):
        raw = b""
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MAX_BODY:
                    raise TooLarge(f"a form has at most {MAX_BODY} bytes", f"表单不得超过 {MAX_BODY} 字节")
        try:
            pairs = parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=bool(raw), max_num_fields=100)
        except ValueError as error:
            raise Invalid("the form cannot be read", "无法读取表单", code="form_malformed") from error
        request.state.form = dict(pairs)
        # a group of check boxes has one name and several values
        request.state.form_lists = {name: [v for n, v in pairs if n == name] for name, _ in pairs}
    return request.state.form


def check_origin(request: Request, control: Control) -> None:
    """Raises WrongOrigin unless the browser says that one of our own pages sent this."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    if origin not in control.settings.origins or site != "same-origin":
        raise WrongOrigin(
            "the request was not sent from a page of this portal", "请求并非由本门户页面发出，请从门户重新操作"
        )


class Door:
    """The dependency of a route: who comes in. `right` None asks for a session only, `kinds` None for nobody."""

    def __init__(self, right: Right | None = None, kinds: tuple[str, ...] | None = (sessions.PORTAL, sessions.CODE)):
        self.right, self.kinds = right, kinds

    async def __call__(self, request: Request) -> Visitor | None:
        control: Control = request.app.state.control
        writing = request.method not in _READING
        if writing:
            check_origin(request, control)
        if self.kinds is None:
            return None
        who = await run_in_threadpool(sessions.visitor, control, request.cookies.get(COOKIE), self.kinds)
        request.state.visitor = who
        if writing:
            given = request.headers.get(CSRF_HEADER)
            if given is None:
                given = (await form(request)).get(CSRF_FIELD)
            if given is None:
                raise CsrfMissing
            who.check_csrf(given)
        if self.right is not None:
            who.need(self.right)
        return who


ANYBODY = Door(kinds=None)
SIGNED_IN = Door()
VIEW = Door(Right.VIEW)
MANAGE = Door(Right.MANAGE)
ENROLLING = Door(kinds=(sessions.ENROL,))
DECIDE = Door(Right.DECIDE)
KEYHOLDER = Door(kinds=(sessions.PORTAL, sessions.CODE, sessions.ENROL))


def by(door: Door) -> Any:
    return Depends(door)


Guest = Annotated[None, by(ANYBODY)]
Person = Annotated[Visitor, by(SIGNED_IN)]
Viewer = Annotated[Visitor, by(VIEW)]
Manager = Annotated[Visitor, by(MANAGE)]
Decider = Annotated[Visitor, by(DECIDE)]
Enrolling = Annotated[Visitor, by(ENROLLING)]
Keyholder = Annotated[Visitor, by(KEYHOLDER)]


def doors_by_route(app: FastAPI) -> dict[tuple[str, str], Door]:
    """(method, path) → door for every route. Raises RouteWithoutPermission for one that has none."""
    table: dict[tuple[str, str], Door] = {}
    for context in iter_route_contexts(app.routes):
        dependant: Any = getattr(context, "dependant", None)
        doors = [d.call for d in (dependant.dependencies if dependant else []) if isinstance(d.call, Door)]
        if len(doors) != 1:
            raise RouteWithoutPermission(f"{context.methods} {context.path}: exactly one door is needed")
        for method in context.methods or ():
            table[(method, context.path or "")] = doors[0]
    return table
