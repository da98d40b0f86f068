"""Shapes of applications about an institution's admins (000 §5, annex)."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.fields import Body, Prose, SecretOut, Slug, Text
from api.staff.schemas import Contact, Login, NewPerson

AdmissionKind = Literal["open", "revoke", "reset", "change"]


class AdminIn(Body):
    login: Login
    name: Text
    post: Text = Field(description="department and post")
    contact: Contact
    op: Literal["open", "revoke", "reset"]


class NetworkContactIn(Body):
    """Who looks after the network on the institution's side."""

    name: Text
    contact: Contact


class AdmissionIn(Body):
    """R2: two admins A and B, who are two people, a network contact, and the pledge."""

    kind: AdmissionKind
    institution: Slug
    institution_name: Text = Field(description="中文名称")
    bank_code: Annotated[str, StringConstraints(pattern="^[0-9]{12}$")] | None = Field(None, description="支付行号")
    dated: date
    effective_on: date
    admin_a: AdminIn
    admin_b: AdminIn
    network_contact: NetworkContactIn
    pledge: Literal[True] = Field(description="the institution's pledge was given and signed")


class OpinionIn(Body):
    opinion: Prose


class AdmissionOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: str
    institution: str
    institution_name: str
    bank_code: str | None
    dated: date
    effective_on: date
    admins: list[AdminIn]
    network_contact: NetworkContactIn
    submitted_by: str
    submitted_at: datetime
    opinion: str | None
    decided_by: str | None
    decided_at: datetime | None
    state: str


class Admissions(BaseModel):
    items: list[AdmissionOut]


class CarriedOut(SecretOut):
    admission: AdmissionOut
    people: list[NewPerson] = Field(description="opened or reset, with their one-time codes, shown this once")
