"""Shapes of institutions and accounts."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from api.auth import Level, Role
from api.fields import Body, Prose, SecretOut, Slug, Text


class AgreementIn(Body):
    """The agreement on access, signed on paper (R32)."""

    reference: Text
    signed_on: date


class AssessmentIn(Body):
    """The security assessment before access (R52): who found it in order, and when."""

    reference: Text
    assessor: Text
    assessed_on: date


class Papers(Body):
    agreement: AgreementIn
    assessment: AssessmentIn


class InstitutionIn(Body):
    id: Slug
    name: Text
    kind: Literal["bank", "lab", "witness", "guarantor"]
    papers: Papers | None = Field(None, description="agreement and assessment; without them it is being prepared")


class InstitutionOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    kind: str
    created_at: datetime


class OnboardingOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    institution: str
    state: str
    agreement: str | None
    signed_on: date | None
    assessment: str | None
    assessor: str | None
    assessed_on: date | None


class Onboardings(BaseModel):
    items: list[OnboardingOut]


class RectifyIn(Body):
    """R52: what is unsafe is rectified or removed."""

    ground: Text


class SanctionIn(Body):
    """R17: on which ground, by which evidence, until when."""

    ground: Text
    evidence: Prose | None = None
    until: AwareDatetime | None = Field(None, description="end of a suspension; lifted by itself")


class StandingOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    institution: str
    state: str
    ground: str
    evidence: str | None
    since: datetime
    until: datetime | None
    seq: int = Field(description="place of the signed word in the feed")


class Standings(BaseModel):
    items: list[StandingOut]


class Institutions(BaseModel):
    items: list[InstitutionOut]


Duty = Annotated[str, StringConstraints(pattern=r"^[a-z]+:[a-z_]+$")]


class AccountIn(Body):
    """An API client: a program, with a person who answers for it."""

    name: Text
    institution: Slug
    roles: Annotated[list[Role], Field(min_length=1, max_length=len(Role))]
    duties: Annotated[list[Duty], Field(min_length=1, max_length=100)] | None = Field(
        None, description="right:resource, some of what the roles stand for; all of it when not given"
    )
    owner: Text | None = Field(None, description="the person who answers for it")
    expires_at: AwareDatetime | None = Field(None, description="of its token; by default after `token_days`")


class NewAccount(SecretOut):
    account_id: str
    name: str
    institution: str
    roles: list[Role]
    token: str = Field(description="shown this once; only its hash is kept")


class AccountOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    institution: str
    roles: list[Role]
    level: Level
    duties: list[str] | None
    owner: str | None
    created_at: datetime
    disabled_at: datetime | None


class Accounts(BaseModel):
    items: list[AccountOut]


class Whoami(BaseModel):
    account_id: str
    name: str
    institution: str
    roles: list[Role]
    level: Level
    duties: list[str] = Field(description="what this account may do now: right:resource")
