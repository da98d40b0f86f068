"""Shapes of guarantees."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from api.applications.profiles import Basic
from api.fields import Body, Prose, Slug
from api.financing import Money, Yuan

GuaranteeId = Annotated[str, StringConstraints(pattern=r"^gu-[0-9a-f]{12}$")]
GuaranteeState = Literal["invited", "accepted", "refused", "withdrawn"]


class InvitationIn(Body):
    guarantor: Slug
    amount: Money
    note: Prose


class AnswerIn(Body):
    decision: Literal["accept", "refuse"]
    answer: Prose


class GuaranteeOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    application: str
    enterprise: str
    guarantor: str
    amount: Yuan
    note: str
    state: GuaranteeState
    invited_at: datetime
    answer: str | None
    answered_at: datetime | None
    attested_name: str
    attested_at: datetime


class GuaranteeDetail(GuaranteeOut):
    """With what the guarantor is to judge."""

    loan_amount: Yuan
    term_months: int
    purpose: str
    repayment: str
    basic: Basic


class Guarantees(BaseModel):
    items: list[GuaranteeOut]
