"""The pages of a person's own consent: what is asked of this person, by whom, for what; give, refuse, withdraw.

Open to whoever is signed in; each sees what is addressed to a pseudonym of the own and nothing else of the enterprise.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.consents import persons, receipts
from api.control import ControlDep
from api.enterprises import own
from api.enterprises.sessions import Visitor
from api.ledger import service as ledger
from api.portal import own_acts
from api.portal.access import Person, form
from api.portal.acts import Wish
from api.portal.reading import address, institution_names, json_body, text_field
from api.portal.rendering import language_of, page, redirect
from consent import notice, person
from consent.canonical import canonical
from consent.times import stamp

router = APIRouter(prefix="/own")
Reference = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
_UNSIGNED = {"kind": "passkey", "reference": "0" * 64}


@router.get("")
def own_page(who: Person, control: ControlDep, request: Request) -> Response:
    now = stamp(control.db.clock())
    with control.db.read(who) as session:
        mine = own.of_person(session, who)
        asks = persons.asks(session, who.uscc, mine, now)
        return page(
            request,
            "own.html",
            waiting=[one for one in asks if one.waits(now)],
            refused=[one for one in asks if one.row is not None and one.row.state in ("refused", "withdrawn")],
            said=list(reversed(persons.of_persons(session, mine))),
            mine=mine,
            now=now,
            names=institution_names(control),
        )


@router.get("/{reference}")
def ask_page(who: Person, control: ControlDep, request: Request, reference: Reference) -> Response:
    return _ask(who, control, request, reference, "own_request.html", unanswered=False)


@router.get("/{reference}/check")
def check_page(
    who: Person,
    control: ControlDep,
    request: Request,
    reference: Reference,
    answer: Annotated[str, Query(pattern="^(person_consent|person_refusal)?$")] = "",
) -> Response:
    if not answer:
        return _ask(who, control, request, reference, "own_request.html", unanswered=True)
    return _ask(who, control, request, reference, "own_check.html", answer=answer)


def _ask(who: Visitor, control: ControlDep, request: Request, reference: str, template: str, **values: Any) -> Response:
    now, language = stamp(control.db.clock()), language_of(request)
    with control.db.read(who) as session:
        ask = own_acts.ask_of(session, who, reference, now)
    body = own_acts.shown(ask, person.CONSENT, now, _UNSIGNED, language)
    return page(
        request, template, ask=ask, body=body, notice=notice.render(body, language),
        names=institution_names(control), **values,
    )  # fmt: skip


def _wish(found: dict[str, Any], request: Request) -> Wish:
    return Wish(text_field(found, "act"), text_field(found, "consent"), language_of(request))


@router.post("/sign/start")
async def sign_start(who: Person, control: ControlDep, request: Request) -> Response:
    wish = _wish(await json_body(request), request)
    started = await run_in_threadpool(own_acts.start, control, who, wish)
    return JSONResponse({"ceremony": started.ceremony, "options": started.options})


@router.post("/sign/finish")
async def sign_finish(who: Person, control: ControlDep, request: Request) -> Response:
    found = await json_body(request)
    seq = await run_in_threadpool(own_acts.finish, control, who, text_field(found, "ceremony"), found.get("credential"))
    return JSONResponse({"next": f"/portal/own/receipts/{seq}"})


@router.post("/sign/code")
async def sign_by_code(who: Person, control: ControlDep, request: Request) -> Response:
    fields = await form(request)
    seq = await run_in_threadpool(
        own_acts.confirm_by_code, control, who, _wish(fields, request), text_field(fields, "code", 64), address(request)
    )
    return redirect(f"/portal/own/receipts/{seq}")


@router.get("/receipts/{seq}")
def receipt_page(who: Person, control: ControlDep, request: Request, seq: int) -> Response:
    with control.db.read(who) as session:
        row = receipts.of_person(session, {one.id for one in own.of_person(session, who)}, seq)
        entry = next(one for one in receipts.history(session, row.consent_id) if one["seq"] == seq)
        return page(request, "own_receipt.html", row=row, entry=entry, names=institution_names(control))


@router.get("/receipts/{seq}/file")
def receipt_file(who: Person, control: ControlDep, seq: int) -> Response:
    with control.db.read(who) as session:
        raw = receipts.of_person_event(control, session, {one.id for one in own.of_person(session, who)}, seq)
        place = ledger.position(session, "feed", str(seq))[0].index
    bundle = receipts.bundle(raw, ledger.inclusions(control, [place])[0])
    return Response(
        canonical(bundle), media_type="application/json",
        headers={"content-disposition": f'attachment; filename="receipt-{seq}.json"'},
    )  # fmt: skip
