"""Referrals as an institution works on them: accept or refuse, follow up, approve or decline, each against its clock.

Every step is attested by whoever reports it, and kept (R9). What follows an approval is the credit ledger's
(`api.credit`).
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

from sqlalchemy.orm import Session

from api.applications import repository, service
from api.applications.profiles import Basic
from api.applications.repository import Progress, Referral
from api.applications.schemas import (
    AcceptIn,
    ApprovalIn,
    FollowUpIn,
    Need,
    ProgressOut,
    ReferralDetail,
    ReferralOut,
)
from api.applications.states import CLOCK_OF, REFERRAL
from api.auth import Caller
from api.clocks import repository as clock_rows
from api.clocks import service as clocks
from api.consents.requests import inform
from api.control import Control
from api.db import SYSTEM, Unit
from api.errors import Conflict, Invalid, NotFound
from api.institutions import repository as institutions
from api.paging import Order, Page, page
from api.usage.repository import Usage
from api.workdays import ZONE, local_day

_NEWEST = Order("received", (Referral.received_at, Referral.id), descending=True)
_BOARD = Order("board", (repository.Application.submitted_at, repository.Application.id), descending=True)


def own(unit: Unit, caller: Caller, referral_id: str) -> Referral:
    """The institution's own referral, held together with its application. Raises NotFound, also for another's."""
    row = repository.referral(unit.session, referral_id)
    if row is None or row.institution != caller.institution:
        raise NotFound("referral", "受理单", referral_id)
    repository.hold(unit.session, row.application)
    unit.session.refresh(row, with_for_update=True)
    return row


def check_day(unit: Unit, row: Referral, day: date) -> None:
    """Raises Invalid for a day before the referral or after today."""
    if not local_day(row.received_at) <= day <= local_day(unit.now):
        raise Invalid(
            f"on_day: {day} is not between the day it was received, {local_day(row.received_at)}, and today",
            f"on_day：{day} 不在收到申请之日（{local_day(row.received_at)}）与今日之间",
            code="day_out_of_range",
        )


def check_usage(session: Session, usage_id: str | None, institution: str, enterprise: str) -> None:
    """That a use which a step rests on is this institution's, of this enterprise (R14, R27). Raises NotFound."""
    if usage_id is None:
        return
    use = session.get(Usage, usage_id)
    if use is None or (use.institution, use.object_kind, use.object_id) != (institution, "enterprise", enterprise):
        raise NotFound("usage record", "使用记录", usage_id)


def step(
    unit: Unit,
    control: Control,
    row: Referral,
    to: str | None,
    name: str,
    note: str,
    on_day: date,
    *,
    usage_id: str | None = None,
    since: datetime | None = None,
) -> None:
    """One attested step: moves the referral when `to` is given, stops the clock of the state left, starts the next.

    `since` is when the next clock's period began, when that was before now.
    """
    check_usage(unit.session, usage_id, row.institution, row.enterprise)
    late = False
    row.attest(unit.actor, unit.now)
    if to is not None:
        left = row.state
        if to in REFERRAL.final:
            row.ended_at = unit.now
        unit.transition(row, to, f"referral.{name}", note)
        if left in CLOCK_OF:
            late = clocks.stop(unit, row.id, CLOCK_OF[left])
        if to in CLOCK_OF:
            about = ("referral", row.id)
            clocks.start(unit, control, CLOCK_OF[to], about, row.institution, enterprise=row.enterprise, since=since)
        inform(unit, row.enterprise, f"referral_{to}", row.id)
        service.tell(unit, row)
    row.late = row.late or late
    progress = Progress(
        referral=row.id,
        institution=row.institution,
        enterprise=row.enterprise,
        step=name,
        on_day=on_day,
        note=note,
        usage_id=usage_id,
        late=late,
    )
    progress.attest(unit.actor, unit.now)
    unit.session.add(progress)
    unit.session.flush()
    unit.record("referral.progress", row, name)
    if to in REFERRAL.final and row.kind == "product":
        _close(unit, row)


def _close(unit: Unit, row: Referral) -> None:
    """An application for a product ends with its only referral; an open need ends when its enterprise says so."""
    application = repository.application(unit.session, row.application)
    assert application is not None
    application.ended_at = unit.now
    unit.transition(application, "closed", "application.close", f"its referral is {row.state}")


def _today(unit: Unit) -> date:
    return local_day(unit.now)


def accept(control: Control, caller: Caller, referral_id: str, body: AcceptIn) -> ReferralDetail:
    """Takes it up, and names who looks after it (R10, R33). The clock of the follow-up starts (R11)."""
    with control.db.unit(caller) as unit:
        row = own(unit, caller, referral_id)
        row.liaison_name, row.liaison_contact, row.decided_at = body.liaison_name, body.liaison_contact, unit.now
        step(unit, control, row, "accepted", "accept", body.note, _today(unit))
        return _detail(unit.session, row, unit.now)


def refuse(control: Control, caller: Caller, referral_id: str, reason: str) -> ReferralDetail:
    """Does not take it up, with a reason that the enterprise reads (R10)."""
    with control.db.unit(caller) as unit:
        row = own(unit, caller, referral_id)
        row.decided_at, row.reason = unit.now, reason
        step(unit, control, row, "refused", "refuse", reason, _today(unit))
        return _detail(unit.session, row, unit.now)


def follow_up(control: Control, caller: Caller, referral_id: str, body: FollowUpIn) -> ReferralDetail:
    """The offline follow-up took place (R11)."""
    with control.db.unit(caller) as unit:
        row = own(unit, caller, referral_id)
        check_day(unit, row, body.on_day)
        step(unit, control, row, "followed_up", "follow_up", body.note, body.on_day, usage_id=body.usage_id)
        return _detail(unit.session, row, unit.now)


def note(control: Control, caller: Caller, referral_id: str, body: FollowUpIn) -> ReferralDetail:
    """Anything else that happened while it is open."""
    with control.db.unit(caller) as unit:
        row = own(unit, caller, referral_id)
        check_day(unit, row, body.on_day)
        if row.state in REFERRAL.final:
            raise Conflict(
                f"referral {row.id} is {row.state}: nothing more happens to it",
                f"受理单 {row.id} 当前状态为 {row.state}，不能再记录进展",
                code="referral_ended",
            )
        step(unit, control, row, None, "note", body.note, body.on_day, usage_id=body.usage_id)
        return _detail(unit.session, row, unit.now)


def approve(control: Control, caller: Caller, referral_id: str, body: ApprovalIn) -> ReferralDetail:
    """The institution approved it on a day; its result is due from that day on (R11)."""
    with control.db.unit(caller) as unit:
        row = own(unit, caller, referral_id)
        check_day(unit, row, body.on_day)
        row.approved_on, row.approved_amount = body.on_day, body.approved_amount
        since = datetime.combine(body.on_day, time(), ZONE)
        step(unit, control, row, "approved", "approve", body.note, body.on_day, usage_id=body.usage_id, since=since)
        return _detail(unit.session, row, unit.now)


def decline(control: Control, caller: Caller, referral_id: str, body: FollowUpIn) -> ReferralDetail:
    """After the follow-up no credit is given; the note is the reason."""
    with control.db.unit(caller) as unit:
        row = own(unit, caller, referral_id)
        check_day(unit, row, body.on_day)
        row.reason = body.note
        step(unit, control, row, "declined", "decline", body.note, body.on_day, usage_id=body.usage_id)
        return _detail(unit.session, row, unit.now)


# ---- open needs


def board(control: Control, caller: Caller, cursor: str | None, limit: int) -> Page[Need]:
    """Open needs that institutions may ask for, without names (R45)."""
    with control.db.read(caller) as session:
        return page(session, repository.board(), _BOARD, cursor, limit, _need)


def _need(row: repository.Application) -> Need:
    basic = row.basic or {}
    shared: dict[str, Any] = {name: basic[name] for name in ("region", "industry", "size")}
    shared |= {name: getattr(row, name) for name in Need.model_fields if name not in shared}
    return Need(**shared)


def ask(control: Control, caller: Caller, application_id: str) -> ReferralDetail:
    """Asks for an open need; the enterprise said that any institution may. Raises NotFound or Conflict."""
    with control.db.unit(caller) as unit:
        repository.hold(unit.session, application_id)
        row = unit.session.scalar(repository.board().where(repository.Application.id == application_id))
        if row is None:
            raise NotFound("open need", "融资需求", application_id)
        if any(each.institution == caller.institution for each in repository.referrals_of(unit.session, row.id)):
            raise Conflict("your institution has it already", "贵机构已收到该需求", code="exists")
        if institutions.state(unit.session, caller.institution) != "active":
            raise Conflict(
                "your institution is suspended: nothing is referred to it",
                "贵机构已被暂停，不能受理",
                code="institution_suspended",
            )
        referral = service.received(unit, control, row, caller.institution, "asked")
        inform(unit, row.enterprise, "need_asked", referral.id)
        return _detail(unit.session, referral, unit.now)


# ---- reading


def _detail(session: Session, row: Referral, now: datetime) -> ReferralDetail:
    application = repository.application(session, row.application)
    assert application is not None
    return ReferralDetail(
        **ReferralOut.model_validate(row).model_dump(),
        purpose=application.purpose,
        repayment=application.repayment,
        guarantees=application.guarantees,
        rate_most=application.rate_most,
        basic=Basic.model_validate(application.basic, strict=False),
        progress=[ProgressOut.model_validate(each) for each in repository.progress_of(session, row.id)],
        clocks=[clocks.view(each, now) for each in clock_rows.of_object(session, row.id)],
    )


def get(control: Control, caller: Caller, referral_id: str) -> ReferralDetail:
    """An institution its own, the platform any. Raises NotFound."""
    with control.db.read(caller) as session:
        row = repository.referral(session, referral_id)
        if row is None or caller.institution not in (row.institution, SYSTEM.institution):
            raise NotFound("referral", "受理单", referral_id)
        return _detail(session, row, control.db.clock())


def listed(control: Control, caller: Caller, state: str | None, cursor: str | None, limit: int) -> Page[ReferralOut]:
    """The institution's own, newest first; for the platform, everybody's."""
    institution = None if caller.institution == SYSTEM.institution else caller.institution
    query = repository.referrals(institution=institution, state=state)
    with control.db.read(caller) as session:
        return page(session, query, _NEWEST, cursor, limit, ReferralOut.model_validate)
