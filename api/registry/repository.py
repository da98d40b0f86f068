"""Queries over models: a job's report with the newest release of the job."""

from __future__ import annotations

import sqlalchemy as sa

from api.jobs.repository import Job, JobReport
from api.paging import Order
from api.releases.repository import Release, newest_by_job

NEWEST = Order("-trained_at", (JobReport.received_at, JobReport.job_id), descending=True)


def models(institution: str | None, stages: frozenset[str] | None) -> sa.Select[tuple[JobReport]]:
    """Reports of jobs of an institution (None: of all) whose newest release is in one of `stages` (empty: has none)."""
    newest = newest_by_job()
    query = (
        sa.select(JobReport)
        .join(Job, Job.id == JobReport.job_id)
        .join(newest, newest.c.job_id == JobReport.job_id, isouter=True)
        .join(Release, Release.id == newest.c.id, isouter=True)
    )
    if institution is not None:
        query = query.where(sa.or_(Job.bank == institution, Job.lab == institution))
    if stages is not None:
        query = query.where(Release.id.is_(None) if not stages else Release.state.in_(stages))
    return query
