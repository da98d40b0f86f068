"""The credit ledger: a granted credit enters with its contract, then payments, then how it stands until it ends.

Only the institution that granted a credit writes of it; the platform is no party (R18) and reads. A status that is
worse than before is told at once to those who stand for the credit: the institution's events and its guarantors' (R27).
"""

from __future__ import annotations

import secrets
from datetime import date

from sqlalchemy.orm import Session

from api.applications import handling
from api.applications import repository as applications
from api.auth import Caller
from api.consent_events import service as consent_events
from api.consents.requests import inform
from api.control import Control
from api.credit import repository
from api.credit.repository import Credit, CreditReport, Disbursement
from api.credit.schemas import (
    CreditDetail,
    CreditOut,
    DisbursementIn,
    DisbursementOut,
    ResultIn,
    StatusIn,
    StatusOut,
)
from api.credit.states import LENT, WARNING, best_class, is_better
from api.db import SYSTEM, Actor, Unit
from api.errors import Conflict, Invalid, NotFound
from api.guarantees import repository as guarantees
from api.paging import Order, Page, page
from api.workdays import local_day

_NEWEST = Order("granted", (Credit.granted_at, Credit.id), descending=True)
_WORST = Order("worst", (Credit.days_overdue, Credit.id), descending=True)


class ClassTooGood(Invalid):
    """The rules on classing loans do not allow this class for so many days overdue."""

    code = "classification_too_good"


class Inconsistent(Invalid):
    """Amounts, days or status contradict each other or what is in the ledger."""

    code = "credit_inconsistent"


def grant(control: Control, caller: Caller, referral_id: str, body: ResultIn) -> CreditDetail:
    """Reports the result of an approved referral: the contract enters the ledger (R11, R25).

    Raises NotFound, IllegalTransition, or Inconsistent when it is above what was approved or signed before that.
    """
    with control.db.unit(caller) as unit:
        row = handling.own(unit, caller, referral_id)
        handling.check_day(unit, row, body.signed_on)
        if row.approved_amount is not None and body.amount > row.approved_amount:
            raise Inconsistent(
                f"amount: {body.amount} is above the approved {row.approved_amount}",
                f"amount：{body.amount} 高于已批准的 {row.approved_amount}",
            )
        if row.approved_on is not None and body.signed_on < row.approved_on:
            raise Inconsistent(
                f"signed_on: {body.signed_on} is before the approval on {row.approved_on}",
                f"signed_on：{body.signed_on} 早于批准之日 {row.approved_on}",
            )
        was_late = row.late
        row.late = False
        handling.step(unit, control, row, "granted", "grant", body.note, body.signed_on)
        late, row.late = row.late, row.late or was_late
        assert row.approved_on is not None  # no other way leads here
        credit = Credit(
            id=f"cr-{secrets.token_hex(6)}",
            referral=row.id,
            institution=row.institution,
            enterprise=row.enterprise,
            enterprise_name=row.enterprise_name,
            product=row.product,
            product_class=row.product_class,
            region=row.region,
            approved_on=row.approved_on,
            disbursed=0,
            outstanding=0,
            classification="normal",
            days_overdue=0,
            granted_at=unit.now,
            reported_late=late,
            **body.model_dump(exclude={"note"}),
        )
        credit.attest(caller, unit.now)
        unit.create(credit, "credit.grant", body.note, state="granted", referral=row.id)
        return _detail(unit.session, credit)


def _own(unit: Unit, caller: Caller, credit_id: str) -> Credit:
    row = repository.credit(unit.session, credit_id, lock=True)
    if row is None or row.institution != caller.institution:
        raise NotFound("credit", "授信", credit_id)
    return row


def _check_day(unit: Unit, row: Credit, name: str, day: date) -> None:
    if not row.signed_on <= day <= local_day(unit.now):
        raise Inconsistent(
            f"{name}: {day} is not between the contract of {row.signed_on} and today",
            f"{name}：{day} 不在签约日（{row.signed_on}）与今日之间",
        )


def disburse(control: Control, caller: Caller, credit_id: str, body: DisbursementIn) -> CreditDetail:
    """One payment. The same voucher again changes nothing; with another amount or day it is a Conflict."""
    with control.db.unit(caller) as unit:
        row = _own(unit, caller, credit_id)
        known = repository.disbursement(unit.session, row.id, body.voucher)
        if known is not None:
            if (known.amount, known.paid_on) != (body.amount, body.paid_on):
                raise Conflict(
                    f"voucher {body.voucher} was reported with {known.amount} on {known.paid_on}",
                    f"借据 {body.voucher} 已登记为 {known.paid_on} 放款 {known.amount}",
                    code="voucher_differs",
                )
            return _detail(unit.session, row)
        _check_day(unit, row, "paid_on", body.paid_on)
        if row.disbursed + body.amount > row.amount:
            raise Inconsistent(
                f"amount: {body.amount} is above what is left of the credit, {row.amount - row.disbursed}",
                f"amount：{body.amount} 超过授信剩余额度 {row.amount - row.disbursed}",
            )
        payment = Disbursement(
            credit=row.id, institution=row.institution, enterprise=row.enterprise, **body.model_dump()
        )
        payment.attest(caller, unit.now)
        unit.create(payment, "credit.disburse", body.voucher, amount=str(body.amount))
        row.disbursed += body.amount
        row.outstanding += body.amount
        row.attest(caller, unit.now)
        if row.state == "granted":
            unit.transition(row, "normal", "credit.disburse", "first payment")
        elif row.state not in LENT:
            raise Inconsistent(f"credit {row.id} is {row.state}", f"授信 {row.id} 当前状态为 {row.state}")
        else:
            unit.session.flush()
            unit.record("credit.disburse", row, body.voucher)
        inform(unit, row.enterprise, "credit_disbursed", row.id)
        return _detail(unit.session, row)


def lapse(control: Control, caller: Caller, credit_id: str, reason: str) -> CreditDetail:
    """The credit ends without a payment."""
    with control.db.unit(caller) as unit:
        row = _own(unit, caller, credit_id)
        row.ended_at = unit.now
        row.attest(caller, unit.now)
        unit.transition(row, "lapsed", "credit.lapse", reason)
        return _detail(unit.session, row)


def _check_status(row: Credit, body: StatusIn) -> None:
    """Raises ClassTooGood or Inconsistent: pure rules between the numbers of one report."""
    least = best_class(body.days_overdue)
    if is_better(body.classification, least):
        raise ClassTooGood(
            f"classification: {body.days_overdue} days overdue are {least} at best",
            f"classification：逾期 {body.days_overdue} 天，分类不得优于 {least}",
        )
    if body.outstanding > row.disbursed:
        raise Inconsistent(
            f"outstanding: {body.outstanding} is above what was paid out, {row.disbursed}",
            f"outstanding：{body.outstanding} 超过已放款 {row.disbursed}",
        )
    ended = body.status == "settled"
    if ended != (body.outstanding == 0) and body.status != "written_off":
        raise Inconsistent(
            "outstanding: nothing is left exactly when the credit is settled",
            "outstanding：结清时余额须为零，未结清时余额须大于零",
        )
    if (body.status == "overdue") != (body.days_overdue > 0) and body.status not in ("settled", "written_off"):
        raise Inconsistent(
            "days_overdue: above zero exactly when the status is overdue",
            "days_overdue：状态为逾期时须大于零，否则须为零",
        )


def report(control: Control, caller: Caller, credit_id: str, body: StatusIn) -> CreditDetail:
    """How the credit stands on a day; days only go forward. Raises ClassTooGood, Inconsistent, IllegalTransition."""
    with control.db.unit(caller) as unit:
        row = _own(unit, caller, credit_id)
        _check_day(unit, row, "as_of", body.as_of)
        last = repository.last_day(unit.session, row.id)
        if last is not None and body.as_of <= last:
            raise Inconsistent(
                f"as_of: a report of {last} is in the ledger already",
                f"as_of：台账中已有 {last} 的报送",
            )
        _check_status(row, body)
        handling.check_usage(unit.session, body.usage_id, row.institution, row.enterprise)
        worse = is_better(row.classification, body.classification) or (
            body.status in WARNING and body.status != row.state
        )
        row.outstanding, row.days_overdue = body.outstanding, body.days_overdue
        row.classification = body.classification
        row.attest(caller, unit.now)
        if body.status != row.state:
            if body.status in ("settled", "written_off"):
                row.ended_at = unit.now
            unit.transition(row, body.status, "credit.report", body.note)
        elif row.state in LENT:
            unit.session.flush()
            unit.record("credit.report", row, body.note)
        else:
            raise Conflict(
                f"credit {row.id} is {row.state}: nothing more is reported of it",
                f"授信 {row.id} 当前状态为 {row.state}，不再报送",
                code="credit_ended",
            )
        said = CreditReport(credit=row.id, institution=row.institution, enterprise=row.enterprise, **body.model_dump())
        said.attest(caller, unit.now)
        unit.session.add(said)
        unit.session.flush()
        if worse:
            _warn(unit, row)
        return _detail(unit.session, row)


def _warn(unit: Unit, row: Credit) -> None:
    """Early warning to the systems of the institution and of the guarantors who stand for it (R27, R65)."""
    referral = applications.referral(unit.session, row.referral)
    assert referral is not None
    told = {row.institution, *guarantees.standing_for(unit.session, referral.application)}
    body = {
        "credit_id": row.id,
        "state": row.state,
        "classification": row.classification,
        "days_overdue": row.days_overdue,
        "at": unit.now.isoformat(),
    }
    consent_events.tell(unit, [(name, "early_warning", body) for name in sorted(told)])
    inform(unit, row.enterprise, f"credit_{row.state}", row.id)


# ---- reading


def _detail(session: Session, row: Credit) -> CreditDetail:
    return CreditDetail(
        **CreditOut.model_validate(row).model_dump(),
        disbursements=[DisbursementOut.model_validate(each) for each in repository.disbursements(session, row.id)],
        reports=[StatusOut.model_validate(each) for each in repository.reports(session, row.id)],
    )


def get(control: Control, caller: Actor, credit_id: str) -> CreditDetail:
    """An institution or an enterprise its own, the platform any. Raises NotFound."""
    with control.db.read(caller) as session:
        row = repository.credit(session, credit_id)
        if row is None or caller.institution not in (row.institution, row.enterprise, SYSTEM.institution):
            raise NotFound("credit", "授信", credit_id)
        return _detail(session, row)


def _scope(caller: Caller) -> str | None:
    return None if caller.institution == SYSTEM.institution else caller.institution


def ledger(control: Control, caller: Caller, state: str | None, cursor: str | None, limit: int) -> Page[CreditOut]:
    query = repository.credits(institution=_scope(caller), state=state)
    with control.db.read(caller) as session:
        return page(session, query, _NEWEST, cursor, limit, CreditOut.model_validate)


def warnings(control: Control, caller: Caller, cursor: str | None, limit: int) -> Page[CreditOut]:
    """Credits of special mention or overdue, the longest overdue first."""
    with control.db.read(caller) as session:
        return page(session, repository.warnings(_scope(caller)), _WORST, cursor, limit, CreditOut.model_validate)


def mine(control: Control, actor: Actor, cursor: str | None, limit: int) -> Page[CreditOut]:
    """An enterprise's own credits."""
    with control.db.read(actor) as session:
        query = repository.credits(enterprise=actor.institution)
        return page(session, query, _NEWEST, cursor, limit, CreditOut.model_validate)
