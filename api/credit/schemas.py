"""Shapes of the credit ledger."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.fields import Body, Prose, Text, UsageId
from api.financing import Balance, Guarantee, Money, Months, Percent, Rate, Yuan

CreditId = Annotated[str, StringConstraints(pattern=r"^cr-[0-9a-f]{12}$")]
MediationId = Annotated[str, StringConstraints(pattern=r"^md-[0-9a-f]{12}$")]
CreditState = Literal["granted", "normal", "special_mention", "overdue", "settled", "written_off", "lapsed"]
Classification = Literal["normal", "special_mention", "substandard", "doubtful", "loss"]


class ResultIn(Body):
    """The contract that was signed: the institution's report of the result (R11, R25)."""

    amount: Money
    rate: Rate
    term_months: Months
    contract_no: Text
    signed_on: date
    begins_on: date
    ends_on: date
    guarantee: Guarantee
    note: Prose = "签约授信"

    @model_validator(mode="after")
    def _days(self) -> ResultIn:
        if not self.signed_on <= self.ends_on or not self.begins_on <= self.ends_on:
            raise ValueError("ends_on is before the contract was signed or begins")
        return self


class DisbursementIn(Body):
    voucher: Text = Field(description="the institution's own number: sent again, nothing is paid twice")
    amount: Money
    paid_on: date


class StatusIn(Body):
    """How the credit stands on a day, after the loan was paid out."""

    as_of: date
    status: Literal["normal", "special_mention", "overdue", "settled", "written_off"]
    classification: Classification
    outstanding: Balance
    days_overdue: Annotated[int, Field(ge=0, le=10_000)] = 0
    note: Prose
    usage_id: UsageId | None = Field(None, description="the institution's use of a report in post-loan work (R27)")


class LapseIn(Body):
    reason: Prose


class MediationIn(Body):
    mediator: Text = Field(description="the mediation body")
    reason: Prose


class MediationAnswer(Body):
    agree: bool
    answer: Prose


class MediationEnd(Body):
    settled: bool
    outcome: Prose


class MediationOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    credit: str
    institution: str
    enterprise: str
    side: Literal["enterprise", "institution"] = Field(description="who proposed it")
    mediator: str
    reason: str
    state: Literal["proposed", "agreed", "refused", "settled", "failed"]
    proposed_at: datetime
    answer: str | None
    answered_at: datetime | None
    outcome: str | None
    ended_at: datetime | None
    attested_name: str
    attested_at: datetime


class Mediations(BaseModel):
    items: list[MediationOut]


class CreditOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    referral: str
    institution: str
    enterprise: str
    enterprise_name: str
    product: str | None
    product_class: str
    region: str
    amount: Yuan
    rate: Percent
    term_months: int
    contract_no: str
    approved_on: date
    signed_on: date
    begins_on: date
    ends_on: date
    guarantee: Guarantee
    disbursed: Yuan
    outstanding: Yuan
    classification: Classification
    days_overdue: int
    state: CreditState
    granted_at: datetime
    reported_late: bool
    ended_at: datetime | None
    attested_name: str
    attested_at: datetime
    version: int


class DisbursementOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    voucher: str
    amount: Yuan
    paid_on: date
    attested_name: str
    attested_at: datetime


class StatusOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    as_of: date
    status: str
    classification: Classification
    outstanding: Yuan
    days_overdue: int
    note: str
    usage_id: str | None
    attested_name: str
    attested_at: datetime


class CreditDetail(CreditOut):
    disbursements: list[DisbursementOut]
    reports: list[StatusOut]
