"""Shapes of the model registry."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

# candidate: no release was asked for; the others are how its newest release stands
Stage = Literal["candidate", "in_review", "approved", "serving", "recalled", "refused"]


class ModelLine(BaseModel):
    """One model by its file's digest."""

    sha256: str
    job_id: str
    project: str
    dataset: str
    bank: str
    lab: str
    mode: str
    recipe: str
    stage: Stage
    trained_at: datetime
    release_id: str | None
    released_at: datetime | None
    withdrawn_share: float | None = Field(description="of its cohort, as the node that sees most reports it")
    models: dict[str, dict[str, float | None]] = Field(description="the report's measures on the test window")
    gain: dict[str, Any] | None
