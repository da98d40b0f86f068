"""Shapes of scores."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from api.fields import Body, FleetingOut, JobId, JsonObject, Reason, Sha256, Text
from api.permits.schemas import NodeError


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


class AnswerIn(Body):
    """A node's answer to a permit: a result or an error."""

    result: ScoreResult | None = None
    error: NodeError | None = None

    @model_validator(mode="after")
    def _one_answer(self) -> AnswerIn:
        if (self.result is None) == (self.error is None):
            raise ValueError("exactly one of result and error is needed")
        return self


class ModelOut(BaseModel):
    sha256: str
    version: str


class ScoreOut(FleetingOut):
    score: float
    pd: float
    reasons: list[dict[str, Any]]
    model: ModelOut
    consent_id: str
    usage_id: str
    disputed: bool = Field(description="something said of the enterprise is under dispute: weigh it with care")


class BatchIn(Body):
    """Several enterprises, one model, one reason. One of release_sha256 and job_id names the model."""

    release_sha256: Sha256 | None = None
    job_id: JobId | None = None
    enterprises: Annotated[list[Text], Field(min_length=1, max_length=200)]
    reason: Reason

    @model_validator(mode="after")
    def _one_model_each_once(self) -> BatchIn:
        if (self.release_sha256 is None) == (self.job_id is None):
            raise ValueError("exactly one of release_sha256 and job_id is needed")
        if len(set(self.enterprises)) != len(self.enterprises):
            raise ValueError("enterprises: one is named twice")
        return self

    def of(self, enterprise: str) -> ScoreIn:
        return ScoreIn(
            release_sha256=self.release_sha256, job_id=self.job_id, enterprise=enterprise, reason=self.reason
        )


class Refused(BaseModel):
    """Why there is no score for one enterprise."""

    code: str
    detail: str
    detail_zh: str
    usage_id: str | None = None


class BatchItem(BaseModel):
    """A score or a refusal, in the order asked."""

    enterprise: str
    score: ScoreOut | None = None
    refused: Refused | None = None


class BatchOut(FleetingOut):
    items: list[BatchItem]
    scored: int
    refused: int
