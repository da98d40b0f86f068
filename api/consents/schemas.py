"""Shapes of consents, the import's answer and the feed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class LineError(BaseModel):
    line: int
    code: str
    message: str
    message_zh: str


class ImportResult(BaseModel):
    """What an import did; `unchanged` counts documents that were known already, byte for byte."""

    accepted: int = 0
    refused: int = 0
    withdrawn: int = 0
    changed: int = Field(default=0, description="consents paused or resumed")
    unchanged: int = 0
    failed: int = Field(default=0, description="lines not taken; `errors` names the first thousand")
    errors: list[LineError] = []
    head: int = Field(default=0, description="the feed's last sequence number after the import")


class ConsentOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    consent_id: str
    enterprise: str
    recipient: str
    provider: str
    purpose: str
    state: str
    valid_from: str
    valid_until: str
    withdrawn_at: str | None
    sequence: int
    head_sha256: str
    seq: int


class Consents(BaseModel):
    items: list[ConsentOut]


class Count(BaseModel):
    recipient: str
    purpose: str
    state: str
    count: int


class Counts(BaseModel):
    """`total` by state, and the same by recipient and purpose."""

    total: dict[str, int]
    items: list[Count]
    head: int


class FeedPage(BaseModel):
    head: int
    events: list[dict[str, Any]]
