"""Tables and queries of institutions and accounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base


class Institution(Audited, Base):
    __tablename__ = "institutions"
    AUDIT_KIND: ClassVar[str] = "institution"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    created_at: Mapped[datetime]

    __table_args__ = (sa.CheckConstraint("kind in ('bank', 'lab', 'platform')", name="institutions_kind"),)


class Account(Audited, Base):
    __tablename__ = "accounts"
    AUDIT_KIND: ClassVar[str] = "account"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    roles: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    token_sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


def institution(session: Session, institution_id: str) -> Institution | None:
    return session.get(Institution, institution_id)


def state(session: Session, institution_id: str) -> str | None:
    """The fact `institution` of the policy: an institution on record is active."""
    return None if institution(session, institution_id) is None else "active"


def institutions(session: Session) -> Sequence[Institution]:
    return session.scalars(sa.select(Institution).order_by(Institution.id)).all()


def account_named(session: Session, name: str) -> Account | None:
    return session.scalar(sa.select(Account).where(Account.name == name))


def accounts(session: Session) -> Sequence[Account]:
    return session.scalars(sa.select(Account).order_by(Account.name)).all()


def names(session: Session, account_ids: set[str]) -> dict[str, str]:
    rows = session.execute(sa.select(Account.id, Account.name).where(Account.id.in_(account_ids)))
    return {row.id: row.name for row in rows}
