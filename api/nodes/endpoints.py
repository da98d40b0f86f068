"""/v1/nodes and /v1/node/work."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.nodes import service
from api.nodes.schemas import NodeIn, NodeOut, Nodes, Work

router = APIRouter(prefix="/v1", tags=["nodes"])


@router.put("/nodes/self")
def register(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.NODE_REGISTER))], body: NodeIn
) -> NodeOut:
    """A node describes itself and its datasets: metadata only."""
    return service.register(control, caller, body)


@router.get("/nodes")
def list_nodes(control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.NODE_READ))]) -> Nodes:
    return service.list_nodes(control, caller)


@router.get("/node/work")
async def work(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.NODE_WORK))],
    request: Request,
    wait: Annotated[float, Query(ge=0, le=60)] = 0,
    feed: Annotated[int | None, Query(ge=0, le=2**62, description="answer also when the feed passes this")] = None,
) -> Work:
    """What waits for the node; answers at once when there is something, else after `wait` seconds."""
    deliveries: service.Deliveries = request.app.state.deliveries
    return await service.work(control, deliveries, caller, wait, feed, request.is_disconnected)
