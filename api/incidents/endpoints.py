"""/v1/incidents."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import Limit
from api.incidents import service
from api.incidents.schemas import AcknowledgeIn, CloseIn, IncidentId, IncidentIn, IncidentOut, IncidentState
from api.paging import CursorParam, Page

router = APIRouter(prefix="/v1/incidents", tags=["incidents"])

Reporter = Annotated[Caller, Depends(permits(Action.INCIDENT_REPORT))]
Reader = Annotated[Caller, Depends(permits(Action.INCIDENT_READ))]
Desk = Annotated[Caller, Depends(permits(Action.INCIDENT_HANDLE))]


@router.post("", status_code=201)
def report(control: ControlDep, caller: Reporter, body: IncidentIn) -> IncidentOut:
    """Report a security incident or finding at once. The operator is told, and its clock starts."""
    return service.report(control, caller, body)


@router.get("")
async def listed(
    control: ControlDep,
    caller: Reader,
    state: IncidentState | None = None,
    pending: Annotated[bool, Query(description="only what is not closed, the next due first")] = False,
    overdue: Annotated[bool, Query(description="only what is not acknowledged or closed in time")] = False,
    wait: Annotated[float, Query(ge=0, le=60, description="seconds to wait while there is none")] = 0,
    cursor: CursorParam = None,
    limit: Limit = 100,
) -> Page[IncidentOut]:
    """Security incidents, newest first; an institution's own, for the operator all."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    with control.hub.listen(service.TOPIC) as bell:
        while True:
            found = await run_in_threadpool(
                service.listed, control, caller, state, pending=pending, overdue=overdue, cursor=cursor, limit=limit
            )
            left = deadline - loop.time()
            if found.items or left <= 0 or control.hub.closing:
                return found
            await bell.wait(left)


@router.get("/{incident_id}")
def get(control: ControlDep, caller: Reader, incident_id: IncidentId) -> IncidentOut:
    return service.get(control, caller, incident_id)


@router.post("/{incident_id}/acknowledge")
def acknowledge(control: ControlDep, caller: Desk, incident_id: IncidentId, body: AcknowledgeIn) -> IncidentOut:
    """Take it up, and say what is to be done."""
    return service.acknowledge(control, caller, incident_id, body)


@router.post("/{incident_id}/close")
def close(control: ControlDep, caller: Desk, incident_id: IncidentId, body: CloseIn) -> IncidentOut:
    """It is over: what it was, what was done, what changes."""
    return service.close(control, caller, incident_id, body)
