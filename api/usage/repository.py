"""Tables and queries of usage records. Both tables are append-only: an outcome is a row of its own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base, Unit


class Usage(Audited, Base):
    __tablename__ = "usage"
    AUDIT_KIND: ClassVar[str] = "usage"

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    account_id: Mapped[str]
    user: Mapped[str] = mapped_column("user_name")
    institution: Mapped[str]
    reason: Mapped[str]
    content: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[str]
    purpose: Mapped[str]
    consent_id: Mapped[str | None]
    job_id: Mapped[str | None]
    release_id: Mapped[str | None]

    __table_args__ = (
        sa.Index("usage_object", "object_kind", "object_id", "at"),
        sa.Index("usage_institution", "institution", "at"),
    )


class UsageOutcome(Audited, Base):
    """How a recorded use ended: answered, refused by a node, failed or not answered in time."""

    __tablename__ = "usage_outcomes"
    AUDIT_KIND: ClassVar[str] = "usage_outcome"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("usage_id",)

    usage_id: Mapped[str] = mapped_column(sa.ForeignKey("usage.id"), primary_key=True)
    at: Mapped[datetime]
    outcome: Mapped[str]
    code: Mapped[str | None]


def record(unit: Unit, **fields: Any) -> Usage:
    """Adds a usage record to the caller's transaction, so that the use and its record stand or fall together."""
    row = Usage(id=f"u-{secrets.token_hex(8)}", at=unit.now, **fields)
    return unit.create(row, "usage.record", row.reason, purpose=row.purpose)


def counted(session: Session, consent_id: str, since: datetime) -> tuple[int, int]:
    """How many uses were made under a consent, in all and after `since`."""
    query = sa.select(sa.func.count(), sa.func.count().filter(Usage.at > since)).where(Usage.consent_id == consent_id)
    total, recent = session.execute(query).one()
    return total, recent


def outcome(unit: Unit, usage_id: str, outcome: str, code: str | None = None) -> None:
    row = UsageOutcome(usage_id=usage_id, at=unit.now, outcome=outcome, code=code)
    unit.create(row, "usage.outcome", outcome)


def page(
    session: Session, enterprise: str | None, institution: str | None, before: datetime | None, limit: int
) -> Sequence[Any]:
    """Records with their outcomes, newest first."""
    query = (
        sa.select(Usage, UsageOutcome.outcome, UsageOutcome.code)
        .join(UsageOutcome, UsageOutcome.usage_id == Usage.id, isouter=True)
        .order_by(Usage.at.desc(), Usage.id)
        .limit(limit)
    )
    if enterprise is not None:
        query = query.where(Usage.object_kind == "enterprise", Usage.object_id == enterprise)
    if institution is not None:
        query = query.where(Usage.institution == institution)
    if before is not None:
        query = query.where(Usage.at < before)
    return session.execute(query).all()
