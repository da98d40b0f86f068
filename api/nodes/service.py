"""Registration and work of nodes. The long poll holds neither a thread nor a connection while it waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.auth import Caller
from api.consents import repository as consents
from api.consents.feed import FEED_TOPIC
from api.control import Control
from api.db import Unit
from api.errors import Forbidden, Invalid
from api.institutions import repository as institutions
from api.jobs import repository as jobs
from api.nodes import questions, repository
from api.nodes.repository import Node
from api.nodes.schemas import NodeIn, NodeOut, Nodes, Work
from api.permits import repository as permits
from api.releases import repository as releases


def topic(node: str) -> str:
    """What a node's long poll listens to."""
    return f"node:{node}"


def _view(row: Node, heard_at: Any) -> NodeOut:
    return NodeOut(
        name=row.name,
        role=row.role,
        institution=row.institution,
        relay=row.relay,
        zone_key=row.zone_key,
        datasets=row.datasets,
        registered_at=row.registered_at,
        heard_at=heard_at,
    )


def register(control: Control, caller: Caller, body: NodeIn) -> NodeOut:
    """Takes a node's description of itself, replacing an earlier one; the account's name is the node's."""
    if body.institution != caller.institution:
        raise Forbidden(
            f"this node's account belongs to {caller.institution}, not to {body.institution}",
            f"该节点账户属于 {caller.institution}，而非 {body.institution}",
            code="other_institution",
        )
    if body.role == "lab" and body.relay is None:
        raise Invalid("a lab node names its relay (host:port)", "实验室节点必须提供中继地址", code="relay_missing")
    names = [dataset.name for dataset in body.datasets]
    if len(set(names)) != len(names):
        raise Invalid("two datasets have one name", "数据集名称重复", code="dataset_repeated")
    with control.db.unit(caller) as unit:
        institution = institutions.institution(unit.session, body.institution)
        if institution is None or institution.kind != body.role:
            raise Invalid(
                f"{body.institution} is not a {body.role}", f"机构 {body.institution} 不是 {body.role}",
                code="role_not_for_institution",
            )  # fmt: skip
        values = {
            "role": body.role,
            "institution": body.institution,
            "relay": body.relay,
            "zone_key": body.zone_key,
            "datasets": [dataset.model_dump() for dataset in body.datasets],
        }
        row = repository.node(unit.session, caller.name)
        if row is None:
            row = Node(name=caller.name, account_id=caller.account_id, registered_at=unit.now, **values)
            unit.create(row, "node.register", "registered by the node", datasets=names)
        elif any(getattr(row, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(row, name, value)
            unit.session.flush()
            unit.record("node.describe", row, "described anew by the node", detail={"datasets": names})
        repository.heard(unit.session, caller.name, unit.now)
        return _view(row, unit.now)


def list_nodes(control: Control, caller: Caller) -> Nodes:
    with control.db.read(caller) as session:
        rows = repository.nodes(session)
        heard = repository.heard_at(session, {row.name for row in rows})
        return Nodes(items=[_view(row, heard.get(row.name)) for row in rows])


def _look(control: Control, caller: Caller, beat: bool) -> Work:
    """The heartbeat, and everything that waits for this node now."""
    with control.db.unit(caller) as unit:
        if beat:
            repository.heard(unit.session, caller.name, unit.now)
        return Work(items=_items(unit, caller.name), feed_head=consents.head(unit.session))


def _items(unit: Unit, node: str) -> list[dict[str, Any]]:
    return [
        *jobs.cancellations(unit.session, node),
        *permits.work(unit.session, node, unit.now),
        *jobs.waiting(unit.session, node),
        *releases.work(unit.session, node),
        *questions.waiting(unit.session, node),
    ]


def _key(item: dict[str, Any]) -> tuple[str, str]:
    name = item.get("job_id")
    for document in ("ticket", "permit", "order", "question"):
        if document in item:
            body = item[document]["body"]
            name = body.get("permit_id") or body.get("release_id") or body.get("question_id") or body["job_id"]
    return item["kind"], str(name)


class Deliveries:
    """When each item was last handed to its node, so that an unacknowledged one does not spin the poll."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at: dict[tuple[str, tuple[str, str]], float] = {}

    def due(self, node: str, items: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], float]:
        """The items to hand out now, and the seconds until the next one is due again."""
        now = time.monotonic()
        keys = {_key(item) for item in items}
        for known in [k for k in self._at if k[0] == node and k[1] not in keys]:
            del self._at[known]  # acknowledged
        fresh, pause = [], self.seconds
        for item in items:
            left = self._at.get((node, _key(item)), float("-inf")) + self.seconds - now
            if left <= 0:
                fresh.append(item)
            else:
                pause = min(pause, left)
        return fresh, pause

    def handed(self, node: str, items: list[dict[str, Any]]) -> None:
        for item in items:
            self._at[(node, _key(item))] = time.monotonic()


async def work(
    control: Control,
    deliveries: Deliveries,
    caller: Caller,
    wait: float,
    known_head: int | None,
    gone: Callable[[], Awaitable[bool]],
) -> Work:
    """Waits up to `wait` seconds for work, or for the feed to pass `known_head`. Each call is the heartbeat."""
    deadline = asyncio.get_running_loop().time() + wait
    topics = (topic(caller.name),) if known_head is None else (topic(caller.name), FEED_TOPIC)
    with control.hub.listen(*topics) as bell:
        beat = True
        while True:
            found = await run_in_threadpool(_look, control, caller, beat)
            beat = False
            fresh, pause = deliveries.due(caller.name, found.items)
            left = deadline - asyncio.get_running_loop().time()
            news = known_head is not None and found.feed_head > known_head
            if fresh or news or left <= 0 or control.hub.closing:
                if not await gone():  # what is handed to nobody stays due at once
                    deliveries.handed(caller.name, fresh)
                return Work(items=fresh, feed_head=found.feed_head)
            await bell.wait(min(left, pause) if found.items else left)
