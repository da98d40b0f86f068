"""Shapes of institutions and accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.auth import Role
from api.fields import Body, Slug, Text


class InstitutionIn(Body):
    id: Slug
    name: Text
    kind: Literal["bank", "lab"]


class InstitutionOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    kind: str
    created_at: datetime


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
