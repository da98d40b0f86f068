"""The report of a period: upward, what every source delivered and how good it was (R57); back to a source, what its
records are used for (R58).

Owns the counting. How often features were asked for is in the usage records of the control plane and not known here.
Never names an enterprise.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from features.ingest import quarantine
from features.ingest.log import Log
from features.quality.measures import measure
from features.quality.tickets import ticket_list
from features.store import EventStore


@dataclass(frozen=True)
class Line:
    """One source and category. Rows are of batches received in the period; `held` waits still, whenever it came.

    `bands`: measures of the months by band; `tickets`: by state; `features`: those of the catalogue that rest on it.
    """

    source: str
    category: str
    batches: int
    delivered: int
    accepted: int
    late: int
    held: int
    bands: dict[str, int]
    tickets: dict[str, int]
    features: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def period(store: EventStore, first: str, last: str, *, source: str | None = None) -> list[Line]:
    """A line for every source and category that delivered in the months (YYYY-MM), or has something open."""
    log = Log(store.root)
    batches: Counter[tuple[str, str]] = Counter()
    rows: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in ("delivered", "accepted", "late")}
    for entry in log.entries("collection"):
        if first <= entry.received_at[:7] <= last:
            key = (entry.source, entry.category)
            batches[key] += 1
            for name, counted in rows.items():
                counted[key] += entry.counts.get(name, 0)
    held = Counter((one.source, one.category) for one in quarantine.opened(log, source=source))
    bands: dict[tuple[str, str], Counter[str]] = {}
    for one in measure(store, first, last, source=source):
        bands.setdefault((one.source, one.category), Counter())[one.band] += 1
    states: dict[tuple[str, str], Counter[str]] = {}
    for ticket in ticket_list(store, source=source):
        states.setdefault((ticket.source, ticket.category), Counter())[ticket.state] += 1
    return [
        Line(
            source=key[0],
            category=key[1],
            batches=batches[key],
            **{name: counted[key] for name, counted in rows.items()},
            held=held[key],
            bands=dict(bands.get(key, Counter())),
            tickets=dict(states.get(key, Counter())),
            features=tuple(one.name for one in store.catalogue.category(key[1]).features),
        )
        for key in sorted({*batches, *held, *bands, *states})
        if source in (None, key[0])
    ]
