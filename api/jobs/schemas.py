"""Shapes of jobs: the proposal, approvals, events from nodes, and views."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from api.fields import Body, JsonObject, Prose, Reason, Sha256, Slug, Text, Told, Word, clean
from api.jobs.states import PARTY
from consent.ticket import DEFAULT_DEADLINES, DEFAULT_EVALUATION, DEFAULT_PROTOCOL, MIN_HEU_BITS

PartyName = Literal["bank", "lab"]
JobState = Literal["draft", "proposed", "approved", "running", "succeeded", "failed", "cancelled", "stopped_by_consent"]


_PROTOCOL: dict[str, Any] = DEFAULT_PROTOCOL
_EVALUATION: dict[str, Any] = DEFAULT_EVALUATION


class RecipeIn(Body):
    name: Literal["boosting", "logistic"]
    params: JsonObject = Field(default_factory=dict)


class HeuIn(Body):
    schema_: Annotated[Literal["ou", "zpaillier"], Field(alias="schema")] = _PROTOCOL["heu"]["schema"]
    key_size: Annotated[int, Field(ge=MIN_HEU_BITS, le=8192)] = _PROTOCOL["heu"]["key_size"]


class ProtocolIn(Body):
    psi: Literal["RR22", "ECDH"] = _PROTOCOL["psi"]
    spu: Literal["SEMI2K", "CHEETAH"] = _PROTOCOL["spu"]
    field: Literal["FM128"] = _PROTOCOL["field"]
    heu: HeuIn = HeuIn()


class EvaluationIn(Body):
    calibration_share: Annotated[float, Field(gt=0, lt=0.5)] = _EVALUATION["calibration_share"]
    bootstrap: Annotated[int, Field(ge=20, le=10_000)] = _EVALUATION["bootstrap"]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = _EVALUATION["seed"]


_Deadline = Annotated[int, Field(ge=1, le=86_400)]


class DeadlinesIn(Body):
    """Seconds."""

    connect: _Deadline = DEFAULT_DEADLINES["connect"]
    stall: _Deadline = DEFAULT_DEADLINES["stall"]
    phase: _Deadline = DEFAULT_DEADLINES["phase"]
    job: _Deadline = DEFAULT_DEADLINES["job"]


_ColumnNames = Annotated[list[Text], Field(min_length=1, max_length=5000)]


class ColumnsIn(Body):
    """The columns to use; a party left out gives all that its dataset declares."""

    bank: _ColumnNames | None = None
    lab: _ColumnNames | None = None


class JobIn(Body):
    project: Text
    dataset: Text
    bank: Slug = Field(description="institution; or the name of one of its nodes")
    lab: Slug = Field(description="institution; or the name of one of its nodes")
    purpose: Text = "joint_training"
    mode: Literal["federated", "zone"]
    recipe: RecipeIn
    protocol: ProtocolIn = ProtocolIn()
    evaluation: EvaluationIn = EvaluationIn()
    deadlines: DeadlinesIn = DeadlinesIn()
    columns: ColumnsIn = ColumnsIn()
    leaks: Literal["exclude", "keep"] = "exclude"
    reason: Reason = "proposed by the bank"


class DecisionIn(Body):
    decision: Literal["approve", "reject"]
    reason: Prose


class RetryIn(Body):
    reason: Reason


class CloneIn(Body):
    """`changes` are laid over the old proposal as a JSON merge patch (RFC 7396)."""

    changes: JsonObject = Field(default_factory=dict)
    reason: Reason


class TemplateIn(Body):
    """Part of a proposal under a name: whoever uses it adds the rest."""

    id: Slug
    title: Text
    title_zh: Text
    proposal: JsonObject


class TemplateOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    institution: str
    title: str
    title_zh: str
    proposal: dict[str, Any]
    created_by: str
    created_at: datetime
    retired_at: datetime | None


class Templates(BaseModel):
    items: list[TemplateOut]


class NodeEventIn(BaseModel):
    """One thing a node says about its part in a job. Fields beyond these are kept as they are."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["phase", "progress", "state", "log"]
    at: AwareDatetime | None = None
    phase: Text | None = None
    state: Text | None = Field(None, description="kind state: the party's state; kind phase: started or done")
    code: Word | None = None
    message: Told | None = None
    message_zh: Told | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return clean(value)

    @model_validator(mode="after")
    def _state_is_known(self) -> NodeEventIn:
        if self.kind == "state" and self.state not in PARTY.states - PARTY.initial:
            raise ValueError(f"state: one of {', '.join(sorted(PARTY.states - PARTY.initial))} is needed")
        if self.kind == "phase" and (self.phase is None or self.state is None):
            raise ValueError("phase: a phase event names its phase and state")
        return self


class NodeEventsIn(Body):
    events: Annotated[list[NodeEventIn], Field(min_length=1, max_length=500)]


class NodeEventsOut(BaseModel):
    last_seq: int
    job_state: JobState


class ReportIn(Body):
    report: JsonObject
    model_sha256: Sha256


class Cause(BaseModel):
    party: str | None
    node: str | None
    code: str
    message: str
    message_zh: str


class PartyOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    institution: str
    node: str
    state: str
    code: str | None
    message: str | None
    message_zh: str | None
    started_at: datetime | None
    ended_at: datetime | None


class ApprovalOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    capacity: str
    account_name: str
    decision: str
    reason: str
    at: datetime


class PhaseOut(BaseModel):
    phase: str
    state: str
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_rss_mb: float | None = None


class ProgressOut(BaseModel):
    phase: str | None
    done: float | None
    total: float | None
    note: str | None


class JobSummary(BaseModel):
    id: str
    project: str
    dataset: str
    bank: str
    lab: str
    mode: str
    recipe: dict[str, Any]
    state: JobState
    cause: Cause | None
    retry_of: str | None
    requested_by: str
    requested_at: datetime
    approved_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


class JobOut(JobSummary):
    proposal: dict[str, Any]
    approvals: list[ApprovalOut]
    parties: dict[str, PartyOut]
    phases: dict[str, list[PhaseOut]]
    progress: dict[str, ProgressOut]
    ticket_sha256: str | None
    expires_at: datetime | None
    model_sha256: str | None
    release: dict[str, Any]
    last_seq: int


class Compared(BaseModel):
    """One of the jobs that are set side by side."""

    job: JobSummary
    models: dict[str, dict[str, float | None]]
    gain: dict[str, Any] | None
    egress: dict[str, int] | None = Field(description="bytes that crossed, each way")
    seconds: float | None


class Comparison(BaseModel):
    """`differences`: pointer into the proposal → each job's value, of what is not the same in all."""

    jobs: list[Compared]
    differences: dict[str, list[Any]]


class EventOut(BaseModel):
    """One event; the fields of its kind are beside the named ones."""

    model_config = ConfigDict(extra="allow")

    seq: int
    at: datetime
    kind: str
    party: str | None
    node: str | None


class Events(BaseModel):
    events: list[dict[str, Any]]
    last_seq: int
    state: JobState
