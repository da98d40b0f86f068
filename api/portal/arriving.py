"""Pages for who is not signed in yet: registration (R19), and where a scanned mark leads (R67).

A mark is an address that names a product or an institution. What it names is kept in a cookie for an hour, so that
signing in or enrolling ends there. Gives nobody an account and tells nobody who is on record.
"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.control import Control, ControlDep
from api.db import SYSTEM
from api.enterprises import attempts, upkeep
from api.enterprises.schemas import EnterpriseIn
from api.errors import Invalid, NotFound
from api.fields import Slug
from api.portal import forms, marks
from api.portal.access import Guest, form
from api.portal.reading import address, institution_names
from api.portal.rendering import language_of, page
from api.portal.words import translator
from api.products import service as products
from api.products.schemas import ProductId

router = APIRouter()
ARRIVAL = "__Host-arrival"
HOME = "/portal/"
_SECONDS = 3600
_FIELDS = ("uscc", "name", "subject", "contact_name", "contact")
# what the cookie may say → the page it stands for; anything else is nowhere
_DESTINATIONS = (
    (re.compile(r"product=(pr-[0-9a-f]{12})"), "/portal/financing/products/{}"),
    (re.compile(r"institution=([A-Za-z0-9][A-Za-z0-9_.-]{0,63})"), "/portal/financing/products?institution={}"),
)


def destination(request: Request) -> str:
    """Where signing in ends: at what was scanned within the hour, else at the tasks."""
    return page_of(request.cookies.get(ARRIVAL, ""))


def page_of(said: str) -> str:
    """The page that a mark stands for; the tasks for anything else."""
    for pattern, path in _DESTINATIONS:
        if (found := pattern.fullmatch(said)) is not None:
            return path.format(found[1])
    return HOME


def arrived(answer: Response) -> Response:
    """The mark has been followed: it leads nowhere any more."""
    answer.delete_cookie(ARRIVAL, secure=True, httponly=True, samesite="lax")
    return answer


def _named(control: Control, product: str | None, institution: str | None) -> tuple[str, str, str]:
    """What a mark says, its title, and whose product it is. Raises NotFound for what is not offered."""
    names = institution_names(control)
    if product is not None:
        offered = products.offer(control, SYSTEM, product)
        if offered.state != "on_shelf":
            raise NotFound("product on the shelf", "在架产品", product)
        return f"product={product}", offered.name, names.get(offered.institution, offered.institution)
    if institution is not None and institution in names:
        return f"institution={institution}", names[institution], ""
    raise NotFound("product or institution", "产品或机构", institution or "")


@router.get("/scan/code")
def code(
    guest: Guest,
    control: ControlDep,
    product: Annotated[ProductId | None, Query()] = None,
    institution: Annotated[Slug | None, Query()] = None,
) -> Response:
    """The mark itself, an SVG to print: it carries the address of its page and nothing else."""
    said, title, _ = _named(control, product, institution)
    site = min(control.settings.origins)
    headers = {"content-disposition": 'inline; filename="mark.svg"'}
    return Response(marks.svg(f"{site}/portal/scan?{said}", title), media_type="image/svg+xml", headers=headers)


@router.get("/scan")
def scan(
    guest: Guest,
    control: ControlDep,
    request: Request,
    product: Annotated[ProductId | None, Query()] = None,
    institution: Annotated[Slug | None, Query()] = None,
) -> Response:
    """What the mark names, and the ways on from there. Raises NotFound for what is not offered."""
    said, title, by = _named(control, product, institution)
    answer = page(request, "scan.html", title=title, by=by, to=page_of(said))
    # lax: it comes along from whatever app scanned the code
    answer.set_cookie(ARRIVAL, said, secure=True, httponly=True, samesite="lax", max_age=_SECONDS)
    return answer


# ---- registration


@router.get("/register")
def register_page(guest: Guest, request: Request) -> Response:
    return page(request, "register.html", typed=dict.fromkeys(_FIELDS, ""), wrong=[], error=None)


@router.post("/register")
async def register(guest: Guest, control: ControlDep, request: Request) -> Response:
    fields = await form(request)
    typed = {name: forms.prose(fields.get(name, "")) for name in _FIELDS}
    typed["uscc"] = typed["uscc"].upper()
    return await run_in_threadpool(_register, control, request, typed)


def _register(control: Control, request: Request, typed: dict[str, str]) -> Response:
    body, wrong = forms.read(EnterpriseIn, typed)
    if body is None:
        return page(request, "register.html", 422, typed=typed, wrong=wrong, error=None)
    try:
        upkeep.register(control, body, address(request))
    except (Invalid, attempts.TooManyAttempts) as error:
        english = error.message[:1].upper() + error.message[1:]
        said = translator(language_of(request))(error.message_zh, english)
        return page(request, "register.html", error.status, typed=typed, wrong=[], error=said)
    return page(request, "registered.html", uscc=body.uscc)
