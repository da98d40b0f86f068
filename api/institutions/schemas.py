"""Shapes of institutions and accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.auth import Role
from api.fields import Body, Prose, Slug, Text


class InstitutionIn(Body):
    id: Slug
    name: Text
    kind: Literal["bank", "lab", "witness"]


class InstitutionOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    kind: str
    created_at: datetime


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


class AccountIn(Body):
    name: Text
    institution: Slug
    roles: Annotated[list[Role], Field(min_length=1, max_length=len(Role))]


class NewAccount(BaseModel):
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
    created_at: datetime
    disabled_at: datetime | None


class Accounts(BaseModel):
    items: list[AccountOut]


class Whoami(BaseModel):
    account_id: str
    name: str
    institution: str
    roles: list[Role]
