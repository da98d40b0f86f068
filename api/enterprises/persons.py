"""REST for an enterprise's people: the portal's session as a permission of a route.

The cookie says who it is; a write also needs our origin and the session's CSRF token, as a page's does. No staff
role has these actions, so a bearer token is refused by the table as everywhere else.
"""

from __future__ import annotations

from fastapi import Request

from api.auth import Action, Permits
from api.control import Control
from api.enterprises import sessions
from api.enterprises.sessions import COOKIE, Visitor
from api.enterprises.states import Right
from api.portal.access import CSRF_HEADER, check_origin

_READING = frozenset({"GET", "HEAD"})


class PersonPermits(Permits):
    """The dependency of a route under /v1/my: its action, the right it needs, and the person once allowed."""

    def __init__(self, action: Action, right: Right) -> None:
        super().__init__(action)
        self.right = right

    def __call__(self, request: Request) -> Visitor:  # type: ignore[override]
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            super().__call__(request)  # 401 without a token, 403 for staff: no role has the action
        control: Control = request.app.state.control
        who = sessions.visitor(control, cookie, (sessions.PORTAL, sessions.CODE))
        if request.method not in _READING:
            check_origin(request, control)
            who.check_csrf(request.headers.get(CSRF_HEADER))
        who.need(self.right)
        return who


def as_person(action: Action, right: Right) -> PersonPermits:
    return PersonPermits(action, right)
