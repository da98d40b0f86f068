"""Which records the store may no longer keep: the catalogue's retention, counted in months.

Owns the rule. It counts from the latest day that any version of a record bears (its event date or a date among its
items), and does not begin while the record is open by `retention.toml`. A category of retention 0 is kept as long as
the enterprise exists. Never deletes anything.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from features.catalogue.model import Category
from features.store.engine import literal
from features.store.manifest import Snapshot

FILE = Path(__file__).with_name("retention.toml")


def expired(snapshot: Snapshot, category: Category, today: dt.date) -> str:
    """A query for `source, record_id` of the records that are over on the day; empty where none can be."""
    files = snapshot.of(category.id)
    if not category.retention_months or not files:
        return ""
    there = {name for one in files for name in one.columns}
    dates = ", ".join(
        ["event_date", *(item.name for item in category.items if item.type == "date" and item.name in there)]
    )
    opened = " OR ".join(_open(name, said) for name, said in _rules().get(category.id, {}).items()) or "false"
    # `delete` and other events without items say nothing of whether a record is open
    newest = f"arg_max({opened}, known_at) FILTER (op IN ('assert', 'correct'))"
    return (
        f"SELECT source, record_id FROM {snapshot.table(files)} GROUP BY source, record_id "
        f"HAVING max(greatest({dates})) <= DATE '{today}' - INTERVAL {category.retention_months} MONTH "
        f"AND NOT coalesce({newest}, false)"
    )


def _open(item: str, said: dict[str, list[str]]) -> str:
    kinds = [f"{other} IN ({', '.join(literal(code) for code in codes)})" for other, codes in said.items()]
    return f"({' AND '.join([f'{item} IS NULL', *kinds])})"


@cache
def _rules() -> dict[str, dict[str, Any]]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))
