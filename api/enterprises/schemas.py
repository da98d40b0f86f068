"""Shapes of enterprises, their people and codes, as the operator and the gateway see them."""

from __future__ import annotations

from datetime import date, datetime
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


class Registered(BaseModel):
    uscc: str
    state: str


class ConsentPersonIn(Body):
    """Who has a role in which a person consents in own right: `person` on record, or `name` of somebody new."""

    role: Text
    person: PersonId | None = None
    name: Text | None = None


class ConsentPersonOut(BaseModel):
    """`id` is the pseudonym that documents carry; `person` the account, none while nobody is named."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    role: str
    person: str | None


class NewConsentPerson(ConsentPersonOut):
    code: str | None = Field(None, description="one-time code to enrol, shown this once; none for somebody on record")
    expires_at: datetime | None = None


class ConsentPersons(BaseModel):
    items: list[ConsentPersonOut]


class CertificationIn(Body):
    """R12: when the institution was there, and what it found."""

    visited_on: date
    found: Prose


class CertificationOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    institution: str
    enterprise: str
    certified_at: datetime
    visited_on: date
    found: str
    state: str


class Certifications(BaseModel):
    items: list[CertificationOut]


class CorrectionIn(Body):
    """R13: which item is out of date, and how."""

    item: Text
    text: Prose


class AnswerIn(Body):
    answer: Prose


class FollowUpIn(Body):
    to: Literal["closed", "prompted", "withdrawn"]
    outcome: Prose


class CorrectionOut(BaseModel):
    id: str
    institution: str
    enterprise: str
    item: str
    text: str
    prompted_at: datetime
    due_at: datetime
    answer: str | None
    corrected_at: datetime | None
    outcome: str | None
    ended_at: datetime | None
    state: str
    overdue: bool


class Corrections(BaseModel):
    items: list[CorrectionOut]
