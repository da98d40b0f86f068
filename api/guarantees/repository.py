"""The table and queries of guarantees."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Base, Machine, Stateful
from api.financing import MONEY, Attested
from api.guarantees.states import GUARANTEE


class Guarantee(Attested, Stateful, Base):
    """One guarantor's part in one application."""

    __tablename__ = "guarantees"
    AUDIT_KIND: ClassVar[str] = "guarantee"
    MACHINE: ClassVar[Machine] = GUARANTEE

    id: Mapped[str] = mapped_column(primary_key=True)
    application: Mapped[str] = mapped_column(sa.ForeignKey("applications.id"))
    enterprise: Mapped[str]
    guarantor: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    amount: Mapped[Decimal] = mapped_column(MONEY)
    note: Mapped[str]
    state: Mapped[str]
    invited_at: Mapped[datetime]
    answer: Mapped[str | None]
    answered_at: Mapped[datetime | None]

    __table_args__ = (
        sa.UniqueConstraint("application", "guarantor", name="guarantees_once"),
        sa.Index("guarantees_guarantor", "guarantor", "invited_at", "id"),
    )


def guarantee(session: Session, guarantee_id: str, *, lock: bool = False) -> Guarantee | None:
    return session.get(Guarantee, guarantee_id, with_for_update=lock or None)


def of_application(session: Session, application_id: str) -> Sequence[Guarantee]:
    query = sa.select(Guarantee).where(Guarantee.application == application_id)
    return session.scalars(query.order_by(Guarantee.invited_at, Guarantee.id)).all()


def standing_for(session: Session, application_id: str) -> Sequence[str]:
    """The guarantors that accepted."""
    return [row.guarantor for row in of_application(session, application_id) if row.state == "accepted"]


def of_guarantor(guarantor: str, state: str | None) -> sa.Select[tuple[Guarantee]]:
    query = sa.select(Guarantee).where(Guarantee.guarantor == guarantor)
    return query if state is None else query.where(Guarantee.state == state)
