"""Pages of financing: products on the shelf, own applications and needs, their deadlines, the word with institutions.

Handlers read the request and call the services that REST calls; they decide nothing. What is about another enterprise
is not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.applications import profiles, repository, service
from api.applications.repository import Referral
from api.applications.schemas import ApplicationDetail, ApplicationId, ReferralId
from api.applications.service import Incomplete, ProductNotFit
from api.applications.states import EDITABLE, REFERRAL, TAKEN_UP
from api.clocks import repository as clock_rows
from api.clocks import service as clocks
from api.clocks.schemas import ClockOut
from api.control import Control, ControlDep
from api.conversations import service as conversations
from api.conversations.schemas import MessageIn
from api.credit import service as credit
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.errors import NotFound
from api.fields import Slug
from api.financing import Guarantee, ProductClass
from api.paging import CursorParam
from api.portal import financing_words, forms
from api.portal.access import Decider, Viewer, form
from api.portal.reading import institution_names
from api.portal.rendering import language_of, page, redirect
from api.products import repository as product_rows
from api.products import service as products
from api.products.schemas import ProductId

router = APIRouter(prefix="/financing")
PAGE = 20
MESSAGES = 200
MOST = 2000  # characters of prose
TAKEN_BACK, CHOSEN = "由企业撤回", "由企业选择"  # why, for the institution and the audit, where nothing was said


def _shared(who: Visitor, control: Control, request: Request) -> dict[str, Any]:
    now, language = control.db.clock(), language_of(request)
    return {
        "money": financing_words,
        "names": institution_names(control),
        "may": Right.DECIDE in who.rights,
        "most": MOST,
        "clock": lambda row: financing_words.clock(row, now, language),
    }


def _show(
    who: Visitor, control: Control, request: Request, template: str, status: int = 200, **values: Any
) -> Response:
    return page(request, template, status, **_shared(who, control, request), **values)


# ---- own applications and needs


@router.get("")
def overview(who: Viewer, control: ControlDep, request: Request, cursor: CursorParam = None) -> Response:
    found = service.mine(control, who, None, cursor, PAGE)
    with control.db.read(who) as session:
        due = _next_due(session, [row.id for row in found.items], control.db.clock())
        titles = _product_names(session, [row.product for row in found.items if row.product is not None])
        has_profile = profiles.profile(session, who.uscc) is not None
    return _show(
        who, control, request, "financing.html", rows=found.items, more=found.next, due=due, titles=titles,
        has_profile=has_profile, credits=credit.mine(control, who, None, PAGE).items,
    )  # fmt: skip


def _next_due(session: Session, applications: Sequence[str], now: datetime) -> dict[str, ClockOut]:
    """The deadline that comes first of each application's running ones."""
    query = (
        clock_rows.query(None, None)
        .join(Referral, Referral.id == clock_rows.Clock.object_id)
        .where(Referral.application.in_(applications))
        .order_by(clock_rows.Clock.due_at.desc())
        .add_columns(Referral.application)
    )
    # in this order the earliest is written last
    return {application: clocks.view(row, now) for row, application in session.execute(query)}


def _product_names(session: Session, ids: Sequence[str]) -> dict[str, str]:
    """Names of those that the enterprise may still see."""
    query = sa.select(product_rows.Product.id, product_rows.Product.name).where(product_rows.Product.id.in_(ids))
    return dict(session.execute(query).tuples().all())


# ---- products on the shelf


@router.get("/products")
def shelf(
    who: Viewer,
    control: ControlDep,
    request: Request,
    amount: Annotated[str, Query(max_length=32)] = "",
    term_months: Annotated[str, Query(max_length=8)] = "",
    product_class: Annotated[str, Query(max_length=32)] = "",
    guarantee: Annotated[str, Query(max_length=32)] = "",
    institution: Annotated[Slug | None, Query()] = None,
    cursor: CursorParam = None,
) -> Response:
    """A field that is no number, or a class that is not known, filters nothing and is said to be wrong."""
    typed = {**forms.blank_loan(), "amount": amount, "term_months": term_months, "product_class": product_class}
    typed["guarantees"] = [guarantee] if guarantee else []
    wanted, wrong = forms.application(typed, None)
    found = products.offers(
        control,
        who,
        "rate",
        cursor,
        PAGE,
        amount=wanted.amount if wanted else None,
        term_months=wanted.term_months if wanted else None,
        product_class=wanted.product_class if wanted else None,
        guarantee=wanted.guarantees[0] if wanted and wanted.guarantees else None,
        institution=institution,
    )
    asked = {"amount": amount, "term_months": term_months, "product_class": product_class, "guarantee": guarantee}
    asked["institution"] = institution or ""
    return _show(
        who, control, request, "financing_products.html", rows=found.items, more=found.next, asked=asked, wrong=wrong,
        classes=list(ProductClass), guarantees=list(Guarantee),
    )  # fmt: skip


@router.get("/products/{product_id}")
def product_page(who: Viewer, control: ControlDep, request: Request, product_id: ProductId) -> Response:
    row = products.offer(control, who, product_id)
    return _show(who, control, request, "financing_product.html", row=row)


# ---- filling in


@router.get("/new")
def new_page(
    who: Viewer, control: ControlDep, request: Request, product: Annotated[ProductId | None, Query()] = None
) -> Response:
    return _loan_form(who, control, request, product, forms.blank_loan())


def _loan_form(
    who: Visitor,
    control: Control,
    request: Request,
    product_id: str | None,
    typed: dict[str, Any],
    *,
    row: ApplicationDetail | None = None,
    wrong: Sequence[str] = (),
) -> Response:
    offered = None if product_id is None else products.offer(control, who, product_id)
    return _show(
        who, control, request, "financing_form.html", 422 if wrong else 200, product=offered, typed=typed, row=row,
        wrong=list(wrong), classes=list(ProductClass), guarantees=list(Guarantee),
    )  # fmt: skip


@router.post("/new")
async def begin(who: Decider, control: ControlDep, request: Request) -> Response:
    fields = await form(request)
    typed = forms.typed_loan(fields, request.state.form_lists)
    return await run_in_threadpool(_begin, who, control, request, fields.get("product") or None, typed)


def _begin(who: Visitor, control: Control, request: Request, product_id: str | None, typed: dict[str, Any]) -> Response:
    body, wrong = forms.application(typed, product_id)
    if body is None:
        return _loan_form(who, control, request, product_id, typed, wrong=wrong)
    made = service.draft(control, who, body)
    return redirect(f"/portal/financing/{made.id}/check")


@router.get("/profile")
def profile_page(
    who: Viewer,
    control: ControlDep,
    request: Request,
    application: Annotated[ApplicationId | None, Query()] = None,
) -> Response:
    try:
        kept = service.get_profile(control, who)
    except NotFound:
        return _profile_form(who, control, request, forms.blank_profile(who.uscc), application)
    return _profile_form(who, control, request, forms.profile_of(kept), application, version=kept.version)


def _profile_form(
    who: Visitor,
    control: Control,
    request: Request,
    typed: dict[str, Any],
    application: str | None,
    *,
    wrong: Sequence[str] = (),
    version: int | str | None = None,
) -> Response:
    return _show(
        who, control, request, "financing_profile.html", 422 if wrong else 200, typed=typed, wrong=list(wrong),
        application=application, version=version,
    )  # fmt: skip


@router.post("/profile")
async def save_profile(who: Decider, control: ControlDep, request: Request) -> Response:
    fields = await form(request)
    typed = forms.typed_profile(fields, request.state.form_lists)
    return await run_in_threadpool(_save_profile, who, control, request, fields, typed)


def _save_profile(
    who: Visitor, control: Control, request: Request, fields: dict[str, str], typed: dict[str, Any]
) -> Response:
    application, version = fields.get("application") or None, fields.get("version") or None
    body, wrong = forms.profile(typed)
    if body is None:
        return _profile_form(who, control, request, typed, application, wrong=wrong, version=version)
    service.save_profile(control, who, body, None if version is None else f'"{version}"')
    if application is None:
        return redirect("/portal/financing")
    return redirect(f"/portal/financing/{service.get_mine(control, who, application).id}/check")


# ---- the word with an institution


def _referral(session: Session, who: Visitor, referral_id: str) -> Referral:
    row = repository.referral(session, referral_id)
    if row is None or row.enterprise != who.uscc:
        raise NotFound("referral", "受理单", referral_id)
    return row


@router.get("/referrals/{referral_id}")
def referral_page(who: Viewer, control: ControlDep, request: Request, referral_id: ReferralId) -> Response:
    return _conversation(who, control, request, referral_id)


def _conversation(
    who: Visitor, control: Control, request: Request, referral_id: str, *, unsaid: bool = False, text: str = ""
) -> Response:
    with control.db.read(who) as session:
        row = _referral(session, who, referral_id)
        due = [clocks.view(one, control.db.clock()) for one in clock_rows.of_object(session, row.id)]
    said = conversations.messages(control, who, referral_id, None, MESSAGES).items
    return _show(
        who, control, request, "financing_referral.html", 422 if unsaid else 200, row=row, said=said, text=text,
        due=[one for one in due if one.stopped_at is None], unsaid=unsaid, open=row.state not in REFERRAL.final,
    )  # fmt: skip


@router.post("/referrals/{referral_id}/messages")
async def write(who: Decider, control: ControlDep, request: Request, referral_id: ReferralId) -> Response:
    text = forms.prose((await form(request)).get("text", ""))
    return await run_in_threadpool(_write, who, control, request, referral_id, text)


def _write(who: Visitor, control: Control, request: Request, referral_id: str, text: str) -> Response:
    body, _ = forms.read(MessageIn, {"text": text})
    if body is None:
        return _conversation(who, control, request, referral_id, unsaid=True, text=text)
    conversations.write(control, who, referral_id, body)
    return redirect(f"/portal/financing/referrals/{referral_id}#said")


# ---- one application


@router.get("/{application_id}")
def application_page(who: Viewer, control: ControlDep, request: Request, application_id: ApplicationId) -> Response:
    row = service.get_mine(control, who, application_id)
    with control.db.read(who) as session:
        due = {
            one.object_id: clocks.view(one, control.db.clock())
            for each in row.referrals
            for one in clock_rows.of_object(session, each.id)
            if one.stopped_at is None
        }
        title = _product_names(session, [row.product] if row.product is not None else [])
    return _show(
        who, control, request, "financing_application.html", row=row, due=due, title=title.get(row.product or ""),
        editable=row.state in EDITABLE, taken_up=TAKEN_UP, over=row.ended_at is not None,
    )  # fmt: skip


@router.get("/{application_id}/edit")
def edit_page(who: Viewer, control: ControlDep, request: Request, application_id: ApplicationId) -> Response:
    row = service.get_mine(control, who, application_id)
    if row.state not in EDITABLE:
        return redirect(f"/portal/financing/{row.id}")
    return _loan_form(who, control, request, row.product, forms.loan_of(row), row=row)


@router.post("/{application_id}/edit")
async def change(who: Decider, control: ControlDep, request: Request, application_id: ApplicationId) -> Response:
    fields = await form(request)
    typed = forms.typed_loan(fields, request.state.form_lists)
    return await run_in_threadpool(_change, who, control, request, application_id, typed, fields.get("version", ""))


def _change(
    who: Visitor, control: Control, request: Request, application_id: str, typed: dict[str, Any], version: str
) -> Response:
    row = service.get_mine(control, who, application_id)
    body, wrong = forms.application(typed, row.product)
    if body is None:
        return _loan_form(who, control, request, row.product, typed, row=row, wrong=wrong)
    service.change(control, who, row.id, body, f'"{version}"' if version else None)
    return redirect(f"/portal/financing/{row.id}/check")


@router.get("/{application_id}/check")
def check_page(who: Viewer, control: ControlDep, request: Request, application_id: ApplicationId) -> Response:
    return _check(who, control, request, application_id)


def _check(
    who: Visitor, control: Control, request: Request, application_id: str, misfits: Sequence[str] = ()
) -> Response:
    row = service.get_mine(control, who, application_id)
    if row.state not in EDITABLE:
        return redirect(f"/portal/financing/{row.id}")
    with control.db.read(who) as session:
        title = _product_names(session, [row.product] if row.product is not None else [])
        basic = profiles.profile(session, who.uscc)
        return _show(
            who, control, request, "financing_check.html", 422 if misfits else 200, row=row, basic=basic,
            title=title.get(row.product or ""), misfits=list(misfits),
        )  # fmt: skip


@router.post("/{application_id}/submit")
def submit(who: Decider, control: ControlDep, request: Request, application_id: ApplicationId) -> Response:
    try:
        service.submit(control, who, application_id)
    except Incomplete:
        return _check(who, control, request, application_id)  # the page says what is missing
    except ProductNotFit as error:
        return _check(who, control, request, application_id, error.extra["misfits"])
    return redirect(f"/portal/financing/{application_id}")


@router.post("/{application_id}/withdraw")
async def withdraw(who: Decider, control: ControlDep, request: Request, application_id: ApplicationId) -> Response:
    reason = forms.prose((await form(request)).get("reason", ""))[:MOST] or TAKEN_BACK
    await run_in_threadpool(service.withdraw, control, who, application_id, reason)
    return redirect(f"/portal/financing/{application_id}")


@router.post("/{application_id}/choose/{referral_id}")
def choose(who: Decider, control: ControlDep, application_id: ApplicationId, referral_id: ReferralId) -> Response:
    service.choose(control, who, application_id, referral_id, CHOSEN)
    return redirect(f"/portal/financing/{application_id}")
