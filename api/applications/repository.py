"""Tables and queries of applications, referrals and their progress.

A referral repeats what lists show of its application, so that an institution's list of a million needs one index and
no join.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.applications.states import APPLICATION, REFERRAL
from api.db import Base, Machine, Stateful
from api.financing import MONEY, RATE, Attested


class Application(Attested, Stateful, Base):
    """What an enterprise asks for. `basic` is its profile as it was at submission."""

    __tablename__ = "applications"
    AUDIT_KIND: ClassVar[str] = "application"
    MACHINE: ClassVar[Machine] = APPLICATION

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    enterprise: Mapped[str] = mapped_column(sa.ForeignKey("enterprises.uscc"))
    product: Mapped[str | None] = mapped_column(sa.ForeignKey("products.id"))
    institution: Mapped[str | None] = mapped_column(sa.ForeignKey("institutions.id"))
    product_class: Mapped[str | None]
    amount: Mapped[Decimal | None] = mapped_column(MONEY)
    term_months: Mapped[int | None]
    rate_most: Mapped[Decimal | None] = mapped_column(RATE)
    purpose: Mapped[str | None]
    repayment: Mapped[str | None]
    guarantees: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    open_to_all: Mapped[bool]
    basic: Mapped[dict[str, Any] | None]
    flags: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    state: Mapped[str]
    created_at: Mapped[datetime]
    submitted_at: Mapped[datetime | None]
    reviewed_by: Mapped[str | None]
    reviewed_at: Mapped[datetime | None]
    opinion: Mapped[str | None]
    chosen: Mapped[str | None]
    ended_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column()

    __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}
    __table_args__ = (
        sa.CheckConstraint("kind in ('product', 'need')", name="applications_kind"),
        sa.CheckConstraint("(kind = 'product') = (product IS NOT NULL)", name="applications_product"),
        sa.Index("applications_enterprise", "enterprise", "created_at", "id"),
        sa.Index("applications_state", "state", "submitted_at", "id"),
        sa.Index(
            "applications_board", "submitted_at", "id",
            postgresql_where=sa.text("kind = 'need' AND open_to_all AND state = 'pushed'"),
        ),
    )  # fmt: skip


class Referral(Attested, Stateful, Base):
    """An application before one institution. `origin`: by the product, by rule, named by the platform, or asked for."""

    __tablename__ = "referrals"
    AUDIT_KIND: ClassVar[str] = "referral"
    MACHINE: ClassVar[Machine] = REFERRAL

    id: Mapped[str] = mapped_column(primary_key=True)
    application: Mapped[str] = mapped_column(sa.ForeignKey("applications.id"))
    kind: Mapped[str]
    origin: Mapped[str]
    enterprise: Mapped[str]
    enterprise_name: Mapped[str]
    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    product: Mapped[str | None]
    product_class: Mapped[str]
    region: Mapped[str]
    industry: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(MONEY)
    term_months: Mapped[int]
    state: Mapped[str]
    received_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    liaison_name: Mapped[str | None]
    liaison_contact: Mapped[str | None]
    approved_on: Mapped[date | None]
    approved_amount: Mapped[Decimal | None] = mapped_column(MONEY)
    late: Mapped[bool]
    ended_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column()

    __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}
    __table_args__ = (
        sa.UniqueConstraint("application", "institution", name="referrals_once"),
        sa.Index("referrals_institution", "institution", "received_at", "id"),
        sa.Index("referrals_institution_state", "institution", "state", "received_at", "id"),
        sa.Index("referrals_enterprise", "enterprise", "received_at", "id"),
        sa.Index("referrals_state", "state", "received_at", "id"),
        sa.Index("referrals_received", "received_at", "id"),
    )


class Progress(Attested, Base):
    """One step of a referral, with who attests to it. Append-only: a log itself."""

    __tablename__ = "referral_progress"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    referral: Mapped[str] = mapped_column(sa.ForeignKey("referrals.id"))
    institution: Mapped[str]
    enterprise: Mapped[str]
    step: Mapped[str]
    on_day: Mapped[date]
    note: Mapped[str]
    usage_id: Mapped[str | None]
    late: Mapped[bool]

    __table_args__ = (sa.Index("referral_progress_referral", "referral", "id"),)


def hold(session: Session, application_id: str) -> None:
    """One act on an application at a time, whoever acts: parties that may not lock its row must wait as well."""
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(application_id, 22))))


def application(session: Session, application_id: str) -> Application | None:
    return session.get(Application, application_id)


def referral(session: Session, referral_id: str, *, lock: bool = False) -> Referral | None:
    return session.get(Referral, referral_id, with_for_update=lock or None)


def referrals_of(session: Session, application_id: str) -> Sequence[Referral]:
    query = sa.select(Referral).where(Referral.application == application_id)
    return session.scalars(query.order_by(Referral.received_at, Referral.id)).all()


def progress_of(session: Session, referral_id: str) -> Sequence[Progress]:
    return session.scalars(sa.select(Progress).where(Progress.referral == referral_id).order_by(Progress.id)).all()


def applications(
    *, enterprise: str | None = None, state: str | None = None, submitted: bool = False
) -> sa.Select[tuple[Application]]:
    query = sa.select(Application)
    if enterprise is not None:
        query = query.where(Application.enterprise == enterprise)
    if state is not None:
        query = query.where(Application.state == state)
    if submitted:
        query = query.where(Application.submitted_at.is_not(None))
    return query


def referrals(*, institution: str | None, state: str | None) -> sa.Select[tuple[Referral]]:
    query = sa.select(Referral)
    if institution is not None:
        query = query.where(Referral.institution == institution)
    if state is not None:
        query = query.where(Referral.state == state)
    return query


def board() -> sa.Select[tuple[Application]]:
    """Open needs that any institution may ask for."""
    return sa.select(Application).where(
        Application.kind == "need", Application.open_to_all, Application.state == "pushed"
    )
