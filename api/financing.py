"""The words that the financing packages share: code lists in Chinese and English, amounts, places, and who attested.

Owns no table and no decision. Amounts are yuan with two decimals, rates are percent a year, terms are months. Regions
are six-digit codes of GB/T 2260, industries are GB/T 4754: a letter, then up to four digits; a wider code covers what
begins with it.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field, PlainSerializer, StringConstraints
from sqlalchemy import Numeric
from sqlalchemy.orm import Mapped

from api.db import Actor

MONEY = Numeric(18, 2)
RATE = Numeric(7, 4)

Money = Annotated[Decimal, Field(gt=0, le=Decimal(10**12), decimal_places=2, description="yuan")]
Balance = Annotated[Decimal, Field(ge=0, le=Decimal(10**12), decimal_places=2, description="yuan")]
Rate = Annotated[Decimal, Field(ge=0, le=36, decimal_places=4, description="percent a year")]
# as they are told: texts, so that no reader rounds them
Yuan = Annotated[Decimal, PlainSerializer(lambda amount: f"{amount:.2f}", return_type=str), Field(description="yuan")]
Percent = Annotated[
    Decimal, PlainSerializer(lambda rate: f"{rate:.4f}", return_type=str), Field(description="percent a year")
]
Months = Annotated[int, Field(ge=1, le=480)]
Region = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{5}$")]
Industry = Annotated[str, StringConstraints(pattern=r"^[A-T][0-9]{0,4}$")]
Month = Annotated[str, StringConstraints(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$")]


class ProductClass(StrEnum):
    """Business financing and inclusive services: what may be published (R22)."""

    WORKING_CAPITAL = "working_capital"
    FIXED_ASSET = "fixed_asset"
    OPERATING = "operating"
    TRADE_FINANCE = "trade_finance"
    SUPPLY_CHAIN = "supply_chain"
    BILL = "bill"
    FACTORING = "factoring"
    LEASING = "leasing"
    GUARANTEE = "guarantee"
    INSURANCE = "insurance"
    INCLUSIVE = "inclusive"


CLASSES: dict[ProductClass, tuple[str, str]] = {
    ProductClass.WORKING_CAPITAL: ("流动资金贷款", "Working capital loan"),
    ProductClass.FIXED_ASSET: ("固定资产贷款", "Fixed asset loan"),
    ProductClass.OPERATING: ("小微企业及个体工商户经营贷款", "Operating loan of a small business or sole trader"),
    ProductClass.TRADE_FINANCE: ("贸易融资", "Trade finance"),
    ProductClass.SUPPLY_CHAIN: ("供应链融资", "Supply chain finance"),
    ProductClass.BILL: ("票据融资", "Bill financing"),
    ProductClass.FACTORING: ("保理", "Factoring"),
    ProductClass.LEASING: ("融资租赁", "Financial leasing"),
    ProductClass.GUARANTEE: ("融资担保", "Financing guarantee"),
    ProductClass.INSURANCE: ("贷款保证保险", "Loan insurance"),
    ProductClass.INCLUSIVE: ("普惠金融服务", "Inclusive financial service"),
}

# refused by name (R22): a class that somebody may well try, so that the answer says why
REFUSED_CLASSES: dict[str, tuple[str, str]] = {
    "personal_consumer": ("个人消费贷款", "Personal consumer loan"),
    "personal_housing": ("个人住房贷款", "Personal housing loan"),
    "credit_card": ("信用卡", "Credit card"),
    "wealth": ("理财产品", "Wealth product"),
    "fund": ("基金产品", "Fund product"),
}

# words that a business product has little reason to use: whoever reviews it is shown them and must say that they
# were considered
SUSPECT_WORDS = (
    "消费", "个人贷", "现金贷", "信用卡", "装修", "旅游", "购车", "购房", "房贷", "教育分期", "医美",
    "理财", "基金", "预期收益", "年化收益", "保本", "净值",
    "consumer", "credit card", "mortgage for a home", "travel", "wealth", "mutual fund", "expected return",
)  # fmt: skip


class Guarantee(StrEnum):
    """How a loan is secured."""

    CREDIT = "credit"
    GUARANTEED = "guaranteed"
    MORTGAGE = "mortgage"
    PLEDGE = "pledge"


GUARANTEES: dict[Guarantee, tuple[str, str]] = {
    Guarantee.CREDIT: ("信用", "Unsecured"),
    Guarantee.GUARANTEED: ("保证", "Guaranteed"),
    Guarantee.MORTGAGE: ("抵押", "Mortgage"),
    Guarantee.PLEDGE: ("质押", "Pledge"),
}


class Module(StrEnum):
    """Special modules (R63)."""

    STRATEGIC = "strategic"
    GREEN = "green"
    SUPPLY_CHAIN = "supply_chain"
    AGRICULTURE = "agriculture"


MODULES: dict[Module, tuple[str, str]] = {
    Module.STRATEGIC: ("战略性新兴产业", "Strategic industries"),
    Module.GREEN: ("绿色金融", "Green finance"),
    Module.SUPPLY_CHAIN: ("供应链", "Supply chain"),
    Module.AGRICULTURE: ("涉农", "Agriculture"),
}


class Size(StrEnum):
    """Size of an enterprise (统计上大中小微型企业划分办法)."""

    LARGE = "large"
    MEDIUM = "medium"
    SMALL = "small"
    MICRO = "micro"


SIZES: dict[Size, tuple[str, str]] = {
    Size.LARGE: ("大型", "Large"),
    Size.MEDIUM: ("中型", "Medium"),
    Size.SMALL: ("小型", "Small"),
    Size.MICRO: ("微型", "Micro"),
}


def covering_regions(code: str) -> list[str]:
    """The codes that cover a region, from itself to its province."""
    return list(dict.fromkeys((code, code[:4] + "00", code[:2] + "0000")))


def covering_industries(code: str) -> list[str]:
    """The codes that cover an industry, from itself to its section."""
    return [code[:length] for length in range(len(code), 0, -1)]


def suspect_words(*texts: str) -> list[str]:
    """The words of SUSPECT_WORDS found in `texts`, each once."""
    whole = "\n".join(texts).lower()
    return [word for word in SUSPECT_WORDS if word in whole]


class Attested:
    """Mixin: who stands for what a row says, and since when (R9)."""

    attested_by: Mapped[str]
    attested_name: Mapped[str]
    attested_at: Mapped[datetime]

    def attest(self, actor: Actor, at: datetime) -> None:
        self.attested_by, self.attested_name, self.attested_at = actor.account_id, actor.name, at
