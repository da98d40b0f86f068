"""Every record as it stands now, with when it was first known: what cross-checks and reconciliation compare.

Owns that one query. It follows the store's order of versions; unlike the view of a date it also shows records that are
repaired or disputed, marked as hidden, because a source that stated them did deliver them.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

from features.catalogue.model import Category
from features.store.manifest import Snapshot
from features.store.schema import OPS, sql_types

_RANK = "CASE op " + " ".join(f"WHEN '{op}' THEN {rank}" for rank, op in enumerate(OPS)) + " END"
_KEY = "source, record_id"


def standing(snapshot: Snapshot, category: Category) -> str:
    """A query: `source, record_id, uscc, event_date, first_known, hidden` and the category's items."""
    base, amended = snapshot.of(category.id, "base"), snapshot.of(category.id, "amended")
    there = {name for one in (*base, *amended) for name in one.columns}
    items = ", ".join(
        name if name in there else f"NULL::{kind} AS {name}" for name, kind in sql_types(category).items()
    )
    shown = f"source, record_id, uscc, event_date, first_known, hidden, {items}"
    parts = []
    if base:
        once = f"SELECT *, known_at AS first_known, false AS hidden FROM {snapshot.table(base)} b"
        if amended:
            once += f" ANTI JOIN {snapshot.table(amended)} a USING ({_KEY})"
        parts.append(f"SELECT {shown} FROM ({once})")
    if amended:
        newest = f"PARTITION BY {_KEY} ORDER BY known_at DESC, {_RANK} DESC, revision DESC, content DESC"
        parts.append(f"""
            SELECT {shown} FROM (
                WITH versions AS (
                    SELECT * FROM {snapshot.table(amended)}
                    QUALIFY row_number() OVER (PARTITION BY {_KEY}, content ORDER BY known_at) = 1
                ), told AS (
                    SELECT {_KEY}, min(known_at) FILTER (op IN ('assert', 'correct')) AS first_known,
                        bool_or(op = 'repair') OR coalesce(
                            arg_max(op, (known_at, {_RANK}, revision, content)) FILTER (op LIKE 'dispute%'), ''
                        ) = 'dispute_open' AS hidden
                    FROM versions GROUP BY ALL
                ), newest AS (
                    SELECT * FROM versions WHERE op IN ('assert', 'correct', 'delete')
                    QUALIFY row_number() OVER ({newest}) = 1
                )
                SELECT * FROM newest JOIN told USING ({_KEY}) WHERE op <> 'delete'
            )""")
    if not parts:
        empty = ", ".join(f"NULL::{kind} AS {name}" for name, kind in sql_types(category).items())
        return (
            "SELECT NULL::VARCHAR AS source, NULL::VARCHAR AS record_id, NULL::VARCHAR AS uscc, "
            f"NULL::DATE AS event_date, NULL::TIMESTAMP AS first_known, false AS hidden, {empty} WHERE false"
        )
    return " UNION ALL BY NAME ".join(parts)
