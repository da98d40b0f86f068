"""The table and queries of applications about an institution's admins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.admissions.states import ADMISSION
from api.db import Base, Machine, Stateful


class Admission(Stateful, Base):
    """A written application as it was entered: who asks for what, and what was decided, by whom (R2)."""

    __tablename__ = "admissions"
    AUDIT_KIND: ClassVar[str] = "admission"
    MACHINE: ClassVar[Machine] = ADMISSION

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    institution: Mapped[str]
    institution_name: Mapped[str]
    bank_code: Mapped[str | None]
    dated: Mapped[date]
    effective_on: Mapped[date]
    admins: Mapped[list[dict[str, Any]]]
    network_contact: Mapped[dict[str, Any]]
    submitted_by: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    submitted_at: Mapped[datetime]
    opinion: Mapped[str | None]
    decided_by: Mapped[str | None] = mapped_column(sa.ForeignKey("accounts.id"))
    decided_at: Mapped[datetime | None]
    state: Mapped[str]

    __table_args__ = (
        sa.CheckConstraint("kind in ('open', 'revoke', 'reset', 'change')", name="admissions_kind"),
        sa.Index("admissions_institution", "institution", "submitted_at"),
    )


def locked(session: Session, admission_id: str) -> Admission | None:
    return session.get(Admission, admission_id, with_for_update=True)


def page(session: Session, institution: str | None, state: str | None, limit: int) -> Sequence[Admission]:
    query = sa.select(Admission).order_by(Admission.submitted_at.desc(), Admission.id).limit(limit)
    if institution is not None:
        query = query.where(Admission.institution == institution)
    if state is not None:
        query = query.where(Admission.state == state)
    return session.scalars(query).all()
