"""Disputes (an answer within 20 days) and complaints (within 30): opened, answered, accepted, reopened or taken back.

Days are calendar days from the opening, as the regulation counts them (征信业管理条例 §25, §26); reopening sets a new
clock. Functions that an enterprise's own page calls take an `Actor`; what the caller may see is decided here.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from api.auth import Caller, Role
from api.consent_events import service as consent_events
from api.consents.repository import Consent
from api.consents.requests import inform
from api.control import Control
from api.db import Actor, Unit, tenant
from api.disputes import repository
from api.disputes.repository import Dispute
from api.disputes.schemas import DisputeIn, DisputeOut, Disputes
from api.errors import Forbidden, NotFound
from api.usage.repository import Usage
from consent.times import stamp


def _days(control: Control, kind: str) -> int:
    return control.settings.dispute_days if kind == "dispute" else control.settings.complaint_days


def _view(row: Dispute, now: datetime) -> DisputeOut:
    values = {name: getattr(row, name) for name in DisputeOut.model_fields if name != "overdue"}
    return DisputeOut(**values, overdue=row.state == "open" and row.due_at < now)


def _about(session: Session, body: DisputeIn) -> str | None:
    """The institution that a dispute concerns. Raises NotFound for what is not this enterprise's."""
    found: str | None = None
    if body.consent_id is not None:
        consent = session.get(Consent, body.consent_id)
        if consent is None or consent.enterprise != body.enterprise:
            raise NotFound("consent", "授权", body.consent_id)
        found = consent.recipient
    if body.usage_id is not None:
        use = session.get(Usage, body.usage_id)
        if use is None or (use.object_kind, use.object_id) != ("enterprise", body.enterprise):
            raise NotFound("usage record", "使用记录", body.usage_id)
        found = found or use.institution
    return found


def open_dispute(control: Control, actor: Actor, body: DisputeIn) -> DisputeOut:
    """Opens one; the clock starts now. The operator calls it for an enterprise, the portal for its own."""
    with control.db.unit(actor) as unit:
        row = Dispute(
            id=f"d-{secrets.token_hex(6)}",
            kind=body.kind,
            enterprise=body.enterprise,
            institution=_about(unit.session, body),
            consent_id=body.consent_id,
            usage_id=body.usage_id,
            text=body.text,
            opened_by=actor.name,
            opened_at=unit.now,
            due_at=unit.now + timedelta(days=_days(control, body.kind)),
        )
        unit.create(row, "dispute.open", "opened", state="open", kind=body.kind)
        _tell(unit, row)
        return _view(row, unit.now)


def _tell(unit: Unit, row: Dispute) -> None:
    """The institution that must answer, and the enterprise, each in its own list."""
    if row.institution is not None:
        body = {
            "dispute_id": row.id,
            "kind": row.kind,
            "enterprise": row.enterprise,
            "state": row.state,
            "due_at": stamp(row.due_at),
            "at": stamp(unit.now),
        }
        consent_events.tell(unit, [(row.institution, "dispute", body)])
    inform(unit, row.enterprise, f"{row.kind}_{row.state}", row.id)


def _found(unit: Unit, dispute_id: str, *, enterprise: str | None = None) -> Dispute:
    row = repository.locked(unit.session, dispute_id)
    if row is None or (enterprise is not None and row.enterprise != enterprise):
        raise NotFound("dispute", "异议或投诉", dispute_id)
    return row


def answer(control: Control, caller: Caller, dispute_id: str, text: str) -> DisputeOut:
    """The institution concerned, or the operator, answers. Raises Forbidden for another institution."""
    with control.db.unit(caller) as unit:
        row = _found(unit, dispute_id)
        if Role.OPERATOR not in caller.roles and row.institution != caller.institution:
            raise NotFound("dispute", "异议或投诉", dispute_id)
        if row.kind == "complaint" and Role.OPERATOR not in caller.roles:
            raise Forbidden(
                "a complaint is answered by the operator, not by whom it is about",
                "投诉由平台运营方答复，不由被投诉机构答复",
                code="complaint_of_own",
            )
        row.answer, row.answered_by, row.answered_at = text, caller.name, unit.now
        late = unit.now > row.due_at
        unit.transition(row, "answered", "dispute.answer", text, late=late)
        _tell(unit, row)
        return _view(row, unit.now)


def close(control: Control, actor: Actor, dispute_id: str, reason: str, *, enterprise: str | None = None) -> DisputeOut:
    """Ends an answered dispute: the enterprise accepts the answer, or the operator says so for it."""
    return _move(control, actor, dispute_id, "closed", reason, enterprise)


def take_back(
    control: Control, actor: Actor, dispute_id: str, reason: str, *, enterprise: str | None = None
) -> DisputeOut:
    """The enterprise takes its dispute back."""
    return _move(control, actor, dispute_id, "withdrawn", reason, enterprise)


def reopen(
    control: Control, actor: Actor, dispute_id: str, reason: str, *, enterprise: str | None = None
) -> DisputeOut:
    """The answer does not settle it: a new clock starts."""
    return _move(control, actor, dispute_id, "open", reason, enterprise)


def _move(control: Control, actor: Actor, dispute_id: str, to: str, reason: str, enterprise: str | None) -> DisputeOut:
    with control.db.unit(actor) as unit:
        row = _found(unit, dispute_id, enterprise=enterprise)
        unit.transition(row, to, f"dispute.{to}", reason)
        if to == "open":
            row.due_at = unit.now + timedelta(days=_days(control, row.kind))
        else:
            row.ended_at = unit.now
        _tell(unit, row)
        return _view(row, unit.now)


# ---- reading


def get(control: Control, caller: Caller, dispute_id: str) -> DisputeOut:
    with control.db.read(caller) as session:
        row = repository.dispute(session, dispute_id)
        if row is None or (Role.OPERATOR not in caller.roles and row.institution != caller.institution):
            raise NotFound("dispute", "异议或投诉", dispute_id)
        return _view(row, control.db.clock())


def page(
    control: Control, caller: Caller, enterprise: str | None, state: str | None, overdue: bool, limit: int
) -> Disputes:
    """The operator sees all, an institution those that concern it; `overdue` only those whose day has passed."""
    institution = None if Role.OPERATOR in caller.roles else caller.institution
    return _page(
        control, caller, institution=institution, enterprise=enterprise, state=state, overdue=overdue, limit=limit
    )


def one_of(control: Control, enterprise: str, dispute_id: str) -> DisputeOut:
    """One of an enterprise's own, for its page. Raises NotFound, also for another's."""
    with control.db.read(tenant(enterprise)) as session:
        row = repository.dispute(session, dispute_id)
        if row is None or row.enterprise != enterprise:
            raise NotFound("dispute", "异议或投诉", dispute_id)
        return _view(row, control.db.clock())


def of_enterprise(control: Control, enterprise: str, limit: int = 100) -> Disputes:
    """An enterprise's own, for its page."""
    reader = tenant(enterprise)
    return _page(control, reader, institution=None, enterprise=enterprise, state=None, overdue=False, limit=limit)


def _page(
    control: Control,
    reader: Actor,
    *,
    institution: str | None,
    enterprise: str | None,
    state: str | None,
    overdue: bool,
    limit: int,
) -> Disputes:
    now = control.db.clock()
    with control.db.read(reader) as session:
        rows = repository.page(
            session,
            institution=institution,
            enterprise=enterprise,
            state=state,
            overdue_at=now if overdue else None,
            limit=limit,
        )
        return Disputes(items=[_view(row, now) for row in rows])
