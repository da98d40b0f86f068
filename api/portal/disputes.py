"""Pages of disputes and complaints: open one, see its clock and the answer, accept it, ask again or take it back.

Handlers read the request and call `api.disputes.service`, which decides; what is about another enterprise is not found.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from api.control import Control, ControlDep
from api.disputes import service
from api.disputes.schemas import DisputeIn, DisputeOut
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.errors import Invalid, NotFound
from api.fields import UsageId
from api.portal import acts
from api.portal.access import Decider, Viewer, form
from api.portal.reading import institution_names
from api.portal.rendering import page, redirect
from api.usage import repository as usage

router = APIRouter()
MOST = 2000  # characters of what is said
ACTS = {"accept": service.close, "again": service.reopen, "back": service.take_back}
_WORDS = {"accept": "the enterprise accepts the answer", "back": "taken back by the enterprise"}
DisputeName = Annotated[str, Path(pattern=r"^d-[0-9a-f]{12}$")]


def days_left(row: DisputeOut, now: datetime) -> int:
    """Whole days until the answer is due, rounded up; 0 on the last day, below when it is late."""
    return -((now - row.due_at) // timedelta(days=1))


@router.get("/disputes")
def disputes_page(who: Viewer, control: ControlDep, request: Request) -> Response:
    rows = service.of_enterprise(control, who.uscc).items
    return page(request, "disputes.html", rows=rows, **_shared(who, control))


def _shared(who: Visitor, control: Control) -> dict[str, Any]:
    now = control.db.clock()
    return {
        "names": institution_names(control),
        "may": Right.DECIDE in who.rights,
        "days_left": lambda row: days_left(row, now),
    }


@router.get("/disputes/new")
def new_page(
    who: Viewer,
    control: ControlDep,
    request: Request,
    consent: Annotated[int | None, Query(ge=1)] = None,
    use: Annotated[UsageId | None, Query()] = None,
) -> Response:
    return _form(who, control, request, consent, use)


def _form(
    who: Visitor, control: Control, request: Request, consent: int | None, use: str | None, **more: Any
) -> Response:
    about = _about(who, control, consent, use)
    values = {"error": None, "kind": "", "text": "", "status": 200, **more}
    return page(
        request, "dispute_new.html", values.pop("status"), about=about, use=use, most=MOST,
        dispute_days=control.settings.dispute_days, complaint_days=control.settings.complaint_days,
        **values, **_shared(who, control),
    )  # fmt: skip


def _about(who: Visitor, control: Control, consent: int | None, use: str | None) -> dict[str, Any]:
    """What it is about, for the page and for the service. Raises NotFound for another enterprise's."""
    with control.db.read(who) as session:
        if use is not None:
            row = session.get(usage.Usage, use)
            if row is None or (row.object_kind, row.object_id) != ("enterprise", who.uscc):
                raise NotFound("usage record", "使用记录", use)
            return {"institution": row.institution, "purpose": row.purpose, "at": row.at, "seq": None, "consent": None}
        if consent is not None:
            given = acts.consent_at(session, who.uscc, consent)
            return {
                "institution": given.recipient, "purpose": given.purpose, "at": None, "seq": consent,
                "consent": given.consent_id,
            }  # fmt: skip
    return {"institution": None, "purpose": None, "at": None, "seq": None, "consent": None}


@router.post("/disputes")
async def open_one(who: Decider, control: ControlDep, request: Request) -> Response:
    return await run_in_threadpool(_open, who, control, request, await form(request))


def _open(who: Visitor, control: Control, request: Request, fields: dict[str, str]) -> Response:
    seq, use = fields.get("seq") or None, fields.get("use") or None
    if seq is not None and not (seq.isascii() and seq.isdigit() and len(seq) < 18):
        raise NotFound("consent", "授权", seq)
    consent = None if seq is None else int(seq)
    about = _about(who, control, consent, use)
    # a browser sends line breaks as CR LF
    text, kind = fields.get("text", "").replace("\r\n", "\n").strip(), fields.get("kind", "")
    try:
        body = DisputeIn(
            kind=kind,  # type: ignore[arg-type]
            enterprise=who.uscc, text=text, consent_id=about["consent"], usage_id=use,
        )  # fmt: skip
    except ValidationError:
        wrong = "kind" if kind not in ("dispute", "complaint") else "text"
        return _form(who, control, request, consent, use, error=wrong, kind=kind, text=text, status=422)
    return redirect(f"/portal/disputes/{service.open_dispute(control, who, body).id}")


@router.get("/disputes/{dispute_id}")
def dispute_page(who: Viewer, control: ControlDep, request: Request, dispute_id: DisputeName) -> Response:
    return _dispute(who, control, request, dispute_id)


def _dispute(
    who: Visitor, control: Control, request: Request, dispute_id: str, status: int = 200, *, unsaid: bool = False
) -> Response:
    row = service.one_of(control, who.uscc, dispute_id)
    return page(request, "dispute.html", status, row=row, most=MOST, unsaid=unsaid, **_shared(who, control))


@router.post("/disputes/{dispute_id}/{act}")
async def move(who: Decider, control: ControlDep, request: Request, dispute_id: DisputeName, act: str) -> Response:
    if act not in ACTS:
        raise Invalid(f"act {act!r} is not known", "未知操作", code="act_unknown")
    said = (await form(request)).get("reason", "").replace("\r\n", "\n").strip()
    if act == "again" and not 0 < len(said) <= MOST:
        return await run_in_threadpool(_dispute, who, control, request, dispute_id, 422, unsaid=True)
    reason = _WORDS.get(act) or said
    await run_in_threadpool(ACTS[act], control, who, dispute_id, reason, enterprise=who.uscc)
    return redirect(f"/portal/disputes/{dispute_id}")
