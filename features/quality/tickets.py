"""Feedback to a source about a measure that is bad, followed until a later measure is good (R54).

Owns the tickets, their states and the rule that only a new measure closes one. Tickets are entries of the log of
ingestion, so none can be changed or lost. Never says who is at fault.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from features.ingest.clock import civil_now
from features.ingest.log import Entry, Log
from features.quality.measures import Measure, measure
from features.store import EventStore

KIND = "ticket"
#: State → what may follow. A source answers; only a measure corrects.
TRANSITIONS: Mapping[str, tuple[str, ...]] = {
    "open": ("answered", "corrected"),
    "answered": ("answered", "corrected", "open"),
    "corrected": ("open",),
}
_LONGEST = 1000


class TicketRefused(ValueError):
    """`code` names the rule."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        self.code = code
        self.message = message
        self.message_zh = message_zh
        super().__init__(message)


@dataclass(frozen=True)
class Ticket:
    """One bad measure of one source. `value`: as first measured; `latest`: as last measured.

    `corrections`: rows of corrections, deletions and accepted held rows of the source in the category since it opened.
    """

    id: str
    state: str
    source: str
    category: str
    item: str
    month: str
    name: str
    value: float
    latest: float
    opened_at: str
    changed_at: str
    answer: str = ""
    corrections: int = 0


def ticket_list(
    store: EventStore, *, states: Iterable[str] = tuple(TRANSITIONS), source: str | None = None
) -> list[Ticket]:
    """The tickets as they stand, oldest first."""
    wanted = set(states)
    return [one for one in _standing(Log(store.root)).values() if one.state in wanted and source in (None, one.source)]


def open_tickets(
    store: EventStore, measures: Iterable[Measure], by: str, *, now: Callable[[], dt.datetime] = civil_now
) -> list[Ticket]:
    """Opens a ticket for each bad measure that has none yet, and opens again one that was corrected and is bad anew."""
    log = Log(store.root)
    with log.alone():
        there = _standing(log)
        made = []
        for one in measures:
            id_ = _identify(one)
            before = there.get(id_)
            if one.band != "bad" or (before and before.state != "corrected"):
                continue
            at = now().isoformat()
            ticket = Ticket(id_, "open", one.source, one.category, one.item, one.month, one.name, one.value, one.value,
                            at, at)  # fmt: skip
            made.append(_say(log, ticket, before, by, at))
        return made


def answer(store: EventStore, id_: str, text: str, by: str, *, now: Callable[[], dt.datetime] = civil_now) -> Ticket:
    """Records what the source says to a ticket. Raises TicketRefused."""
    if not text.strip() or len(text) > _LONGEST:
        raise TicketRefused(
            "ticket_answer", f"an answer has 1 to {_LONGEST} characters; shorten it", f"答复应为 1 至 {_LONGEST} 个字符"
        )
    log = Log(store.root)
    with log.alone():
        before = _standing(log).get(id_)
        if before is None or "answered" not in TRANSITIONS[before.state]:
            raise TicketRefused(
                "ticket_unknown",
                f"no ticket `{id_}` waits for an answer; list them with `creditlab features quality tickets`",
                f"没有待答复的反馈单 `{id_}`，请用 `creditlab features quality tickets` 列出",
            )
        at = now().isoformat()
        return _say(log, replace(before, state="answered", answer=text.strip(), changed_at=at), before, by, at)


def review(store: EventStore, by: str, *, now: Callable[[], dt.datetime] = civil_now) -> list[Ticket]:
    """Measures anew what open tickets are about; those that are no longer bad are corrected. Returns all reviewed."""
    waiting = ticket_list(store, states=("open", "answered"))
    values: dict[str, Measure] = {}
    for source, category in sorted({(one.source, one.category) for one in waiting}):
        months = [one.month for one in waiting if (one.source, one.category) == (source, category)]
        for one in measure(store, min(months), max(months), source=source, category=category):
            values[_identify(one)] = one
    log = Log(store.root)
    with log.alone():
        reviewed = []
        for ticket in waiting:
            fresh = values.get(ticket.id)
            at = now().isoformat()
            after = replace(ticket, latest=fresh.value if fresh else ticket.latest,
                            corrections=_corrections(log, ticket))  # fmt: skip
            # a month of which nothing is left has nothing wrong with it
            if fresh is None or fresh.band != "bad":
                after = replace(after, state="corrected", changed_at=at)
            if after != ticket:
                _say(log, after, ticket, by, at)
            reviewed.append(after)
        return reviewed


def _say(log: Log, ticket: Ticket, before: Ticket | None, by: str, at: str) -> Ticket:
    # a measure that changed a little leaves the state as it was
    if before is not None and ticket.state != before.state and ticket.state not in TRANSITIONS[before.state]:
        raise AssertionError(f"{before.state} → {ticket.state}")
    log.publish(
        Entry(
            kind=KIND,
            batch=f"{ticket.source}.ticket.{log.next():08d}",
            received_at=at,
            submitter=by,
            source=ticket.source,
            category=ticket.category,
            details=asdict(ticket),
        )
    )
    return ticket


def _standing(log: Log) -> dict[str, Ticket]:
    found: dict[str, Ticket] = {}
    for entry in log.entries(KIND):
        said: dict[str, Any] = dict(entry.details)
        found[said["id"]] = Ticket(**said)
    return found


def _corrections(log: Log, ticket: Ticket) -> int:
    rows = 0
    for entry in log.entries("collection", "correction", "release"):
        if (entry.source, entry.category) == (ticket.source, ticket.category) and entry.received_at > ticket.opened_at:
            if entry.kind == "collection":
                rows += sum(entry.counts.get("ops", {}).get(op, 0) for op in ("correct", "delete"))
            else:
                rows += entry.counts["accepted"]
    return rows


def _identify(one: Measure) -> str:
    key = "|".join((one.source, one.category, one.item, one.month, one.name))
    return hashlib.sha256(key.encode()).hexdigest()[:16]
