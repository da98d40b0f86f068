"""Shapes of people, their sign-in, their sessions, API tokens and sanctions."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from api.auth import Level, Role
from api.fields import Body, Prose, SecretOut, Text
from api.institutions.schemas import Duty

Login = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._@-]{2,63}$")]
Contact = Annotated[str, StringConstraints(pattern=r"^(\+?[0-9][0-9 -]{5,19}|[^@\s]{1,64}@[^@\s]{1,120})$")]
AccountId = Annotated[str, StringConstraints(pattern=r"^a-[0-9a-f]{12}$")]
Password = Annotated[str, StringConstraints(max_length=256)]
Duties = Annotated[list[Duty], Field(min_length=1, max_length=100)]


class PersonIn(Body):
    """R4: a real name with a valid contact; R3: an account is one person's."""

    login: Login
    name: Text = Field(description="the person's real name")
    contact: Contact = Field(description="telephone or mail")
    post: Text = Field(description="department and post")
    roles: Annotated[list[Role], Field(min_length=1, max_length=len(Role))]
    duties: Duties | None = Field(None, description="right:resource; all of what the roles stand for when not given")
    external: Text | None = Field(None, description="issuer and subject at the own identity provider: `issuer#subject`")


class NewPerson(SecretOut):
    account_id: str
    login: str
    code: str = Field(description="one-time code for the first password, shown this once: hand it over in person")
    expires_at: datetime


class PersonOut(BaseModel):
    account_id: str
    login: str
    institution: str
    name: str
    contact: str
    post: str
    level: Level
    roles: list[Role]
    duties: list[str] | None
    state: str
    second_factor: list[str]
    left_on: date | None
    disable_by: datetime | None = Field(description="a leaver is disabled by then (R6)")
    overdue: bool


class People(BaseModel):
    items: list[PersonOut]


class LeaverIn(Body):
    left_on: date
    reason: Prose


class DutiesIn(Body):
    duties: Duties | None
    reason: Prose


class FirstPasswordIn(Body):
    login: Login
    code: Text
    password: Password


class LoginIn(Body):
    login: Login
    password: Password
    totp: Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")] | None = None


class NewSession(SecretOut):
    session_id: str
    token: str = Field(description="shown this once; also set as a cookie")
    method: str
    second_factor_needed: bool = Field(description="set up TOTP or a passkey before anything else")
    new_source: bool = Field(description="this account has not signed in from here before")
    elsewhere: list[str] = Field(description="addresses from which this account is signed in as well")
    expires_at: datetime


class TotpOut(SecretOut):
    uri: str = Field(description="for the authenticator, shown this once")
    number: str


class TotpIn(Body):
    number: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    code: Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")]


class Started(BaseModel):
    ceremony: str
    options: dict[str, Any]


class CredentialIn(Body):
    ceremony: Text
    credential: dict[str, Any]
    label: Text = "passkey"


class SessionOut(BaseModel):
    id: str
    account_id: str
    login: str
    institution: str
    method: str
    address: str
    agent: str
    created_at: datetime
    seen_at: datetime
    concurrent: bool = Field(description="this account is signed in from another place as well")


class Sessions(BaseModel):
    items: list[SessionOut]


class TokenIn(Body):
    expires_at: AwareDatetime | None = None
    keep_hours: Annotated[int, Field(ge=0, le=720)] = Field(24, description="until the earlier tokens end")
    reason: Prose


class NewToken(SecretOut):
    id: str
    token: str = Field(description="shown this once; only its hash is kept")
    expires_at: datetime | None


class TokenOut(BaseModel):
    id: str
    created_at: datetime
    expires_at: datetime | None


class Tokens(BaseModel):
    items: list[TokenOut]


class AccountSanctionIn(Body):
    """R17: which duties (all when none are named), on which ground, by which evidence, until when."""

    duties: Duties | None = None
    ground: Text
    evidence: Prose | None = None
    until: AwareDatetime | None = None


class AccountSanctionOut(BaseModel):
    id: str
    account_id: str
    duties: list[str] | None
    ground: str
    evidence: str | None
    since: datetime
    until: datetime | None
    state: str


class AccountSanctions(BaseModel):
    items: list[AccountSanctionOut]


class OidcStart(BaseModel):
    url: str = Field(description="send the browser there")


class OidcFinishIn(Body):
    state: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    code: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
