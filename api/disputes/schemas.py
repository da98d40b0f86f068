"""Shapes of disputes and complaints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from api.fields import Body, Prose, Text

DisputeId = Annotated[str, StringConstraints(pattern=r"^d-[0-9a-f]{12}$")]
DisputeKind = Literal["dispute", "complaint"]
DisputeState = Literal["open", "answered", "closed", "withdrawn"]


class DisputeIn(Body):
    """What an enterprise says: what is wrong (dispute) or how it was treated (complaint).

    `consent_id` or `usage_id` name what it is about, and with it the institution; neither: it is about the platform.
    """

    kind: DisputeKind
    enterprise: Text
    text: Prose
    consent_id: Text | None = None
    usage_id: Text | None = None


class AnswerIn(Body):
    answer: Prose


class DisputeOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: DisputeKind
    enterprise: str
    institution: str | None
    consent_id: str | None
    usage_id: str | None
    text: str
    state: DisputeState
    opened_by: str
    opened_at: datetime
    due_at: datetime
    overdue: bool
    answer: str | None
    answered_by: str | None
    answered_at: datetime | None
    ended_at: datetime | None


class Disputes(BaseModel):
    items: list[DisputeOut]
