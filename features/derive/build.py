"""A table of features for enterprises at dates: the training side of the one path.

Owns `build`. Never decides whose rows may be used: the caller names the enterprises.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue.model import Catalogue, Category
from features.derive.compiler import Plan, plans
from features.derive.view import Fetched, Moment, Spine, concerned_by
from features.store import clustered
from features.store.engine import MEMORY, THREADS, connect
from features.store.manifest import Snapshot

#: Rows up to which they are fetched enterprise by enterprise, about 300 MB; beyond, everything is read.
FEW = 2_000_000


def build(
    snapshot: Snapshot,
    catalogue: Catalogue,
    spine: pa.Table,
    names: Collection[str] | None = None,
    *,
    threads: int = THREADS,
    memory: str = MEMORY,
) -> pa.Table:
    """The features of each pair of `uscc` (string) and `as_of` (date32) in `spine`, as known at that date.

    One row per distinct pair, ordered by `uscc` and `as_of`; then a column per feature, in the catalogue's order:
    float64, or string for kind `text`; null = missing. Raises UnknownName, ExpressionRefused.
    """
    wanted = plans(catalogue, names)
    dates = pc.unique(spine.column("as_of")).to_pylist()
    with (
        TemporaryDirectory(prefix="features-") as spill,
        connect(threads=threads, memory=memory, spill=Path(spill)) as db,
    ):
        db.register("pairs", spine.select(["uscc", "as_of"]))
        db.execute("CREATE TEMP TABLE spine AS SELECT DISTINCT uscc, as_of FROM pairs")
        at = Moment(dates[0], only="spine") if len(dates) == 1 else Spine("spine")
        return _joined(db, snapshot, wanted, at)


def fetch(db: duckdb.DuckDBPyConnection, snapshot: Snapshot, category: Category, only: str) -> Fetched | None:
    """Puts the rows of the enterprises in the table `only` at hand, if they are few and there is a copy to ask.

    `only` names each enterprise once.
    """
    copy = clustered.find(snapshot, category.id)
    names = [one for (one,) in db.execute(f"SELECT uscc FROM {only} LIMIT {FEW + 1}").fetchall()]
    if copy is None or len(names) > FEW:
        return None
    found = {name: part.find(names) for name, part in copy.parts.items()}
    if sum(one.rows for one in found.values()) > FEW:
        return None
    for name, part in copy.parts.items():
        db.register(f"copied_{name}", part.fetch(found[name]))
    amended = "copied_amended" if "amended" in copy.parts else None
    count = found["amended"].rows if amended else 0
    later = [one for one in snapshot.of(category.id, "amended") if one.path not in copy.covers]
    if later:
        # kept at hand: they are asked several times, and to open files is most of the work
        keys = "SELECT source, record_id FROM copied_amended" if amended else ""
        few = sum(one.rows for one in later) <= FEW
        events = snapshot.table(later)
        if few:
            keep(db, "later_events", f"SELECT * FROM {events}")
            events = "later_events"
        rows = f"SELECT * FROM {concerned_by(events, only, keys)}"
        rows += f" UNION ALL BY NAME SELECT * FROM {amended}" if amended else ""
        amended = "concerned_events"
        count = keep(db, amended, rows)
    return Fetched("copied_base", amended if count else None, copy.covers)


def keep(db: duckdb.DuckDBPyConnection, name: str, query: str) -> int:
    """Keeps the answer to `query` as a table of this connection, in place of one before; returns its rows."""
    [(count,)] = db.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}").fetchall()
    return int(count)


def _joined(db: duckdb.DuckDBPyConnection, snapshot: Snapshot, wanted: Sequence[Plan], at: Moment | Spine) -> pa.Table:
    keys = "uscc, as_of" if isinstance(at, Spine) else "uscc"
    chosen = ["s.uscc", "s.as_of"]
    source = "spine s"
    for plan in wanted:
        table = f"state_{plan.category.id}"
        if isinstance(at, Moment):
            at = replace(at, fetched=fetch(db, snapshot, plan.category, "spine"))
        db.execute(f"CREATE TEMP TABLE {table} AS {plan.state(snapshot, at)}")
        source += f" LEFT JOIN (SELECT * FROM {table}) {table} USING ({keys})"
        chosen.append(plan.values("s.as_of"))
    return db.sql(f"SELECT {', '.join(chosen)} FROM {source} ORDER BY s.uscc, s.as_of").to_arrow_table()
