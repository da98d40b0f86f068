"""Shapes of usage records."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from api.fields import Body, JobId, JsonObject, Sha256, Text
from api.nodes.schemas import AnswerIn, QuestionId

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


class NodeLogOut(BaseModel):
    """How far a node's own log of uses is known here: its last head's log and size; 0 before the first."""

    log_id: str | None
    size: int


class NodeHeadIn(Body):
    """A node's signed head over every use up to a job's, and the path from the last head that stands here."""

    head: JsonObject
    path: Annotated[list[Sha256], Field(max_length=128)]


class NodeHeadOut(BaseModel):
    """Ledger records (document, salt, proof): of the head's entry, and of the platform's record of the job."""

    head: dict[str, Any]
    job: dict[str, Any]


class UseIn(Body):
    """One job's use of the enterprise's row, as a node has it on record; `record` is its own log's."""

    at: Moment
    recipient: Text
    job_id: JobId
    consent_id: Text
    data: JsonObject
    record: JsonObject | None = None


class AskedIn(Body):
    """An earlier question about the enterprise by the platform's word, as a node noted it."""

    question_id: QuestionId
    at: Moment
    answered: bool


class UsesIn(AnswerIn):
    """A node's answer: what jobs used and who asked before by the platform's word, or why it does not say."""

    TOLD = "uses"

    uses: Annotated[list[UseIn], Field(max_length=10_000)] | None = None
    asked: Annotated[list[AskedIn], Field(max_length=10_000)] | None = None


class NodeUse(BaseModel):
    """One job that used the enterprise's row: when, which nodes say so, and the record in plain words.

    `proven` is the platform's own record of the job with its proof from the log: that the job was, whose it was and
    what for. `files` prove that this enterprise's row was in it (`consent.node_log`), one of each node whose log's head
    stands in the platform's ledger. `creditlab verify` takes both. What another node says is its word.
    """

    at: str
    job_id: str
    consent_id: str
    nodes: list[str]
    record: dict[str, Any]
    sentence: Sentence
    proven: dict[str, Any]
    files: list[dict[str, Any]]


class NodeRefusal(BaseModel):
    """A node that does not say what it holds, and its reason."""

    node: str
    code: str
    message: str
    message_zh: str


class NodeAsked(BaseModel):
    """An earlier question about the enterprise by the platform's word: when, and which nodes noted and answered it."""

    question_id: str
    at: str
    nodes: list[str]
    answered: list[str]


class NodeUses(BaseModel):
    """`silent` names the nodes that did not answer in time, `refused` those that do not say: what they hold is missing.

    `asked` are the earlier questions for which the platform vouched, so that one that the enterprise did not ask shows.
    """

    items: list[NodeUse]
    silent: list[str]
    refused: list[NodeRefusal]
    asked: list[NodeAsked]
