"""Small stores for tests: events as plain rows, written in any batches, and a model of the view in plain Python."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from features.catalogue import load
from features.derive import build
from features.store import OPS, EventStore
from features.store.schema import columns

CATALOGUE = load()
SOURCE = "source_a"


@dataclass(frozen=True)
class Event:
    """One event of one category. Days become instants at eight in the morning."""

    category: str
    uscc: str
    record: str
    happened: dt.date
    known: dt.date
    op: str = "assert"
    revision: str = ""
    items: tuple[tuple[str, Any], ...] = ()
    source: str = SOURCE

    @property
    def key(self) -> tuple[str, str, str]:
        return self.category, self.source, self.record

    @property
    def content(self) -> tuple[Any, ...]:
        return self.uscc, self.happened, self.op, self.revision, self.items

    @property
    def known_at(self) -> dt.datetime:
        return dt.datetime.combine(self.known, dt.time(8))

    def item(self, name: str) -> Any:
        return dict(self.items).get(name)

    def later(self, op: str, known: dt.date, revision: str = "r1", **changes: Any) -> Event:
        return replace(self, op=op, known=known, revision=revision, **changes)


def penalty(uscc: str, record: str, happened: dt.date, known: dt.date, fine: int = 100) -> Event:
    return Event(
        "administrative", uscc, record, happened, known, items=(("act_kind", "penalty"), ("fine_amount", fine))
    )


def table(category: str, events: Iterable[Event]) -> pa.Table:
    names = [name for name in columns(CATALOGUE.category(category)) if name != "batch"]
    rows = [
        {
            "uscc": one.uscc,
            "record_id": one.record,
            "event_date": one.happened,
            "known_at": one.known_at,
            "source": one.source,
            "op": one.op,
            "revision": one.revision,
            **dict(one.items),
        }
        for one in events
    ]
    return pa.table({name: [row.get(name) for row in rows] for name in names})


@dataclass
class Store:
    """A store that is written in batches named by number."""

    folder: Path
    events: EventStore = field(init=False)
    batches: int = 0

    def __post_init__(self) -> None:
        self.events = EventStore(self.folder, CATALOGUE)

    def write(self, events: Sequence[Event]) -> Any:
        self.batches += 1
        by_category = {one.category: [e for e in events if e.category == one.category] for one in events}
        return self.events.write(f"b{self.batches}", {name: table(name, own) for name, own in by_category.items()})

    def values(self, pairs: Sequence[tuple[str, dt.date]], names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        return build(self.events.snapshot(), CATALOGUE, spine(pairs), names).to_pylist()

    def value(self, uscc: str, name: str, as_of: dt.date) -> Any:
        [row] = self.values([(uscc, as_of)], [name])
        return row[name]


def spine(pairs: Sequence[tuple[str, dt.date]]) -> pa.Table:
    names, days = zip(*pairs, strict=True)
    return pa.table({"uscc": pa.array(names, pa.string()), "as_of": pa.array(days, pa.date32())})


# ---- the view, once more, in plain Python ----------------------------------------------------------------------------


def standing(events: Iterable[Event], as_of: dt.date) -> list[Event]:
    """The records that count at a date. Items that a repair or a dispute masks are gone from `items`."""
    by_record: dict[tuple[str, str, str], dict[tuple[Any, ...], Event]] = {}
    for one in events:
        if one.known <= as_of:
            versions = by_record.setdefault(one.key, {})
            if one.content not in versions or one.known_at < versions[one.content].known_at:
                versions[one.content] = one
    found = []
    for versions in by_record.values():
        ordered = sorted(versions.values(), key=lambda one: (one.known_at, OPS.index(one.op), one.revision))
        current = [one for one in ordered if one.op in ("assert", "correct", "delete")]
        disputes = [one for one in ordered if one.op in ("dispute_open", "dispute_close")]
        hidden = any(one.op == "repair" for one in ordered) or bool(disputes and disputes[-1].op == "dispute_open")
        if not current or current[-1].op == "delete" or current[-1].happened > as_of:
            continue
        category = CATALOGUE.category(current[-1].category)
        if hidden and category.repair != "mask":
            continue
        masked = {item.name for item in category.items if item.repair == "mask"} if hidden else set()
        kept = tuple(pair for pair in current[-1].items if pair[0] not in masked)
        found.append(replace(current[-1], items=kept))
    return found


def months_back(day: dt.date, months: int) -> dt.date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return dt.date(year, month + 1, min(last, day.day))
        except ValueError:
            continue
    raise AssertionError
