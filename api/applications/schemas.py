"""Shapes of applications and referrals."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.applications.profiles import Basic
from api.clocks.schemas import ClockOut
from api.fields import Body, Prose, Slug, Text, UsageId
from api.financing import Guarantee, Money, Months, Percent, ProductClass, Rate, Yuan
from api.products.schemas import ProductId

ApplicationId = Annotated[str, StringConstraints(pattern=r"^ap-[0-9a-f]{12}$")]
ReferralId = Annotated[str, StringConstraints(pattern=r"^rf-[0-9a-f]{12}$")]
ApplicationState = Literal["draft", "submitted", "returned", "pushed", "closed", "withdrawn"]
ReferralState = Literal[
    "received", "accepted", "refused", "followed_up", "approved", "declined", "granted", "withdrawn"
]


class Loan(Body):
    """The loan information; a draft may lack any of it, and is not submitted before nothing is missing."""

    amount: Money | None = None
    term_months: Months | None = None
    rate_most: Rate | None = Field(None, description="the highest rate that would be taken")
    purpose: Prose | None = None
    repayment: Prose | None = Field(None, description="from what it will be repaid")
    guarantees: Annotated[list[Guarantee], Field(max_length=len(Guarantee))] = Field(default_factory=list)
    product_class: ProductClass | None = Field(None, description="of an open need; a product has its own")
    open_to_all: bool = Field(False, description="an open need that any institution may ask for")


class ApplicationIn(Loan):
    """For a product, or without one an open need."""

    product: ProductId | None = None


class ReviewIn(Body):
    """The platform's review: is it complete, is it business financing. It is no opinion on the credit (R18)."""

    decision: Literal["pass", "return"]
    opinion: Prose
    institutions: Annotated[list[Slug], Field(max_length=50)] = Field(
        default_factory=list, description="of an open need: to whom besides those chosen by rule"
    )
    by_rule: bool = Field(True, description="of an open need: to those with a product that fits")
    flags_considered: bool = Field(False, description="must be true to pass what has `flags`")


class PushIn(Body):
    institutions: Annotated[list[Slug], Field(min_length=1, max_length=50)]
    reason: Prose


class ChoiceIn(Body):
    referral: ReferralId
    reason: Prose


class AcceptIn(Body):
    """Who at the institution looks after it from now on (R33)."""

    liaison_name: Text
    liaison_contact: Text
    note: Prose = "受理"


class FollowUpIn(Body):
    on_day: date = Field(description="when the enterprise was visited or met")
    note: Prose
    usage_id: UsageId | None = Field(None, description="the institution's use of a report or score in this step (R27)")


class ApprovalIn(FollowUpIn):
    approved_amount: Money


class ReferralOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    application: str
    kind: Literal["product", "need"]
    origin: Literal["product", "rule", "named", "asked"]
    enterprise: str
    enterprise_name: str
    institution: str
    product: str | None
    product_class: ProductClass
    region: str
    industry: str
    amount: Yuan
    term_months: int
    state: ReferralState
    received_at: datetime
    decided_at: datetime | None
    reason: str | None
    liaison_name: str | None
    liaison_contact: str | None
    approved_on: date | None
    approved_amount: Yuan | None
    late: bool = Field(description="some step came after its day")
    ended_at: datetime | None
    attested_name: str
    attested_at: datetime
    version: int


class ProgressOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    step: str
    on_day: date
    note: str
    usage_id: str | None
    late: bool
    attested_name: str
    attested_at: datetime


class ApplicationOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: Literal["product", "need"]
    enterprise: str
    product: str | None
    institution: str | None
    product_class: ProductClass | None
    amount: Yuan | None
    term_months: int | None
    rate_most: Percent | None
    purpose: str | None
    repayment: str | None
    guarantees: list[Guarantee]
    open_to_all: bool
    state: ApplicationState
    created_at: datetime
    submitted_at: datetime | None
    opinion: str | None
    chosen: str | None
    ended_at: datetime | None
    attested_name: str
    attested_at: datetime
    version: int


class ApplicationDetail(ApplicationOut):
    """With the copy of the basic information, and what became of it before each institution."""

    basic: Basic | None
    flags: list[str] = Field(description="words that business financing has little reason to use")
    missing: list[str] = Field(description="what still lacks before it can be submitted")
    referrals: list[ReferralOut]


class ReferralDetail(ReferralOut):
    """As the institution works on it."""

    purpose: str
    repayment: str
    guarantees: list[Guarantee]
    rate_most: Percent | None
    basic: Basic
    progress: list[ProgressOut]
    clocks: list[ClockOut]


class Need(BaseModel):
    """An open need as institutions see it before they ask for it: without a name."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    product_class: ProductClass
    amount: Yuan
    term_months: int
    rate_most: Percent | None
    guarantees: list[Guarantee]
    region: str
    industry: str
    size: str
    submitted_at: datetime


class SessionOut(BaseModel):
    """Who is signed in, and the token that writes carry as X-CSRF-Token."""

    enterprise: str
    enterprise_name: str
    person: str
    rights: list[str]
    csrf: str
