"""Shapes of consents, the import's answer and the feed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from api.fields import Body, JsonObject, Prose, Slug, Text


class LineError(BaseModel):
    line: int
    code: str
    message: str
    message_zh: str


class ImportResult(BaseModel):
    """What an import did; `unchanged` counts documents that were known already, byte for byte."""

    accepted: int = 0
    refused: int = 0
    withdrawn: int = 0
    changed: int = Field(default=0, description="consents paused or resumed")
    unchanged: int = 0
    failed: int = Field(default=0, description="lines not taken; `errors` names the first thousand")
    errors: list[LineError] = []
    head: int = Field(default=0, description="the feed's last sequence number after the import")


class ConsentOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    consent_id: str
    enterprise: str
    recipient: str
    provider: str
    purpose: str
    state: str
    valid_from: str
    valid_until: str
    withdrawn_at: str | None
    sequence: int
    head_sha256: str
    seq: int


class Consents(BaseModel):
    items: list[ConsentOut]


class Count(BaseModel):
    recipient: str
    purpose: str
    state: str
    count: int


class Counts(BaseModel):
    """`total` by state, and the same by recipient and purpose."""

    total: dict[str, int]
    items: list[Count]
    head: int


class FeedPage(BaseModel):
    """`signed_head` is the platform's word for the page's last event (consent.feed)."""

    head: int
    signed_head: dict[str, Any]
    events: list[dict[str, Any]]


# ---- requests


class LimitsIn(Body):
    total: Annotated[int, Field(ge=1)] | None = None
    count: Annotated[int, Field(ge=1)] | None = None
    period_days: Annotated[int, Field(ge=1)] | None = None


class TermsIn(Body):
    """Terms other than the template's. Their form and bounds are `consent`'s to judge."""

    modes: Annotated[list[Text], Field(min_length=1, max_length=10)] | None = None
    data: JsonObject | None = None
    window_months: int | None = None
    life_days: int | None = None
    limits: LimitsIn | None = None
    onward: Annotated[list[Text], Field(max_length=32)] | None = None


PersonRole = Literal["sole_trader", "legal_representative", "controller", "key_person"]
RequestState = Literal["requested", "active", "refused", "expired", "cancelled"]


class RequestIn(Body):
    """A request for consent to the caller's own institution. The enterprise reads the reason."""

    enterprise: Text
    provider: Slug
    purpose: Text
    valid_days: Annotated[int, Field(ge=1, le=3660)] | None = None
    valid_until: AwareDatetime | None = None
    terms: TermsIn | None = None
    persons: Annotated[list[PersonRole], Field(max_length=4, default_factory=list)] = Field(
        description="roles whose persons' own consent is needed besides; for a sole trader always `sole_trader`"
    )
    supersedes: Text | None = Field(None, description="the consent to be renewed")
    reason: Prose = "asked by the institution"
    reference: Text | None = Field(None, description="the institution's own number; the same again is the same request")

    @model_validator(mode="after")
    def _one_term(self) -> RequestIn:
        if (self.valid_days is None) == (self.valid_until is None):
            raise ValueError("exactly one of valid_days and valid_until is needed")
        return self


class RequestOut(BaseModel):
    consent_id: str
    enterprise: str
    recipient: str
    purpose: str
    state: str
    reference: str | None
    reason: str
    valid_until: str
    asked_at: datetime
    answer_by: datetime
    ended_at: datetime | None
    document: dict[str, Any] = Field(description="signed by the platform (consent.artefact.request)")


class RequestPage(BaseModel):
    items: list[RequestOut]


class AskedLine(BaseModel):
    line: int
    consent_id: str
    state: str


class RequestFile(BaseModel):
    """What became of each line of a file."""

    asked: int = 0
    failed: int = 0
    items: list[AskedLine] = []
    errors: list[LineError] = []


class StateCount(BaseModel):
    recipient: str
    purpose: str
    state: str
    count: int


class RequestCounts(BaseModel):
    total: dict[str, int]
    items: list[StateCount]
