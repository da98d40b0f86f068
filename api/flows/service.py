"""Listing flows and starting one by hand."""

from __future__ import annotations

from api.auth import Caller
from api.control import Control
from api.errors import NotFound
from api.flows import runtime
from api.flows.schemas import FlowOut, Flows, Started, StartIn, WorkOut
from api.flows.work import WORKS


def list_flows(limit: int) -> Flows:
    """Raises Unavailable in a process that runs none."""
    works = [WorkOut(name=w.name, title=w.title, title_zh=w.title_zh, cron=w.cron) for w in WORKS.values()]
    return Flows(works=works, items=[FlowOut(**flow) for flow in runtime.recent(limit)])


def start(control: Control, caller: Caller, name: str, body: StartIn) -> Started:
    """Raises NotFound for an unknown work, Unavailable in a process that runs none."""
    if name not in WORKS:
        raise NotFound("work", "后台任务", name)
    with control.db.unit(caller) as unit:
        at = body.at or unit.now
        unit.note("flow.start", "flow", name, body.reason, detail={"at": at.isoformat()})
        flow_id = runtime.start(name, at)  # the same id again when this transaction must be repeated
    return Started(id=flow_id)
