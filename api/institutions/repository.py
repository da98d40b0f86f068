"""Tables and queries of institutions and accounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.admissions.states import ONBOARDING
from api.db import Audited, Base, Machine, Stateful
from api.institutions.states import STANDING


class Institution(Audited, Base):
    __tablename__ = "institutions"
    AUDIT_KIND: ClassVar[str] = "institution"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    created_at: Mapped[datetime]

    __table_args__ = (
        sa.CheckConstraint("kind in ('bank', 'lab', 'platform', 'witness', 'guarantor')", name="institutions_kind"),
    )


class Account(Audited, Base):
    __tablename__ = "accounts"
    AUDIT_KIND: ClassVar[str] = "account"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    roles: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    level: Mapped[str]
    duties: Mapped[list[str] | None] = mapped_column(ARRAY(sa.Text))  # None: the whole bundle of its roles
    owner: Mapped[str | None]  # of an API client: the person who answers for it
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]

    __table_args__ = (sa.CheckConstraint("level in ('admin', 'operator', 'service')", name="accounts_level"),)


class Onboarding(Stateful, Base):
    """On which papers an institution was let in: agreement (R32) and security assessment (R52)."""

    __tablename__ = "onboardings"
    AUDIT_KIND: ClassVar[str] = "onboarding"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("institution",)
    MACHINE: ClassVar[Machine] = ONBOARDING

    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"), primary_key=True)
    state: Mapped[str]
    agreement: Mapped[str | None]
    signed_on: Mapped[date | None]
    assessment: Mapped[str | None]
    assessor: Mapped[str | None]
    assessed_on: Mapped[date | None]


class Standing(Stateful, Base):
    """The newest sanction of an institution, or its end (R17). The signed word to the nodes is in the feed."""

    __tablename__ = "institution_standings"
    AUDIT_KIND: ClassVar[str] = "institution_standing"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("institution",)
    MACHINE: ClassVar[Machine] = STANDING

    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"), primary_key=True)
    state: Mapped[str]
    ground: Mapped[str]
    evidence: Mapped[str | None]
    since: Mapped[datetime]
    until: Mapped[datetime | None]
    seq: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey("feed.seq"))


def institution(session: Session, institution_id: str) -> Institution | None:
    return session.get(Institution, institution_id)


def state(session: Session, institution_id: str) -> str | None:
    """The fact `institution` of the policy: as admitted unless a sanction says otherwise; None when not on record."""
    return session.scalar(sa.select(sa.func.institution_state(institution_id)))


def onboarding(session: Session, institution_id: str) -> Onboarding | None:
    """Held against every other change."""
    return session.get(Onboarding, institution_id, with_for_update=True)


def onboardings(session: Session) -> Sequence[Onboarding]:
    return session.scalars(sa.select(Onboarding).order_by(Onboarding.institution)).all()


def standing(session: Session, institution_id: str) -> Standing | None:
    """The institution's standing, held against every other change."""
    return session.get(Standing, institution_id, with_for_update=True)


def standings(session: Session) -> dict[str, Standing]:
    return {row.institution: row for row in session.scalars(sa.select(Standing))}


def ended_suspensions(session: Session, now: datetime) -> Sequence[str]:
    """Institutions whose suspension was given an end that has come."""
    return session.scalars(
        sa.select(Standing.institution).where(Standing.state == "suspended", Standing.until <= now)
    ).all()


def institutions(session: Session) -> Sequence[Institution]:
    return session.scalars(sa.select(Institution).order_by(Institution.id)).all()


def account_named(session: Session, name: str) -> Account | None:
    return session.scalar(sa.select(Account).where(Account.name == name))


def accounts(session: Session) -> Sequence[Account]:
    return session.scalars(sa.select(Account).order_by(Account.name)).all()


def names(session: Session, account_ids: set[str]) -> dict[str, str]:
    """The names of accounts, of other institutions too: whoever asks has their numbers."""
    found = sa.func.account_names(sa.cast(sorted(account_ids), ARRAY(sa.Text))).table_valued("id", "name")
    return {row.id: row.name for row in session.execute(sa.select(found.c.id, found.c.name))}
