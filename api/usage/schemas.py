"""Shapes of usage records."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from api.fields import Body, JobId, JsonObject, Text
from api.nodes.schemas import AnswerIn

Moment = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class Sentence(BaseModel):
    """A record in plain words, for the enterprise."""

    zh: str
    en: str


class UsageOut(BaseModel):
    """R46: user, institution, time, reason, content, object, purpose; and how it ended.

    `record` is the document that stands in the ledger (`consent.usage`), `sentence` the same in plain words.
    """

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
    permit_id: str | None
    outcome: str | None
    outcome_code: str | None
    record: dict[str, Any]
    sentence: Sentence


class UsagePage(BaseModel):
    items: list[UsageOut]


class QuestionIn(Body):
    """A question that the enterprise signed (`consent.usage_question`)."""

    question: JsonObject


class UseIn(Body):
    """One job's use of the enterprise's row, as a node has it on record."""

    at: Moment
    recipient: Text
    job_id: JobId
    consent_id: Text
    data: JsonObject


class UsesIn(AnswerIn):
    """A node's answer: what jobs used, or why it does not say."""

    TOLD = "uses"

    uses: Annotated[list[UseIn], Field(max_length=10_000)] | None = None


class NodeUse(BaseModel):
    """One job that used the enterprise's row: when, which nodes say so, and the record in plain words.

    `proven` is the platform's own record of the job with its proof from the log, as `creditlab verify` takes it: that
    the job was, whose it was and what for. That this enterprise's row was in it is the nodes' word.
    """

    at: str
    job_id: str
    consent_id: str
    nodes: list[str]
    record: dict[str, Any]
    sentence: Sentence
    proven: dict[str, Any]


class NodeUses(BaseModel):
    """`silent` names the nodes that did not answer in time: what they hold is missing here."""

    items: list[NodeUse]
    silent: list[str]
