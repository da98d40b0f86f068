"""/v1/flows: what runs by the clock, how it stands, and starting one now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import Limit, Slug
from api.flows import service
from api.flows.schemas import Flows, Started, StartIn

router = APIRouter(prefix="/v1/flows", tags=["flows"])


@router.get("", dependencies=[Depends(permits(Action.FLOW_READ))])
def list_flows(control: ControlDep, limit: Limit = 50) -> Flows:
    """The table of works, and the newest runs."""
    return service.list_flows(limit)


@router.post("/{name}/runs", status_code=202)
def start(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.FLOW_START))], name: Slug, body: StartIn
) -> Started:
    """Run a work now instead of waiting for its time."""
    return service.start(control, caller, name, body)
