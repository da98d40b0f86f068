"""Shapes of publications and questions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.applications.profiles import Certification
from api.fields import Body, Prose, Slug, Text
from api.financing import Industry, Module, Region, Size

PublicationId = Annotated[str, StringConstraints(pattern=r"^pb-[0-9a-f]{12}$")]
QuestionId = Annotated[str, StringConstraints(pattern=r"^eq-[0-9a-f]{12}$")]
PublicationKind = Literal["notice", "policy", "knowledge", "faq"]
PublicationState = Literal["draft", "submitted", "returned", "published", "withdrawn"]
QuestionState = Literal["asked", "assigned", "answered", "published", "kept", "withdrawn"]
Article = Annotated[
    str, StringConstraints(min_length=1, max_length=50_000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+$")
]


class PublicationIn(Body):
    """The rule (regions to age) says to which enterprises a policy is pushed; other kinds have none."""

    kind: PublicationKind
    title: Text
    text: Article
    source: Text | None = Field(None, description="who issued it, and its number")
    modules: Annotated[list[Module], Field(max_length=len(Module))] = Field(default_factory=list)
    regions: Annotated[list[Region], Field(max_length=200)] = Field(default_factory=list)
    industries: Annotated[list[Industry], Field(max_length=200)] = Field(default_factory=list)
    sizes: Annotated[list[Size], Field(max_length=len(Size))] = Field(default_factory=list)
    certifications: Annotated[list[Certification], Field(max_length=30)] = Field(default_factory=list)
    age_min: Annotated[int, Field(ge=0, le=200)] | None = Field(None, description="full years since its establishment")
    age_max: Annotated[int, Field(ge=0, le=200)] | None = None

    @model_validator(mode="after")
    def _rule(self) -> PublicationIn:
        rule = (self.regions, self.industries, self.sizes, self.certifications, self.age_min, self.age_max)
        if self.kind != "policy" and any(each not in (None, []) for each in rule):
            raise ValueError("only a policy is pushed by a rule")
        if self.age_min is not None and self.age_max is not None and self.age_min > self.age_max:
            raise ValueError("age_min is above age_max")
        return self


class ReviewIn(Body):
    decision: Literal["publish", "return"]
    opinion: Prose


class PublicationOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: PublicationKind
    author: str
    title: str
    text: str
    source: str | None
    modules: list[Module]
    state: PublicationState
    published_at: datetime | None
    attested_name: str
    attested_at: datetime
    version: int


class PublicationDetail(PublicationOut):
    """As its author and whoever reviews it see it."""

    regions: list[str]
    industries: list[str]
    sizes: list[Size]
    certifications: list[str]
    age_min: int | None
    age_max: int | None
    created_at: datetime
    reviewed_at: datetime | None
    opinion: str | None
    pushed: int = Field(description="to how many enterprises it was pushed")


class PolicyPushed(PublicationOut):
    pushed_at: datetime


class QuestionIn(Body):
    title: Text
    text: Prose
    may_publish: bool = Field(False, description="question and answer may be published, without the enterprise's name")


class AssignIn(Body):
    institution: Slug
    reason: Prose


class AnswerIn(Body):
    answer: Prose


class CloseIn(Body):
    publish: bool
    reason: Prose


class QuestionOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    enterprise: str
    title: str
    text: str
    may_publish: bool
    assigned_to: str | None
    answer: str | None
    answered_name: str | None
    answered_at: datetime | None
    state: QuestionState
    asked_at: datetime
    published_at: datetime | None
    attested_name: str
    attested_at: datetime


class AnsweredOut(BaseModel):
    """A published question: nobody's name but the answer's."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    title: str
    text: str
    answer: str
    answered_name: str
    published_at: datetime
