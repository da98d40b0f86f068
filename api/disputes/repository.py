"""The table and queries of disputes and complaints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Base, Machine, Stateful
from api.disputes.states import DISPUTE, PENDING


class Dispute(Stateful, Base):
    """One dispute (what is said of the enterprise is wrong) or complaint (it was treated wrongly)."""

    __tablename__ = "disputes"
    AUDIT_KIND: ClassVar[str] = "dispute"
    MACHINE: ClassVar[Machine] = DISPUTE

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    enterprise: Mapped[str]
    institution: Mapped[str | None] = mapped_column(sa.ForeignKey("institutions.id"))
    consent_id: Mapped[str | None] = mapped_column(sa.ForeignKey("consents.consent_id"))
    usage_id: Mapped[str | None] = mapped_column(sa.ForeignKey("usage.id"))
    text: Mapped[str]
    state: Mapped[str]
    opened_by: Mapped[str]
    opened_at: Mapped[datetime]
    due_at: Mapped[datetime]
    answer: Mapped[str | None]
    answered_by: Mapped[str | None]
    answered_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint("kind in ('dispute', 'complaint')", name="disputes_kind"),
        sa.Index("disputes_enterprise", "enterprise", "state"),
        sa.Index("disputes_due", "due_at", postgresql_where=sa.text("state = 'open'")),
    )


def dispute(session: Session, dispute_id: str) -> Dispute | None:
    return session.get(Dispute, dispute_id)


def locked(session: Session, dispute_id: str) -> Dispute | None:
    return session.get(Dispute, dispute_id, with_for_update=True)


def page(
    session: Session,
    *,
    institution: str | None,
    enterprise: str | None,
    state: str | None,
    overdue_at: datetime | None,
    limit: int,
) -> Sequence[Dispute]:
    """Newest first; with `overdue_at`, those whose answer was due before, the longest overdue first."""
    query = sa.select(Dispute).limit(limit)
    if institution is not None:
        query = query.where(Dispute.institution == institution)
    if enterprise is not None:
        query = query.where(Dispute.enterprise == enterprise)
    if state is not None:
        query = query.where(Dispute.state == state)
    if overdue_at is not None:
        query = query.where(Dispute.state == "open", Dispute.due_at < overdue_at)
        return session.scalars(query.order_by(Dispute.due_at, Dispute.id)).all()
    return session.scalars(query.order_by(Dispute.opened_at.desc(), Dispute.id)).all()


def is_disputed(session: Session, enterprise: str) -> bool:
    """Whether something said of this enterprise is under dispute, whoever asks and whomever it concerns."""
    return session.scalar(sa.func.enterprise_disputed(enterprise, sa.cast(sorted(PENDING), ARRAY(sa.Text)))) is True
