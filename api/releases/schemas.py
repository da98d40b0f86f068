"""Shapes of releases."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.fields import Body, JobId, Prose, Sha256, Told, Word

ReleaseState = Literal[
    "pending",
    "submitted",
    "partially_reviewed",
    "reviewed",
    "approved",
    "released",
    "returned",
    "rejected",
    "withdrawn",
    "recalled",
]


class ReleaseIn(Body):
    job_id: JobId
    reason: Prose


class ReviewIn(Body):
    decision: Literal["approve", "reject"]
    comment: Prose


class ConfirmationIn(Body):
    """What a node says after a release order: `released` with the file's size, or `failed` with a cause."""

    state: Literal["released", "failed"]
    bytes: Annotated[int, Field(ge=0, le=2**53)] | None = None
    sha256: Sha256 | None = None
    code: Word | None = None
    message: Told | None = None
    message_zh: Told | None = None

    @model_validator(mode="after")
    def _complete(self) -> ConfirmationIn:
        if self.state == "failed" and (self.code is None or self.message is None):
            raise ValueError("code and message are needed with state failed")
        return self


class ReviewOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    account_name: str
    decision: str
    comment: str
    at: datetime


class ConfirmationOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    node: str
    outcome: str
    bytes: int | None
    code: str | None
    message: str | None
    message_zh: str | None
    at: datetime


class ReleaseOut(BaseModel):
    id: str
    job_id: str
    sha256: str
    state: ReleaseState
    requested_by: str
    requested_at: datetime
    reason: str
    reviews: list[ReviewOut] = Field(description="all once both are in; before that, the reader's own only")
    confirmations: list[ConfirmationOut]
    cause: dict[str, Any] | None
    approved_at: datetime | None
    released_at: datetime | None
