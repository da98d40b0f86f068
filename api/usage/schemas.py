"""Shapes of usage records."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel


class UsageOut(BaseModel):
    """R46: user, institution, time, reason, content, object, purpose; and how it ended."""

    id: str
    at: datetime
    user: str
    institution: str
    reason: str
    content: str
    object_kind: str
    object: str
    purpose: str
    consent_id: str | None
    job_id: str | None
    release_id: str | None
    outcome: str | None
    outcome_code: str | None


class UsagePage(BaseModel):
    items: list[UsageOut]
