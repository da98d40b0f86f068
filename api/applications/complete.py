"""What an application needs before anybody reviews it, and whether it fits its product: pure decisions (R23)."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from api.financing import covering_industries, covering_regions

_LOAN = ("amount", "term_months", "purpose", "repayment")


class Asked(Protocol):
    kind: str
    product_class: str | None
    amount: Decimal | None
    term_months: int | None
    guarantees: list[str]


class Offered(Protocol):
    amount_min: Decimal
    amount_max: Decimal
    term_min: int
    term_max: int
    guarantees: list[str]
    regions: list[str]
    industries: list[str]


class Placed(Protocol):
    region: str
    industry: str


def missing(asked: Asked, has_profile: bool) -> list[str]:
    """Names of what is not filled in: loan information, then the basic information as a whole."""
    lacks = [name for name in _LOAN if getattr(asked, name) is None]
    if not asked.guarantees:
        lacks.append("guarantees")
    if asked.kind == "need" and asked.product_class is None:
        lacks.append("product_class")
    return lacks if has_profile else [*lacks, "profile"]


def misfits(asked: Asked, offered: Offered, placed: Placed) -> list[str]:
    """Names of what the product is not offered for."""
    assert asked.amount is not None
    assert asked.term_months is not None
    found = []
    if not offered.amount_min <= asked.amount <= offered.amount_max:
        found.append("amount")
    if not offered.term_min <= asked.term_months <= offered.term_max:
        found.append("term_months")
    if not set(asked.guarantees) & set(offered.guarantees):
        found.append("guarantees")
    if offered.regions and not set(offered.regions) & set(covering_regions(placed.region)):
        found.append("region")
    if offered.industries and not set(offered.industries) & set(covering_industries(placed.industry)):
        found.append("industry")
    return found
