"""The table and queries of products."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Base, Machine, Stateful
from api.financing import MONEY, RATE, Attested, covering_industries, covering_regions
from api.institutions.repository import Standing
from api.products.states import PRODUCT


class Product(Attested, Stateful, Base):
    """What an institution offers to enterprises. Empty `regions` or `industries`: everywhere, everyone."""

    __tablename__ = "products"
    AUDIT_KIND: ClassVar[str] = "product"
    MACHINE: ClassVar[Machine] = PRODUCT

    id: Mapped[str] = mapped_column(primary_key=True)
    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    name: Mapped[str]
    product_class: Mapped[str]
    summary: Mapped[str]
    amount_min: Mapped[Decimal] = mapped_column(MONEY)
    amount_max: Mapped[Decimal] = mapped_column(MONEY)
    term_min: Mapped[int]
    term_max: Mapped[int]
    rate_min: Mapped[Decimal] = mapped_column(RATE)
    rate_max: Mapped[Decimal] = mapped_column(RATE)
    guarantees: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    regions: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    industries: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    modules: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    conditions: Mapped[str]
    materials: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    liaison_name: Mapped[str]
    liaison_contact: Mapped[str]
    flags: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    state: Mapped[str]
    created_at: Mapped[datetime]
    submitted_at: Mapped[datetime | None]
    reviewed_by: Mapped[str | None]
    reviewed_at: Mapped[datetime | None]
    opinion: Mapped[str | None]
    version: Mapped[int] = mapped_column()

    __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}
    __table_args__ = (
        sa.CheckConstraint("amount_min <= amount_max", name="products_amounts"),
        sa.CheckConstraint("term_min <= term_max", name="products_terms"),
        sa.CheckConstraint("rate_min <= rate_max", name="products_rates"),
        sa.Index("products_institution", "institution", "created_at", "id"),
        sa.Index("products_state", "state", "created_at", "id"),
        sa.Index("products_rate", "rate_min", "id", postgresql_where=sa.text("state = 'on_shelf'")),
    )


def product(session: Session, product_id: str) -> Product | None:
    return session.get(Product, product_id)


def locked(session: Session, product_id: str) -> Product | None:
    return session.get(Product, product_id, with_for_update=True)


def offered(
    *,
    amount: Decimal | None = None,
    term_months: int | None = None,
    rate_max: Decimal | None = None,
    region: str | None = None,
    industry: str | None = None,
    product_class: str | None = None,
    guarantee: str | None = None,
    module: str | None = None,
    institution: str | None = None,
) -> sa.Select[tuple[Product]]:
    """On the shelf of an institution in good standing, and fit for what is given."""
    suspended = sa.select(Standing.institution).where(
        Standing.institution == Product.institution, Standing.state != "active"
    )
    query = sa.select(Product).where(Product.state == "on_shelf", ~suspended.exists())
    if amount is not None:
        query = query.where(Product.amount_min <= amount, Product.amount_max >= amount)
    if term_months is not None:
        query = query.where(Product.term_min <= term_months, Product.term_max >= term_months)
    if rate_max is not None:
        query = query.where(Product.rate_min <= rate_max)
    if region is not None:
        query = query.where(sa.or_(Product.regions == [], Product.regions.overlap(covering_regions(region))))
    if industry is not None:
        query = query.where(sa.or_(Product.industries == [], Product.industries.overlap(covering_industries(industry))))
    if product_class is not None:
        query = query.where(Product.product_class == product_class)
    if guarantee is not None:
        query = query.where(Product.guarantees.contains([guarantee]))
    if module is not None:
        query = query.where(Product.modules.contains([module]))
    if institution is not None:
        query = query.where(Product.institution == institution)
    return query


def institutions_offering(session: Session, query: sa.Select[tuple[Product]]) -> Sequence[str]:
    """Whose products a query of `offered` finds."""
    found = query.with_only_columns(Product.institution).distinct().order_by(Product.institution)
    return session.scalars(found).all()
