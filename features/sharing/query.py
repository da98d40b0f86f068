"""Authorised query: the records of one category that stand at a date, without what may not be told.

Owns the choice of records and items. A record that is repaired, deleted or disputed is not there (R59).
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa

from features.catalogue.model import Catalogue, Category
from features.derive.view import Moment, known
from features.sharing.permit import Permit, tellable
from features.store.engine import connect
from features.store.manifest import Snapshot


def query(
    snapshot: Snapshot, catalogue: Catalogue, permit: Permit, uscc: str, category: str, as_of: dt.date, today: dt.date
) -> list[dict[str, Any]]:
    """The records, by event date: number, source, dates and the items that may be told.

    Raises SharingRefused, UnknownName.
    """
    wanted = catalogue.category(category)
    permit.check(uscc, "query", today)
    permit.covers(wanted, "query")
    items = [item.name for item in wanted.items if tellable(item, "query") and permit.tells(category, item.name)]
    return records(snapshot, wanted, uscc, as_of, items, permit.since(wanted))


def records(
    snapshot: Snapshot, category: Category, uscc: str, as_of: dt.date, items: list[str], months: int | None = None
) -> list[dict[str, Any]]:
    """The standing records of one enterprise with these items; for the modes of this package, behind their checks.

    `months`: only of events of so many months up to `as_of`.
    """
    columns = ", ".join(("record_id", "source", "event_date", "known_at", *items))
    with connect(threads=1) as db:
        db.register("asked", pa.table({"uscc": [uscc]}))
        view = known(snapshot, category, Moment(as_of, only="asked"))
        within = "" if months is None else f"WHERE event_date > (as_of - INTERVAL {int(months)} MONTH)::DATE"
        return (
            db.sql(f"SELECT {columns} FROM ({view}) {within} ORDER BY event_date, source, record_id")
            .to_arrow_table()
            .to_pylist()
        )
