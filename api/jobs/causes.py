"""Why a job ended, in words for a person, and which of two sides' causes is the first one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

# A side that reports one of these has only noticed that the other went away: if the other still says why, that is
# the cause.
CONSEQUENCES = frozenset({"peer_lost", "peer_refused", "cancelled"})


class PartyEnd(Protocol):
    party: str
    node: str
    state: str
    code: str | None
    message: str | None
    message_zh: str | None
    ended_at: datetime | None
    started_at: datetime | None


def cause(
    code: str, message: str, message_zh: str, party: str | None = None, node: str | None = None
) -> dict[str, Any]:
    return {"party": party, "node": node, "code": code, "message": message, "message_zh": message_zh}


def is_consequence(end: PartyEnd) -> bool:
    return end.state in {"failed", "cancelled"} and end.code in CONSEQUENCES


def first_cause[End: PartyEnd](ends: Sequence[End]) -> End:
    """The side whose word explains the end: one that names a fault of its own, the earlier of two."""
    return min(ends, key=lambda end: (is_consequence(end), end.ended_at))


def of_party(end: PartyEnd) -> dict[str, Any]:
    code = end.code or end.state
    message = end.message or f"the {end.party}'s node {end.node} ended with {end.state}"
    return cause(code, message, end.message_zh or message, end.party, end.node)


def not_heard(end: PartyEnd, seconds: float) -> dict[str, Any]:
    return cause(
        "node_not_heard",
        f"node {end.node} ({end.party}) was not heard for {seconds:.0f} s: see that it runs and reaches the control "
        "plane, then run the job again",
        f"节点 {end.node}（{end.party}）已 {seconds:.0f} 秒无响应：请确认其在运行且能访问控制平面，再重新运行",
        end.party,
        end.node,
    )


def not_started(end: PartyEnd, other: PartyEnd, seconds: float) -> dict[str, Any]:
    return cause(
        "node_not_started",
        f"node {end.node} ({end.party}) did not begin within {seconds:.0f} s of {other.node}: run the job again when "
        "it is free",
        f"节点 {other.node} 开始后 {seconds:.0f} 秒内，节点 {end.node}（{end.party}）仍未开始：请待其空闲后重新运行",
        end.party,
        end.node,
    )


def ticket_expired() -> dict[str, Any]:
    return cause(
        "ticket_expired",
        "the ticket expired before both nodes began: run the job again",
        "票据在双方节点开始前已过期：请重新运行作业",
    )


def overdue(party: PartyEnd, seconds: float) -> dict[str, Any]:
    return cause(
        "job_deadline",
        f"node {party.node} ({party.party}) had not ended {seconds:.0f} s after the job's deadline",
        f"作业截止时间过后 {seconds:.0f} 秒，节点 {party.node}（{party.party}）仍未结束",
        party.party,
        party.node,
    )


class Watched(Protocol):
    """What the watchdog reads of a job."""

    state: str
    approved_at: datetime | None
    expires_at: datetime | None
    started_at: datetime | None
    settle_at: datetime | None


def verdict(
    job: Watched,
    parties: Mapping[str, PartyEnd],
    heard: dict[str, datetime],
    deadlines: dict[str, float],
    now: datetime,
    *,
    since: datetime,
    lease: float,
    margin: float,
) -> dict[str, Any] | None:
    """The cause by which the watchdog must end an open job now, or None. Total and pure.

    `heard` is when each node was last heard, `since` when the control plane began to listen: silence before that
    is not held against a node. Seconds throughout.
    """
    open_parties = [p for p in parties.values() if p.state in {"pending", "running"}]
    for party in open_parties:
        last = max(filter(None, (heard.get(party.node), since, job.approved_at)))
        if now - last > timedelta(seconds=lease):
            return not_heard(party, (now - last).total_seconds())
    started = [p for p in parties.values() if p.started_at is not None]
    pending = [p for p in open_parties if p.state == "pending"]
    if pending and not started and job.expires_at is not None and now >= job.expires_at:
        return ticket_expired()
    if pending and started:
        patience = deadlines["connect"] + margin
        first = min(started, key=lambda p: p.started_at)  # type: ignore[arg-type, return-value]
        assert first.started_at is not None
        if now - first.started_at > timedelta(seconds=patience):
            return not_started(pending[0], first, patience)
    if job.started_at is not None and open_parties:
        late = (now - job.started_at).total_seconds() - deadlines["job"]
        if late > margin * 2:
            return overdue(open_parties[0], late)
    return None
