"""Guarantees: an enterprise invites a guarantor to its application, and the guarantor accepts or refuses by itself.

Neither the platform nor the bank answers for a guarantor. A bank sees the guarantees of the applications before it.
"""

from __future__ import annotations

import secrets

from sqlalchemy.orm import Session

from api.applications import handling
from api.applications import repository as applications
from api.applications.profiles import Basic
from api.applications.states import APPLICATION
from api.auth import Caller
from api.clocks import service as clocks
from api.consent_events import service as consent_events
from api.consents.requests import inform
from api.control import Control
from api.db import Actor, Unit
from api.errors import Conflict, NotFound
from api.guarantees import repository
from api.guarantees.repository import Guarantee
from api.guarantees.schemas import AnswerIn, GuaranteeDetail, GuaranteeOut, Guarantees, InvitationIn
from api.institutions import repository as institutions
from api.paging import Order, Page, page

_NEWEST = Order("invited", (Guarantee.invited_at, Guarantee.id), descending=True)
GUARANTOR = "guarantor"  # the kind of institution


def invite(control: Control, actor: Actor, application_id: str, body: InvitationIn) -> GuaranteeOut:
    """Invites a guarantor to an application that was submitted and has not ended. Its clock starts."""
    with control.db.unit(actor) as unit:
        applications.hold(unit.session, application_id)
        row = applications.application(unit.session, application_id)
        if row is None or row.enterprise != actor.institution:
            raise NotFound("application", "申请", application_id)
        if row.submitted_at is None or row.state in APPLICATION.final:
            raise Conflict(
                f"application {row.id} is {row.state}: guarantors are invited after it was submitted, before it ends",
                f"申请 {row.id} 当前状态为 {row.state}：提交之后、结束之前方可邀请担保机构",
                code="not_open",
            )
        institution = institutions.institution(unit.session, body.guarantor)
        if institution is None or institution.kind != GUARANTOR:
            raise NotFound("guarantor", "担保机构", body.guarantor)
        if any(each.guarantor == body.guarantor for each in repository.of_application(unit.session, row.id)):
            raise Conflict(f"{body.guarantor} was invited already", f"已邀请 {body.guarantor}", code="exists")
        guarantee = Guarantee(
            id=f"gu-{secrets.token_hex(6)}",
            application=row.id,
            enterprise=row.enterprise,
            invited_at=unit.now,
            answer=None,
            answered_at=None,
            **body.model_dump(),
        )
        guarantee.attest(actor, unit.now)
        unit.create(guarantee, "guarantee.invite", body.note, state="invited", application=row.id)
        about = ("guarantee", guarantee.id)
        clocks.start(unit, control, "guarantee", about, body.guarantor, enterprise=row.enterprise)
        _tell(unit, guarantee)
        return GuaranteeOut.model_validate(guarantee)


def _tell(unit: Unit, row: Guarantee) -> None:
    body = {"guarantee_id": row.id, "application_id": row.application, "state": row.state, "at": unit.now.isoformat()}
    consent_events.tell(unit, [(row.guarantor, "guarantee", body)])


def answer(control: Control, caller: Caller, guarantee_id: str, body: AnswerIn) -> GuaranteeOut:
    """The guarantor's own answer. Raises NotFound for another's."""
    with control.db.unit(caller) as unit:
        row = repository.guarantee(unit.session, guarantee_id, lock=True)
        if row is None or row.guarantor != caller.institution:
            raise NotFound("guarantee", "担保", guarantee_id)
        row.answer, row.answered_at = body.answer, unit.now
        row.attest(caller, unit.now)
        to = "accepted" if body.decision == "accept" else "refused"
        unit.transition(row, to, f"guarantee.{body.decision}", body.answer)
        clocks.stop(unit, row.id)
        inform(unit, row.enterprise, f"guarantee_{to}", row.id)
        return GuaranteeOut.model_validate(row)


def withdraw(control: Control, actor: Actor, guarantee_id: str, reason: str) -> GuaranteeOut:
    """The enterprise no longer needs it."""
    with control.db.unit(actor) as unit:
        row = repository.guarantee(unit.session, guarantee_id, lock=True)
        if row is None or row.enterprise != actor.institution:
            raise NotFound("guarantee", "担保", guarantee_id)
        unit.transition(row, "withdrawn", "guarantee.withdraw", reason)
        clocks.stop(unit, row.id, reason="withdrawn")
        _tell(unit, row)
        return GuaranteeOut.model_validate(row)


# ---- reading


def own(control: Control, caller: Caller, state: str | None, cursor: str | None, limit: int) -> Page[GuaranteeOut]:
    """A guarantor's own, newest first."""
    with control.db.read(caller) as session:
        query = repository.of_guarantor(caller.institution, state)
        return page(session, query, _NEWEST, cursor, limit, GuaranteeOut.model_validate)


def get(control: Control, caller: Caller, guarantee_id: str) -> GuaranteeDetail:
    """With the application, for the guarantor to judge."""
    with control.db.read(caller) as session:
        row = repository.guarantee(session, guarantee_id)
        if row is None or row.guarantor != caller.institution:
            raise NotFound("guarantee", "担保", guarantee_id)
        application = applications.application(session, row.application)
        assert application is not None
        return GuaranteeDetail(
            **GuaranteeOut.model_validate(row).model_dump(),
            loan_amount=application.amount,
            term_months=application.term_months,
            purpose=application.purpose,
            repayment=application.repayment,
            basic=Basic.model_validate(application.basic, strict=False),
        )


def _of(session: Session, application_id: str) -> Guarantees:
    rows = repository.of_application(session, application_id)
    return Guarantees(items=[GuaranteeOut.model_validate(row) for row in rows])


def of_referral(control: Control, caller: Caller, referral_id: str) -> Guarantees:
    """Of the application before this institution."""
    referral = handling.get(control, caller, referral_id)
    with control.db.read(caller) as session:
        return _of(session, referral.application)


def of_mine(control: Control, actor: Actor, application_id: str) -> Guarantees:
    with control.db.read(actor) as session:
        row = applications.application(session, application_id)
        if row is None or row.enterprise != actor.institution:
            raise NotFound("application", "申请", application_id)
        return _of(session, application_id)
