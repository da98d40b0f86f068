"""Which enterprises a day can have changed: those of which something was learned, or over whose records time moved.

Owns the queries for them; both may name an enterprise too many, never one too few. Never computes a feature.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt

import duckdb
import pyarrow as pa

from features.derive.compiler import Clock, Plan
from features.store import clustered
from features.store.manifest import File, Snapshot


def touched(
    db: duckdb.DuckDBPyConnection, snapshot: Snapshot, plan: Plan, seq: int, first: dt.date, last: dt.date
) -> str:
    """A query for `uscc` whose state, made after commit `seq` as of `first`, may differ as of `last`. Or empty."""
    queries = (learned(snapshot, plan, seq, first, last), _moved(db, snapshot, plan, seq, first, last))
    return " UNION ".join(query for query in queries if query)


def learned(snapshot: Snapshot, plan: Plan, seq: int, first: dt.date, last: dt.date) -> str:
    """A query for the enterprises of which something became visible: written since `seq`, or known since `first`."""
    begin, end = _after(first), _after(last)
    files = snapshot.of(plan.category.id)
    fresh = [one for one in files if one.told > seq]
    waiting = [one for one in files if one.told <= seq and one.knows(begin, end)]
    queries = []
    if fresh:
        # a commit holds every version of the records that it amends, so both enterprises of a moved record
        queries.append(f"SELECT uscc FROM {snapshot.table(fresh)}")
    if waiting:
        condition = f"known_at >= TIMESTAMP '{begin}' AND known_at < TIMESTAMP '{end}'"
        queries.append(f"SELECT uscc FROM {snapshot.table(waiting)} WHERE {condition}")
        amended = [one for one in waiting if one.kind == "amended"]
        if amended:
            every = snapshot.table(snapshot.of(plan.category.id, "amended"))
            keys = f"SELECT source, record_id FROM {snapshot.table(amended)} WHERE {condition}"
            queries.append(f"SELECT uscc FROM {every} SEMI JOIN ({keys}) USING (source, record_id)")
    return " UNION ".join(queries)


def _moved(
    db: duckdb.DuckDBPyConnection, snapshot: Snapshot, plan: Plan, seq: int, first: dt.date, last: dt.date
) -> str:
    """A query for the enterprises with a record over which a window, or the date itself, moved.

    Files written since `seq` are passed over: `learned` names all their enterprises.
    """
    if first == last:
        return ""
    category = plan.category.id
    copy = clustered.find(snapshot, category)
    clocks = plan.clocks(first, last)
    files = [one for one in snapshot.of(category) if one.told <= seq and not (copy and one.path in copy.covers)]
    queries = []
    # each file is read once, whatever the number of its dates
    reached = [one for one in files if any(_reaches(clock, one) for clock in clocks)]
    if reached:
        columns = {name for one in reached for name in one.columns}
        condition = " OR ".join(clock.sql for clock in clocks if clock.column in columns)
        queries.append(f"SELECT uscc FROM {snapshot.table(reached)} WHERE {condition}")
    near: list[str] = []
    for column in sorted({clock.column for clock in clocks}):
        ranges = [(clock.first, clock.last) for clock in clocks if clock.column == column]
        for part in copy.parts.values() if copy else ():
            near += part.dated(column, ranges)
    if near:
        db.register("near", pa.table({"uscc": pa.array(near, pa.string())}))
        queries.append("SELECT uscc FROM near")
    return " UNION ".join(queries)


def _reaches(clock: Clock, file: File) -> bool:
    """Whether the file can hold a record over which the clock moved."""
    return clock.column in file.columns and (clock.column != "event_date" or file.happened(clock.first, clock.last))


def _after(day: dt.date) -> dt.datetime:
    """The first instant after a day, in the store's civil time."""
    return dt.datetime.combine(day + dt.timedelta(days=1), dt.time())
