"""The table and queries of security incidents."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Base, Machine, Stateful
from api.incidents.states import INCIDENT, PENDING


class Incident(Stateful, Base):
    """One incident as it was reported, and what the operator made of it. `due_at`: the operator's next step."""

    __tablename__ = "incidents"
    AUDIT_KIND: ClassVar[str] = "incident"
    MACHINE: ClassVar[Machine] = INCIDENT

    id: Mapped[str] = mapped_column(primary_key=True)
    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    kind: Mapped[str]
    severity: Mapped[str]
    found_by: Mapped[str]
    noticed_at: Mapped[datetime]
    title: Mapped[str]
    text: Mapped[str]
    measures: Mapped[str | None]
    contact: Mapped[str]
    reported_by: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    reported_name: Mapped[str]
    reported_at: Mapped[datetime]
    late: Mapped[bool]
    due_at: Mapped[datetime]
    acknowledged_name: Mapped[str | None]
    acknowledged_at: Mapped[datetime | None]
    opinion: Mapped[str | None]
    closed_name: Mapped[str | None]
    closed_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    state: Mapped[str]

    __table_args__ = (
        sa.Index("incidents_reported", "reported_at", "id"),
        sa.Index("incidents_institution", "institution", "reported_at", "id"),
        sa.Index("incidents_due", "due_at", "id", postgresql_where=sa.text("closed_at IS NULL")),
    )


def incident(session: Session, incident_id: str, *, lock: bool = False) -> Incident | None:
    return session.get(Incident, incident_id, with_for_update=lock or None)


def query(institution: str | None, state: str | None, pending: bool, overdue_at: datetime | None) -> sa.Select[Any]:
    """With `pending`, those not closed; with `overdue_at`, those whose next step was due by then."""
    found = sa.select(Incident)
    if institution is not None:
        found = found.where(Incident.institution == institution)
    if state is not None:
        found = found.where(Incident.state == state)
    if pending or overdue_at is not None:
        found = found.where(Incident.closed_at.is_(None), Incident.state.in_(PENDING))
    if overdue_at is not None:
        found = found.where(Incident.due_at <= overdue_at)
    return found
