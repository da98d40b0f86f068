"""Shapes of scores."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from api.fields import Body, JobId, JsonObject, Reason, Sha256, Text, Told, Word


class ScoreIn(Body):
    """One of release_sha256 and job_id names the model."""

    release_sha256: Sha256 | None = None
    job_id: JobId | None = None
    enterprise: Text
    reason: Reason

    @model_validator(mode="after")
    def _one_model(self) -> ScoreIn:
        if (self.release_sha256 is None) == (self.job_id is None):
            raise ValueError("exactly one of release_sha256 and job_id is needed")
        return self


class ScoreResult(Body):
    """What the bank's node found."""

    score: float
    pd: Annotated[float, Field(ge=0, le=1)]
    margin: float | None = None
    reasons: Annotated[list[JsonObject], Field(max_length=50)] = Field(default_factory=list)


class ScoreError(Body):
    code: Word
    message: Told
    message_zh: Told | None = None


class AnswerIn(Body):
    """A node's answer to a permit: a result or an error."""

    result: ScoreResult | None = None
    error: ScoreError | None = None

    @model_validator(mode="after")
    def _one_answer(self) -> AnswerIn:
        if (self.result is None) == (self.error is None):
            raise ValueError("exactly one of result and error is needed")
        return self


class AnswerOut(BaseModel):
    state: str


class ModelOut(BaseModel):
    sha256: str
    version: str


class ScoreOut(BaseModel):
    score: float
    pd: float
    reasons: list[dict[str, Any]]
    model: ModelOut
    consent_id: str
    usage_id: str
    disputed: bool = Field(description="something said of the enterprise is under dispute: weigh it with care")
