"""Tables and queries of the credit ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.credit.states import CREDIT, MEDIATION, WARNING
from api.db import Audited, Base, Machine, Stateful
from api.financing import MONEY, RATE, Attested


class Credit(Attested, Stateful, Base):
    """A credit as its institution reported it (授信台账)."""

    __tablename__ = "credits"
    AUDIT_KIND: ClassVar[str] = "credit"
    MACHINE: ClassVar[Machine] = CREDIT

    id: Mapped[str] = mapped_column(primary_key=True)
    referral: Mapped[str] = mapped_column(sa.ForeignKey("referrals.id"), unique=True)
    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    enterprise: Mapped[str]
    enterprise_name: Mapped[str]
    product: Mapped[str | None]
    product_class: Mapped[str]
    region: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(MONEY)
    rate: Mapped[Decimal] = mapped_column(RATE)
    term_months: Mapped[int]
    contract_no: Mapped[str]
    approved_on: Mapped[date]
    signed_on: Mapped[date]
    begins_on: Mapped[date]
    ends_on: Mapped[date]
    guarantee: Mapped[str]
    disbursed: Mapped[Decimal] = mapped_column(MONEY)
    outstanding: Mapped[Decimal] = mapped_column(MONEY)
    classification: Mapped[str]
    days_overdue: Mapped[int]
    state: Mapped[str]
    granted_at: Mapped[datetime]
    reported_late: Mapped[bool]
    ended_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column()

    __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}
    __table_args__ = (
        sa.UniqueConstraint("institution", "contract_no", name="credits_contract"),
        sa.CheckConstraint("disbursed <= amount", name="credits_disbursed"),
        sa.CheckConstraint("outstanding <= disbursed", name="credits_outstanding"),
        sa.Index("credits_institution", "institution", "granted_at", "id"),
        sa.Index("credits_institution_state", "institution", "state", "granted_at", "id"),
        sa.Index("credits_enterprise", "enterprise", "granted_at", "id"),
        sa.Index("credits_granted", "granted_at", "id"),
        sa.Index(
            "credits_warning", "institution", "days_overdue", "id",
            postgresql_where=sa.text("state in ('special_mention', 'overdue')"),
        ),
    )  # fmt: skip


class Disbursement(Attested, Audited, Base):
    """One payment out of a credit. The voucher's number is the institution's own: the same again is the same one."""

    __tablename__ = "disbursements"
    AUDIT_KIND: ClassVar[str] = "disbursement"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("credit", "voucher")

    credit: Mapped[str] = mapped_column(sa.ForeignKey("credits.id"), primary_key=True)
    voucher: Mapped[str] = mapped_column(primary_key=True)
    institution: Mapped[str]
    enterprise: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(MONEY)
    paid_on: Mapped[date]


class CreditReport(Attested, Base):
    """How a credit stood on a day. Append-only: a log itself."""

    __tablename__ = "credit_reports"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    credit: Mapped[str] = mapped_column(sa.ForeignKey("credits.id"))
    institution: Mapped[str]
    enterprise: Mapped[str]
    as_of: Mapped[date]
    status: Mapped[str]
    classification: Mapped[str]
    outstanding: Mapped[Decimal] = mapped_column(MONEY)
    days_overdue: Mapped[int]
    note: Mapped[str]
    usage_id: Mapped[str | None]

    __table_args__ = (sa.UniqueConstraint("credit", "as_of", name="credit_reports_once"),)


class Mediation(Attested, Stateful, Base):
    """A dispute over a credit that was handed to a mediator (R65). One is open at a time."""

    __tablename__ = "mediations"
    AUDIT_KIND: ClassVar[str] = "mediation"
    MACHINE: ClassVar[Machine] = MEDIATION

    id: Mapped[str] = mapped_column(primary_key=True)
    credit: Mapped[str] = mapped_column(sa.ForeignKey("credits.id"))
    institution: Mapped[str]
    enterprise: Mapped[str]
    side: Mapped[str]
    mediator: Mapped[str]
    reason: Mapped[str]
    state: Mapped[str]
    proposed_at: Mapped[datetime]
    answer: Mapped[str | None]
    answered_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint("side in ('enterprise', 'institution')", name="mediations_side"),
        sa.Index("mediations_open", "credit", unique=True, postgresql_where=sa.text("state in ('proposed', 'agreed')")),
        sa.Index("mediations_credit", "credit", "proposed_at"),
    )


def mediation(session: Session, mediation_id: str) -> Mediation | None:
    """Held against every other change."""
    return session.get(Mediation, mediation_id, with_for_update=True)


def mediations(session: Session, credit_id: str) -> Sequence[Mediation]:
    query = sa.select(Mediation).where(Mediation.credit == credit_id)
    return session.scalars(query.order_by(Mediation.proposed_at, Mediation.id)).all()


def credit(session: Session, credit_id: str, *, lock: bool = False) -> Credit | None:
    return session.get(Credit, credit_id, with_for_update=lock or None)


def disbursement(session: Session, credit_id: str, voucher: str) -> Disbursement | None:
    return session.get(Disbursement, (credit_id, voucher))


def disbursements(session: Session, credit_id: str) -> Sequence[Disbursement]:
    query = sa.select(Disbursement).where(Disbursement.credit == credit_id)
    return session.scalars(query.order_by(Disbursement.paid_on, Disbursement.voucher)).all()


def reports(session: Session, credit_id: str) -> Sequence[CreditReport]:
    query = sa.select(CreditReport).where(CreditReport.credit == credit_id)
    return session.scalars(query.order_by(CreditReport.as_of)).all()


def last_day(session: Session, credit_id: str) -> date | None:
    return session.scalar(sa.select(sa.func.max(CreditReport.as_of)).where(CreditReport.credit == credit_id))


def credits(
    *, institution: str | None = None, enterprise: str | None = None, state: str | None = None
) -> sa.Select[tuple[Credit]]:
    query = sa.select(Credit)
    if institution is not None:
        query = query.where(Credit.institution == institution)
    if enterprise is not None:
        query = query.where(Credit.enterprise == enterprise)
    if state is not None:
        query = query.where(Credit.state == state)
    return query


def warnings(institution: str | None) -> sa.Select[tuple[Credit]]:
    query = sa.select(Credit).where(Credit.state.in_(WARNING))
    return query if institution is None else query.where(Credit.institution == institution)
