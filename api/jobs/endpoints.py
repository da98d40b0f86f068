"""/v1/jobs and /v1/node/jobs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from starlette.concurrency import run_in_threadpool

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import JobId, Limit, ReasonIn, Slug
from api.jobs import service
from api.jobs.schemas import (
    CloneIn,
    Comparison,
    DecisionIn,
    Events,
    JobIn,
    JobOut,
    JobState,
    JobSummary,
    NodeEventsIn,
    NodeEventsOut,
    ReportIn,
    RetryIn,
    TemplateIn,
    TemplateOut,
    Templates,
)
from api.jobs.states import JOB
from api.paging import CursorParam, Page

router = APIRouter(prefix="/v1", tags=["jobs"])

Reader = Annotated[Caller, Depends(permits(Action.JOB_READ))]


@router.post("/jobs", status_code=201)
def propose(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.JOB_PROPOSE))], body: JobIn
) -> JobOut:
    """A bank proposes a job."""
    return service.propose(control, caller, body)


@router.get("/jobs")
def list_jobs(
    control: ControlDep, caller: Reader, state: JobState | None = None, cursor: CursorParam = None, limit: Limit = 100
) -> Page[JobSummary]:
    """Jobs the caller may see, newest first."""
    return service.list_jobs(control, caller, state, cursor, limit)


@router.get("/jobs/compare")
def compare(
    control: ControlDep, caller: Reader, job: Annotated[list[JobId], Query(min_length=2, max_length=10)]
) -> Comparison:
    """Jobs side by side: measures, gain, cost, and wherein their proposals differ."""
    return service.compare(control, caller, job)


@router.get("/jobs/{job_id}")
def get(control: ControlDep, caller: Reader, job_id: JobId) -> JobOut:
    return service.get(control, caller, job_id)


@router.post("/jobs/{job_id}/approvals")
def decide(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.JOB_APPROVE))],
    job_id: JobId,
    body: DecisionIn,
) -> JobOut:
    """The data owner and the operator each decide; the second approval signs the ticket."""
    return service.decide(control, caller, job_id, body)


@router.post("/jobs/{job_id}/cancel")
def cancel(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.JOB_CANCEL))],
    job_id: JobId,
    body: ReasonIn,
) -> JobOut:
    return service.cancel(control, caller, job_id, body.reason)


@router.post("/jobs/{job_id}/retry", status_code=201)
def retry(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.JOB_RETRY))],
    job_id: JobId,
    body: RetryIn,
) -> JobOut:
    """A new job from the same proposal, to be approved alike."""
    return service.retry(control, caller, job_id, body.reason)


@router.post("/jobs/{job_id}/clone", status_code=201)
def clone(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.JOB_PROPOSE))],
    job_id: JobId,
    body: CloneIn,
) -> JobOut:
    """A new proposal from an old one with changes."""
    return service.clone(control, caller, job_id, body)


@router.get("/job-templates")
def templates(control: ControlDep, caller: Reader) -> Templates:
    """Templates of proposals: the platform's and one's own."""
    return service.templates(control, caller)


@router.post("/job-templates", status_code=201)
def add_template(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.TEMPLATE_MANAGE))], body: TemplateIn
) -> TemplateOut:
    """Keep part of a proposal under a name."""
    return service.add_template(control, caller, body)


@router.post("/job-templates/{template_id}/retire")
def retire_template(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.TEMPLATE_MANAGE))],
    template_id: Slug,
    body: ReasonIn,
) -> TemplateOut:
    return service.retire_template(control, caller, template_id, body.reason)


@router.post("/job-templates/{template_id}/jobs", status_code=201)
def propose_from(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.JOB_PROPOSE))],
    template_id: Slug,
    body: CloneIn,
) -> JobOut:
    """Propose a job from a template and what it leaves open."""
    return service.propose_from(control, caller, template_id, body)


@router.get("/jobs/{job_id}/events")
async def events(
    control: ControlDep,
    caller: Reader,
    job_id: JobId,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    wait: Annotated[float, Query(ge=0, le=60)] = 0,
    limit: Limit = 500,
) -> Events:
    """Events after number `after`; waits up to `wait` seconds for the first one, while the job goes on."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    with control.hub.listen(service.topic(job_id)) as bell:
        while True:
            found = await run_in_threadpool(service.events, control, caller, job_id, after, limit)
            left = deadline - loop.time()
            if found.events or found.state in JOB.final or left <= 0 or control.hub.closing:
                return found
            await bell.wait(left)


@router.get("/jobs/{job_id}/report")
def report(control: ControlDep, caller: Reader, job_id: JobId) -> dict[str, Any]:
    """The aggregate report, with how the model's release stands now."""
    return service.report(control, caller, job_id)


@router.post("/node/jobs/{job_id}/events")
def node_events(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.NODE_REPORT))],
    job_id: JobId,
    body: NodeEventsIn,
) -> NodeEventsOut:
    """A node tells how its part goes; the answer says how the whole job stands."""
    return service.node_events(control, caller, job_id, body)


@router.put("/node/jobs/{job_id}/report", status_code=204)
def put_report(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.NODE_REPORT))],
    job_id: JobId,
    body: ReportIn,
) -> Response:
    """The lab's node hands in the aggregate report."""
    service.put_report(control, caller, job_id, body)
    return Response(status_code=204)
