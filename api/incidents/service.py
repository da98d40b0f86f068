"""Security incidents (R16): reported, acknowledged, closed.

The operator is told at once: whoever waits on the list is woken, the log and the metrics say so. An institution sees
its own, the operator all. Hours are those of the settings; 国家网络安全事件报告管理办法 (2025, §4) gives the operator
four to go to the authorities, so it wants to hear well before. Owns no consequence: people decide what follows.
"""

from __future__ import annotations

import logging
import secrets
from datetime import datetime, timedelta

from api.auth import Caller, Role
from api.consent_events import service as consent_events
from api.control import Control
from api.db import Unit
from api.errors import Conflict, NotFound
from api.incidents import repository
from api.incidents.repository import Incident
from api.incidents.schemas import AcknowledgeIn, CloseIn, IncidentIn, IncidentOut
from api.incidents.states import PENDING
from api.paging import Order, Page, page

log = logging.getLogger("creditlab.incidents")

TOPIC = "incidents"  # what a waiting operator listens to
SKEW = timedelta(minutes=5)  # of the reporter's clock
_NEWEST = Order("reported", (Incident.reported_at, Incident.id), descending=True)
_BY_DUE = Order("due", (Incident.due_at, Incident.id))


def _view(row: Incident, now: datetime) -> IncidentOut:
    values = {name: getattr(row, name) for name in IncidentOut.model_fields if name != "overdue"}
    return IncidentOut(**values, overdue=row.state in PENDING and row.due_at <= now)


def report(control: Control, caller: Caller, body: IncidentIn) -> IncidentOut:
    """Puts it on the operator's list; the clock to acknowledge it starts now. Raises Conflict for what is to come."""
    settings = control.settings
    with control.db.unit(caller) as unit:
        if body.noticed_at > unit.now + SKEW:
            raise Conflict("noticed_at lies ahead", "noticed_at 为将来时间", code="not_yet")
        row = Incident(
            id=f"si-{secrets.token_hex(6)}",
            institution=caller.institution,
            reported_by=caller.account_id,
            reported_name=caller.name,
            reported_at=unit.now,
            late=unit.now > body.noticed_at + timedelta(hours=settings.incident_report_hours),
            due_at=unit.now + timedelta(hours=settings.incident_acknowledge_hours),
            **body.model_dump(),
        )
        detail = {"kind": row.kind, "severity": row.severity, "found_by": row.found_by, "late": row.late}
        unit.create(row, "incident.report", body.title, state="reported", **detail)
        unit.notify(TOPIC)
        told = _view(row, unit.now)
    log.warning("security incident %s reported, severity %s", told.id, told.severity)
    return told


def acknowledge(control: Control, caller: Caller, incident_id: str, body: AcknowledgeIn) -> IncidentOut:
    """The operator has taken it up, at its own severity where that differs; the clock to close it starts now."""
    with control.db.unit(caller) as unit:
        row = _held(unit, incident_id)
        late, before = unit.now > row.due_at, row.severity
        row.acknowledged_name, row.acknowledged_at, row.opinion = caller.name, unit.now, body.opinion
        row.severity = body.severity or row.severity
        row.due_at = unit.now + timedelta(days=control.settings.incident_close_days)
        graded = {"severity": row.severity, "reported_severity": before} if row.severity != before else {}
        unit.transition(row, "acknowledged", "incident.acknowledge", body.opinion, late=late, **graded)
        return _told(unit, row)


def close(control: Control, caller: Caller, incident_id: str, body: CloseIn) -> IncidentOut:
    """It is over, and what came of it is on record. Raises IllegalTransition for one that nobody acknowledged."""
    with control.db.unit(caller) as unit:
        row = _held(unit, incident_id)
        row.closed_name, row.closed_at, row.outcome = caller.name, unit.now, body.outcome
        unit.transition(row, "closed", "incident.close", body.outcome, late=unit.now > row.due_at)
        return _told(unit, row)


def _held(unit: Unit, incident_id: str) -> Incident:
    row = repository.incident(unit.session, incident_id, lock=True)
    if row is None:
        raise NotFound("security incident", "安全事件", incident_id)
    return row


def _told(unit: Unit, row: Incident) -> IncidentOut:
    """Tells whoever reported it, in its own events."""
    body = {"incident_id": row.id, "state": row.state, "severity": row.severity, "at": unit.now.isoformat()}
    consent_events.tell(unit, [(row.institution, "incident", body)])
    unit.notify(TOPIC)
    return _view(row, unit.now)


# ---- reading


def _bound(caller: Caller) -> str | None:
    """Whose incidents the caller sees: everybody's for the operator."""
    return None if Role.OPERATOR in caller.roles else caller.institution


def get(control: Control, caller: Caller, incident_id: str) -> IncidentOut:
    with control.db.read(caller) as session:
        row = repository.incident(session, incident_id)
        if row is None or _bound(caller) not in (None, row.institution):
            raise NotFound("security incident", "安全事件", incident_id)
        return _view(row, control.db.clock())


def listed(
    control: Control,
    caller: Caller,
    state: str | None,
    *,
    pending: bool,
    overdue: bool,
    cursor: str | None,
    limit: int,
) -> Page[IncidentOut]:
    """Newest first; what is pending or overdue by the day on which its next step is due."""
    now = control.db.clock()
    query = repository.query(_bound(caller), state, pending, now if overdue else None)
    with control.db.read(caller) as session:
        order = _BY_DUE if pending or overdue else _NEWEST
        return page(session, query, order, cursor, limit, lambda row: _view(row, now))
