"""Shapes of the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from api.fields import Text


class AuditFilter(BaseModel):
    """What an auditor looks for; what is not given is not asked."""

    object_kind: Text | None = None
    object_id: Text | None = None
    actor: Text | None = None
    institution: Text | None = None
    action: Text | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class AuditEntry(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    seq: int
    at: datetime
    actor: str
    actor_name: str
    institution: str
    action: str
    object_kind: str
    object_id: str
    from_state: str | None
    to_state: str | None
    reason: str
    detail: dict[str, Any]


class AuditPage(BaseModel):
    items: list[AuditEntry]
    next: int | None
