"""Shapes of enterprises, their people and codes, as the operator and the gateway see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.enterprises.states import Right
from api.fields import Body, Prose, Text

PersonId = Annotated[str, StringConstraints(pattern=r"^ep-[0-9a-f]{12}$")]


class EnterpriseIn(Body):
    uscc: Text
    name: Text
    subject: Literal["company", "sole_trader"] = "company"
    contact_name: Text
    contact: Text = Field(description="telephone or mail; kept for the operator, never logged")


class PersonOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    rights: list[Right]
    state: str


class EnterpriseOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    uscc: str
    name: str
    subject: str
    state: str
    created_at: datetime


class EnterpriseDetail(EnterpriseOut):
    contact_name: str
    contact: str
    people: list[PersonOut]


class Enterprises(BaseModel):
    items: list[EnterpriseOut]


class NewEnterprise(BaseModel):
    enterprise: EnterpriseOut
    person: PersonOut
    code: str = Field(description="one-time code, shown this once: hand it to the person by a verified way")
    expires_at: datetime


class CodeIn(Body):
    person: PersonId
    use: Literal["enrol", "recover", "login", "confirm"]
    reason: Prose


class NewCode(BaseModel):
    code: str = Field(description="one-time code, shown this once")
    expires_at: datetime


class StateIn(Body):
    state: Literal["active", "suspended", "closed"]
    reason: Prose
