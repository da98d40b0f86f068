"""Shapes of events to institutions and of webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from api.fields import Body, SecretOut, Slug

HttpsUrl = Annotated[str, StringConstraints(pattern=r"^https://[^\s@#\x00-\x1f\x7f]{1,500}$")]
WebhookId = Annotated[str, StringConstraints(pattern=r"^w-[0-9a-f]{12}$")]


class EventPage(BaseModel):
    """`events` are signed by the platform, their positions follow each other; `last` is the newest there is."""

    events: list[dict[str, Any]]
    last: int
    acked: int


class AckIn(Body):
    position: Annotated[int, Field(ge=0, le=2**53)]


class Acked(BaseModel):
    acked: int
    last: int


class WebhookIn(Body):
    institution: Slug
    url: HttpsUrl


class WebhookOut(BaseModel):
    """`position` is how far deliveries have come."""

    id: str
    institution: str
    url: str
    state: str
    created_at: datetime
    position: int
    attempts: int
    next_at: datetime
    last_fault: str | None


class NewWebhook(SecretOut):
    id: str
    secret: str = Field(description="shown this once")


class Webhooks(BaseModel):
    items: list[WebhookOut]


class DeadLetterOut(BaseModel):
    first: int
    last: int
    attempts: int
    fault: str
    at: datetime


class DeadLetters(BaseModel):
    """Events by position that were not delivered; they can still be polled."""

    items: list[DeadLetterOut]
