"""Reading the model registry. A party of a job sees its models, the operator and the platform's reviewers all."""

from __future__ import annotations

import json

from sqlalchemy.orm import Session

from api.auth import Caller
from api.control import Control
from api.errors import NotFound
from api.jobs import repository as jobs
from api.jobs import shaping
from api.jobs.repository import JobReport
from api.jobs.service import visible
from api.paging import Page, page
from api.recalls.repository import worst
from api.registry import repository
from api.registry.schemas import ModelLine, Stage
from api.releases import repository as releases

# stage → states of the newest release; empty: no release
STAGES: dict[Stage, frozenset[str]] = {
    "candidate": frozenset(),
    "in_review": frozenset({"pending", "submitted", "partially_reviewed", "reviewed"}),
    "approved": frozenset({"approved"}),
    "serving": frozenset({"released"}),
    "recalled": frozenset({"recalled"}),
    "refused": frozenset({"returned", "rejected", "withdrawn"}),
}


def stage_of(state: str | None) -> Stage:
    if state is None:
        return "candidate"
    return next(stage for stage, states in STAGES.items() if state in states)


def _line(session: Session, row: JobReport) -> ModelLine:
    job = jobs.job(session, row.job_id)
    assert job is not None
    release = releases.newest_of_job(session, row.job_id)
    report = json.loads(row.report)
    return ModelLine(
        sha256=row.model_sha256,
        job_id=job.id,
        project=job.project,
        dataset=job.dataset,
        bank=job.bank,
        lab=job.lab,
        mode=job.mode,
        recipe=job.recipe["name"],
        stage=stage_of(release.state if release is not None else None),
        trained_at=row.received_at,
        release_id=release.id if release is not None else None,
        released_at=release.released_at if release is not None else None,
        withdrawn_share=worst(session, release.id) if release is not None else None,
        models=shaping.measures(report),
        gain=shaping.gain(report),
    )


def search(control: Control, caller: Caller, stage: Stage | None, cursor: str | None, limit: int) -> Page[ModelLine]:
    mine = None if caller.institution == "platform" else caller.institution
    with control.db.read(caller) as session:
        query = repository.models(mine, None if stage is None else STAGES[stage])
        return page(session, query, repository.NEWEST, cursor, limit, lambda row: _line(session, row))


def get(control: Control, caller: Caller, job_id: str) -> ModelLine:
    """The model of one job. Raises NotFound, also for another bank's."""
    with control.db.read(caller) as session:
        row, job = jobs.report(session, job_id), jobs.job(session, job_id)
        if row is None or job is None or not visible(caller, job):
            raise NotFound("model of job", "作业模型", job_id)
        return _line(session, row)
