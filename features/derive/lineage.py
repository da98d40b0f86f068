"""Where a value came from: the records behind it, with source, batch and dates.

Owns `explain`. Lists only records that count at the date: one that was repaired, deleted or is disputed is no longer
shown to anybody (R59).
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from features.catalogue.model import Catalogue, Feature
from features.derive.build import build
from features.derive.expression import bearing
from features.derive.view import Moment, known
from features.store.engine import connect
from features.store.manifest import Snapshot


@dataclass(frozen=True)
class Lineage:
    """A value and what it rests on. `records`: origin, dates and the items that the feature reads, by event date."""

    uscc: str
    feature: Feature
    as_of: dt.date
    value: float | str | None
    records: tuple[dict[str, Any], ...]
    catalogue: str


def explain(snapshot: Snapshot, catalogue: Catalogue, uscc: str, name: str, as_of: dt.date) -> Lineage:
    """The value of one feature and the records it was computed from. Raises UnknownName, ExpressionRefused."""
    feature = catalogue.feature(name)
    category = catalogue.category(feature.category)
    spine = pa.table({"uscc": [uscc], "as_of": pa.array([as_of], pa.date32())})
    [row] = build(snapshot, catalogue, spine, [name], threads=1).to_pylist()
    columns = ["record_id", "source", "batch", "event_date", "known_at", *feature.reads]
    with connect(threads=1) as db:
        db.register("asked", spine)
        view = known(snapshot, category, Moment(as_of, only="asked"))
        found = db.sql(
            f"SELECT {', '.join(columns)} FROM (SELECT *, {bearing(category, feature)} AS bears_on FROM ({view})) "
            "WHERE bears_on ORDER BY event_date, source, record_id"
        ).to_arrow_table()
    return Lineage(uscc, feature, as_of, row[name], tuple(found.to_pylist()), catalogue.version)
