"""The view of what was known at a date: the only thing that feature SQL ever reads.

Of every record it has the latest version known by the end of the as-of date, if the event had happened by then and the
record is not deleted, repaired or disputed at that moment (R59). Owns the SQL of that view. Versions are put in order
by when they became known, then by kind of event, revision and content, so the order of arrival does not matter.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from features.catalogue.model import WINDOWS, Category
from features.store.manifest import File, Snapshot
from features.store.schema import OPS, sql_types

_RECORD = ("uscc", "source", "record_id", "batch", "event_date", "known_at", "content")
#: Breaks ties of `known_at`; a later kind wins.
_RANK = "CASE op " + " ".join(f"WHEN '{op}' THEN {rank}" for rank, op in enumerate(OPS)) + " END"
#: What a kind of event is about.
_MATTER = "CASE WHEN op IN ('dispute_open', 'dispute_close') THEN 1 WHEN op = 'repair' THEN 2 ELSE 0 END"
_NEWEST_FIRST = f"known_at DESC, {_RANK} DESC, revision DESC, content DESC"


@dataclass(frozen=True)
class Fetched:
    """Rows at hand in two tables, for all enterprises in question.

    `base` has those of the files `covers`; `amended` has, of all files, every version of each record that any version
    gives to one of those enterprises, or is None where there is no such record.
    """

    base: str
    amended: str | None
    covers: frozenset[str]


@dataclass(frozen=True)
class Moment:
    """One as-of date for all enterprises. `only`: a table of `uscc`, or None for every enterprise."""

    as_of: dt.date
    only: str | None = None
    fetched: Fetched | None = None


@dataclass(frozen=True)
class Spine:
    """A table of `uscc` and `as_of`, without repeats: each enterprise at its own dates."""

    table: str


def known(snapshot: Snapshot, category: Category, at: Moment | Spine) -> str:
    """A query with the columns that expressions may name, and `uscc`, `as_of` and the record's origin.

    One row per record that counts at the date. `stamp` orders the records of an enterprise by event date, and within
    a day by content.
    """
    # a file whose first event became known after the date has nothing to say
    files = [one for one in snapshot.of(category.id) if isinstance(at, Spine) or one.known[0][:10] <= str(at.as_of)]
    base = [one for one in files if one.kind == "base"]
    # amended files are read whole: which records they hold decides which base rows count
    amended = snapshot.of(category.id, "amended")
    if isinstance(at, Moment) and at.fetched and at.fetched.amended is None:
        amended = []
    parts = []
    ctes = []
    if amended:
        ctes += _resolved(snapshot, category, at, amended)
        parts.append("SELECT * FROM resolved")
    if base:
        parts.append(_single(snapshot, category, at, base, bool(amended)))
    if not parts:
        nothing = ", ".join(f"NULL::{kind} AS {name}" for name, kind in _columns(category).items())
        parts.append(f"SELECT NULL::DATE AS as_of, {nothing} WHERE false")
    windows = ", ".join(f"event_date > (as_of - INTERVAL {months} MONTH)::DATE AS w{months}" for months in WINDOWS)
    # 24 bits of days before 40 bits of content: a total order in one integer
    stamp = "((event_date - DATE '1800-01-01')::UBIGINT << 40) | (content >> 24)"
    head = f"WITH {', '.join(ctes)} " if ctes else ""
    return f"{head}SELECT *, {windows}, {stamp} AS stamp FROM ({' UNION ALL '.join(parts)})"


def _columns(category: Category) -> dict[str, str]:
    record = dict.fromkeys(_RECORD, "VARCHAR") | {"event_date": "DATE", "known_at": "TIMESTAMP", "content": "UBIGINT"}
    return {**record, **sql_types(category)}


def _single(snapshot: Snapshot, category: Category, at: Moment | Spine, files: list[File], amended: bool) -> str:
    """Records that were asserted once and never spoken of again."""
    fetched = at.fetched if isinstance(at, Moment) else None
    if fetched:
        # the table has the enterprises in question only; it lacks what only lineage asks for
        rest = [one for one in files if one.path not in fetched.covers]
        held = [one for one in files if one.path in fetched.covers]
        parts = [f"SELECT {', '.join(_present(category, rest))} FROM {snapshot.table(rest)} b"] if rest else []
        if held:
            at_hand = ", ".join("NULL AS batch" if one == "b.batch" else one for one in _present(category, held))
            parts.append(f"SELECT {at_hand} FROM {fetched.base} b")
        source = f"({' UNION ALL '.join(parts)}) b"
        chosen = ", ".join(f"b.{name}" for name in _columns(category))
    else:
        chosen = ", ".join(_present(category, files))
        source = f"{snapshot.table(files)} b"
    if isinstance(at, Spine):
        source += f" JOIN {at.table} s ON s.uscc = b.uscc"
        as_of = "s.as_of"
    else:
        as_of = _date(at.as_of)
        if at.only:
            source += f" SEMI JOIN {at.only} o ON o.uscc = b.uscc"
    if amended:
        source += " ANTI JOIN amended_keys k ON k.source = b.source AND k.record_id = b.record_id"
    return (
        f"SELECT {as_of} AS as_of, {chosen} FROM {source} "
        f"WHERE b.known_at < {_end(as_of, at)} AND b.event_date <= {as_of}"
    )


def _resolved(snapshot: Snapshot, category: Category, at: Moment | Spine, files: list[File]) -> list[str]:
    """Common table expressions that end in `resolved`: the records with several events, as they stand at the date."""
    events = "amended"
    every = snapshot.table(files)
    chosen = ", ".join(_present(category, files))
    one_record = "b.source = k.source AND b.record_id = k.record_id"
    ctes = []
    if isinstance(at, Spine):
        # an enterprise is concerned by a record if any version names it: a correction may have moved it elsewhere
        concerned = (
            f"SELECT DISTINCT a.source, a.record_id, s.uscc AS wanted, s.as_of FROM {events} a "
            f"JOIN {at.table} s ON s.uscc = a.uscc"
        )
        ctes.append(f"concerned AS ({concerned})")
        delivered = (
            f"SELECT k.wanted, k.as_of, b.op, b.revision, {chosen} FROM {events} b "
            f"JOIN concerned k ON {one_record} WHERE b.known_at < {_end('k.as_of', at)}"
        )
        part = "wanted, as_of, source, record_id"
        mine = "c.uscc = c.wanted"
    else:
        if at.only:
            every = (at.fetched.amended if at.fetched else None) or concerned_by(snapshot.table(files), at.only)
        delivered = (
            f"SELECT {_date(at.as_of)} AS as_of, b.op, b.revision, {chosen} FROM {events} b "
            f"WHERE b.known_at < {_end(_date(at.as_of), at)}"
        )
        part = "source, record_id"
        mine = f"c.uscc IN (SELECT uscc FROM {at.only})" if at.only else "true"
    # a version delivered twice counts from the first time it was known
    versions = f"SELECT * FROM delivered QUALIFY row_number() OVER (PARTITION BY {part}, content ORDER BY known_at) = 1"

    # the last word on each matter: what is stated, whether it is disputed, whether it is repaired
    each = f"PARTITION BY {part}, {_MATTER}"
    newest = f"SELECT * FROM versions QUALIFY row_number() OVER ({each} ORDER BY {_NEWEST_FIRST}) = 1"
    hidden = f"SELECT DISTINCT {part} FROM newest WHERE op IN ('repair', 'dispute_open')"
    shown = ["as_of", *_RECORD, *(item.name for item in category.items)]
    masked = {item.name for item in category.items if item.repair == "mask"}
    columns = ", ".join(
        f"CASE WHEN h.source IS NULL THEN c.{name} END AS {name}" if name in masked else f"c.{name}" for name in shown
    )
    same = " AND ".join(f"h.{name} = c.{name}" for name in part.split(", "))
    whole = "" if category.repair == "mask" else " AND h.source IS NULL"
    return [
        f"{events} AS MATERIALIZED (SELECT * FROM {every})",
        f"amended_keys AS (SELECT DISTINCT source, record_id FROM {events})",
        *ctes,
        f"delivered AS ({delivered})",
        f"versions AS ({versions})",
        f"newest AS MATERIALIZED ({newest})",
        f"hidden AS ({hidden})",
        f"resolved AS (SELECT {columns} FROM newest c LEFT JOIN hidden h ON {same} "
        f"WHERE c.op IN ('assert', 'correct') AND c.event_date <= c.as_of AND {mine}{whole})",
    ]


def concerned_by(events: str, only: str, keys: str = "") -> str:
    """The rows of `events` about records of which any version names an enterprise in `only`, as a subquery.

    `keys`: a query for `source` and `record_id` of more records.
    """
    named = f"SELECT a.source, a.record_id FROM {events} a SEMI JOIN {only} o ON o.uscc = a.uscc"
    named += f" UNION {keys}" if keys else ""
    return f"(SELECT * FROM {events} e SEMI JOIN ({named}) n ON e.source = n.source AND e.record_id = n.record_id)"


def _present(category: Category, files: list[File]) -> list[str]:
    """The view's columns of event files; an item that none of them has yet is null."""
    there = {name for one in files for name in one.columns}
    return [f"b.{name}" if name in there else f"NULL::{kind} AS {name}" for name, kind in _columns(category).items()]


def _end(as_of: str, at: Moment | Spine) -> str:
    """The first instant after the as-of date."""
    if isinstance(at, Moment):
        return f"TIMESTAMP '{at.as_of + dt.timedelta(days=1)}'"
    return f"({as_of} + INTERVAL 1 DAY)"


def _date(day: dt.date) -> str:
    return f"DATE '{day.isoformat()}'"
