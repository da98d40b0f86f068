"""Shapes of queries, verifications and credit reports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from api.fields import Body, FleetingOut, JsonObject, Reason, Slug, Text
from api.permits.schemas import NodeError
from consent.purposes import CATEGORIES, Purpose

Category = Literal[tuple(CATEGORIES)]  # type: ignore[valid-type]
Item = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Stated = Annotated[dict[Item, Text], Field(max_length=8)]
Months = Annotated[int, Field(ge=1, le=600)]


class _Asked(Body):
    """About whom, from which lab, what for and why."""

    enterprise: Text
    provider: Slug = Field(description="the lab that holds the data")
    node: Text | None = Field(None, description="the lab's node, where it has several")
    purpose: Purpose
    reason: Reason


class QueryIn(_Asked):
    """Records of one category. Without `items`, all that the consent covers; without `window_months`, as far back."""

    category: Category
    items: Annotated[list[Item], Field(min_length=1, max_length=100)] | None = None
    window_months: Months | None = None


class VerificationIn(_Asked):
    """Values that are stated of one record, as text, and least values of numbers."""

    category: Category
    stated: Stated = Field(default_factory=dict)
    at_least: Stated = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_stated(self) -> VerificationIn:
        if not 1 <= len(self.stated) + len(self.at_least) <= 8:
            raise ValueError("stated, at_least: 1 to 8 items of a record are needed")
        return self

    @property
    def items(self) -> list[str]:
        return sorted({*self.stated, *self.at_least})


class ReportIn(_Asked):
    """A credit report. Without `categories`, all that the consent covers; those of the lender are in none."""

    form: Literal["json", "pdf"] = "json"
    categories: Annotated[list[Category], Field(min_length=1)] | None = None
    window_months: Months | None = None


class DataResult(Body):
    """What the lab's node tells: one of these, as the permit says."""

    records: Annotated[list[JsonObject], Field(max_length=100_000)] | None = None
    answer: Literal["yes", "no", "no_record"] | None = None
    report: JsonObject | None = None
    pdf: Annotated[str, StringConstraints(max_length=12 << 20, pattern=r"^[A-Za-z0-9+/]+={0,2}$")] | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> DataResult:
        if sum(one is not None for one in (self.records, self.answer, self.report, self.pdf)) != 1:
            raise ValueError("exactly one of records, answer, report and pdf is needed")
        return self


class AnswerIn(Body):
    """A node's answer to a permit: a result or an error."""

    result: DataResult | None = None
    error: NodeError | None = None

    @model_validator(mode="after")
    def _one_answer(self) -> AnswerIn:
        if (self.result is None) == (self.error is None):
            raise ValueError("exactly one of result and error is needed")
        return self


class _Told(FleetingOut):
    consent_id: str
    usage_id: str
    disputed: bool = Field(description="something said of the enterprise is under dispute: weigh it with care")


class QueryOut(_Told):
    """Records by event date: number, source, dates and the items that may be told."""

    category: str
    window_months: int
    records: list[dict[str, Any]]


class VerificationOut(_Told):
    """One word; no value leaves the lab."""

    category: str
    answer: Literal["yes", "no", "no_record"]


class ReportOut(_Told):
    """The document, or its PDF in base64."""

    report: dict[str, Any] | None = None
    pdf: str | None = None
