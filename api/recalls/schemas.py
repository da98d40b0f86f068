"""Shapes of withdrawn shares, retraining notices and impact."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.fields import Body, JobId, Prose
from api.nodes.schemas import AnswerIn

NoticeId = Annotated[str, StringConstraints(pattern=r"^n-[0-9a-f]{12}$")]
NoticeState = Literal["open", "retrained", "closed"]


class ShareIn(Body):
    """A node's word: of the rows it admitted to the release's job, this share has withdrawn by event `seq`."""

    share: Annotated[float, Field(ge=0, le=1)]
    seq: Annotated[int, Field(ge=0, le=2**53)]


class ShareOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    node: str
    share: float
    seq: int
    at: datetime


class ReleaseConsents(BaseModel):
    """`share` is the largest that a node reports, in steps of a hundredth; None before the first report."""

    release_id: str
    state: str
    share: float | None
    recall_share: float
    nodes: list[ShareOut]


class NodeRelease(BaseModel):
    release_id: str
    job_id: str
    sha256: str
    state: str


class NodeReleases(BaseModel):
    """Releases of jobs of this node: those asked for or in service, whose share it reports, and those recalled."""

    items: list[NodeRelease]


class NoticeOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    release_id: str
    bank: str
    state: NoticeState
    share: float
    opened_at: datetime
    closed_at: datetime | None
    reason: str | None
    retrained_by: str | None


class Notices(BaseModel):
    items: list[NoticeOut]


class CloseIn(Body):
    """`retrained_by` names the job that trained the model again; without it the notice is closed for the reason."""

    reason: Prose
    retrained_by: JobId | None = None


class ImpactAnswerIn(AnswerIn):
    """A node's answer: the jobs of its that rest on the consent, or why it does not say."""

    TOLD = "job_ids"

    job_ids: Annotated[list[JobId], Field(max_length=10_000)] | None = None


class ImpactItem(BaseModel):
    """One model that was trained with the enterprise's row."""

    job_id: str
    project: str
    trained_at: datetime | None
    release_id: str | None
    release_state: str | None
    share: float | None = Field(description="of the cohort that has withdrawn, as on the release")


class Impact(BaseModel):
    consent_id: str
    state: str
    items: list[ImpactItem]
