"""The same fact from several sources, compared by the rules of `crosschecks.toml` (R40).

Owns the rules, the comparison and the record of differences. A difference is recorded once, when it is found; neither
record is ever changed for it: which of the two holds is for the sources to say, by correcting theirs.
"""

# ruff: noqa: S608 - the SQL is put together from rules and catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from features.catalogue.model import Catalogue
from features.ingest import rules as record_rules
from features.ingest.clock import civil_now
from features.ingest.log import Entry, Log
from features.ingest.refused import IngestRefused
from features.ingest.standing import standing
from features.store import EventStore
from features.store.engine import connect, literal, parquet
from features.store.manifest import Snapshot

FILE = Path(__file__).with_name("crosschecks.toml")
_RECORD = ("uscc", "event_date", "month")
_NUMBERS = ("integer", "decimal", "ratio")
DIFFERENCES = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "rule", "uscc", "fact", "item")),
        *((name, pa.string()) for name in ("left_source", "left_record", "left_value")),
        *((name, pa.string()) for name in ("right_source", "right_record", "right_value")),
        ("month", pa.string()),
        ("found_at", pa.string()),
    ]
)


@dataclass(frozen=True)
class Side:
    """One side of a comparison: records of a category, of one `source` or of any, that satisfy `where`."""

    category: str
    source: str | None
    where: Mapping[str, str]


@dataclass(frozen=True)
class Rule:
    id: str
    zh: str
    en: str
    left: Side
    right: Side
    key: tuple[str, ...]
    compare: Mapping[str, str]
    within: float
    absent: str | None


def load(catalogue: Catalogue) -> tuple[Rule, ...]:
    return parse(FILE.read_text(encoding="utf-8"), catalogue)


def parse(text: str, catalogue: Catalogue) -> tuple[Rule, ...]:
    """The rules written in TOML. Raises IngestRefused when one names what the catalogue does not have."""
    return tuple(_rule(name, said, catalogue) for name, said in tomllib.loads(text).items())


def check(
    store: EventStore,
    checks: Sequence[Rule] | None = None,
    *,
    submitter: str,
    now: Callable[[], dt.datetime] = civil_now,
) -> tuple[Entry, pa.Table]:
    """Compares all standing records; returns the log's entry and the differences that were not recorded before."""
    log = Log(store.root)
    found_at = now()
    limits = record_rules.load(store.catalogue)
    with log.alone():
        snapshot = store.snapshot()
        rules = load(store.catalogue) if checks is None else checks
        with connect() as db:
            parts = []
            for rule in rules:
                _lay_out(db, rule, store.catalogue, snapshot)
                parts += _values(rule, store.catalogue) + _absent(rule, store.catalogue, limits, found_at.date())
            before = log.files("differences")
            known = f"SELECT id FROM {parquet(before)}" if before else "SELECT NULL::VARCHAR AS id WHERE false"
            every = " UNION ALL BY NAME ".join(parts) or "SELECT NULL::VARCHAR AS id WHERE false"
            texts = ", ".join(name for name in DIFFERENCES.names if name not in ("id", "found_at"))
            fresh = db.sql(f"""
                WITH found AS (SELECT {texts}, sha256(concat_ws('|', {_marked(texts)}))[1:32] AS id FROM ({every}))
                SELECT DISTINCT *, '{found_at.isoformat()}' AS found_at FROM found ANTI JOIN ({known}) USING (id)
                ORDER BY rule, uscc, fact, item, id
            """).to_arrow_table()
        fresh = fresh.select(DIFFERENCES.names).cast(DIFFERENCES)
        counts: dict[str, Any] = {rule.id: 0 for rule in rules}
        for one in fresh.column("rule").to_pylist():
            counts[one] += 1
        entry = Entry(
            kind="crosscheck",
            batch=f"crosscheck.{log.next():08d}",
            received_at=found_at.isoformat(),
            submitter=submitter,
            catalogue=store.catalogue.version,
            counts=counts,
            details={"store": snapshot.seq},
        )
        if len(fresh):
            entry = log.put(replace(entry, category="all"), "differences", fresh)
        return log.publish(entry), fresh


def differences(log: Log) -> pa.Table:
    """Every difference that was ever recorded."""
    files = log.files("differences")
    if not files:
        return DIFFERENCES.empty_table()
    with connect() as db:
        return db.sql(f"SELECT * FROM {parquet(files)} ORDER BY found_at, rule, uscc, id").to_arrow_table()


def absences(store: EventStore, source: str, category: str, today: dt.date) -> dict[str, int]:
    """Facts that by another source's word should be at this source and are not, by month, as things stand now."""
    limits = record_rules.load(store.catalogue)
    snapshot = store.snapshot()
    found: dict[str, int] = {}
    for rule in load(store.catalogue):
        lacking = rule.left if rule.absent == "left" else rule.right
        if rule.absent is None or lacking.category != category:
            continue
        with connect() as db:
            _lay_out(db, rule, store.catalogue, snapshot)
            [absent] = _absent(rule, store.catalogue, limits, today)
            db.execute(
                f"SELECT month, count(*) FROM ({absent}) WHERE {rule.absent}_source = ? GROUP BY month", [source]
            )
            for month, count in db.fetchall():
                found[month] = found.get(month, 0) + count
    return found


def _marked(names: str) -> str:
    """Empty cells take their place too, so that no two different rows give one text."""
    return ", ".join(f"coalesce({name}, chr(0))" for name in names.split(", "))


def _lay_out(db: duckdb.DuckDBPyConnection, rule: Rule, catalogue: Catalogue, snapshot: Snapshot) -> None:
    """The records of both sides as tables."""
    for side, name in ((rule.left, "l"), (rule.right, "r")):
        conditions = "".join(f" AND {item} = {literal(code)}" for item, code in side.where.items())
        if side.source:
            conditions += f" AND source = {literal(side.source)}"
        db.execute(
            f"CREATE TEMP TABLE {name}_{rule.id} AS SELECT *, strftime(event_date, '%Y-%m') AS month "
            f"FROM ({standing(snapshot, catalogue.category(side.category))}) WHERE true{conditions}"
        )


def _head(rule: Rule, side: str) -> str:
    fact = ", ".join(f"'{name}=' || {side}.{name}::VARCHAR" for name in rule.key if name != "uscc")
    return f"'{rule.id}' AS rule, {side}.uscc, concat_ws(', ', {fact}) AS fact, {side}.month"


def _values(rule: Rule, catalogue: Catalogue) -> list[str]:
    """Queries of the items that two sources state differently."""
    left, right = f"l_{rule.id}", f"r_{rule.id}"
    same = " AND ".join(f"l.{name} = r.{name}" for name in rule.key)
    apart = "l.source <> r.source"
    if (rule.left.category, rule.left.where) == (rule.right.category, rule.right.where) and not rule.left.source:
        apart = "l.source < r.source"  # each pair once
    parts = []
    for mine, theirs in rule.compare.items():
        kind = catalogue.category(rule.left.category).item(mine).type
        differs = f"l.{mine} IS DISTINCT FROM r.{theirs}"
        if kind in _NUMBERS:
            # decimals are compared exactly; only ratios are floats
            slack = 1e-9 if kind == "ratio" else 0
            differs = f"abs(l.{mine} - r.{theirs}) > {rule.within + slack}"
        parts.append(f"""
            SELECT {_head(rule, "l")}, '{mine}' AS item, l.source AS left_source, l.record_id AS left_record,
                l.{mine}::VARCHAR AS left_value, r.source AS right_source, r.record_id AS right_record,
                r.{theirs}::VARCHAR AS right_value
            FROM {left} l JOIN {right} r ON {same} AND {apart}
            WHERE NOT l.hidden AND NOT r.hidden AND l.{mine} IS NOT NULL AND r.{theirs} IS NOT NULL AND {differs}
        """)
    return parts


def _absent(rule: Rule, catalogue: Catalogue, limits: Mapping[str, record_rules.Rules], today: dt.date) -> list[str]:
    """The query of the facts that one side lacks, if the rule asks for it."""
    if not rule.absent:
        return []
    mine, others = ("l", "r") if rule.absent == "left" else ("r", "l")
    lacking = rule.left if rule.absent == "left" else rule.right
    source = lacking.source or catalogue.category(lacking.category).source
    there = "right" if rule.absent == "left" else "left"
    due = today - dt.timedelta(days=limits[lacking.category].late_days)
    same = " AND ".join(f"o.{name} = h.{name}" for name in rule.key)
    query = f"""
        SELECT {_head(rule, "o")}, 'absent' AS item, o.source AS {there}_source, o.record_id AS {there}_record,
            NULL AS {there}_value, '{source}' AS {rule.absent}_source, NULL AS {rule.absent}_record,
            NULL AS {rule.absent}_value
        FROM {others}_{rule.id} o ANTI JOIN {mine}_{rule.id} h ON {same}
        WHERE o.event_date <= DATE '{due}'
    """
    return [query]


def _rule(name: str, said: dict[str, Any], catalogue: Catalogue) -> Rule:
    if not name.isidentifier() or not name.isascii():
        raise _wrong(name, "the name must be letters, digits and _")
    left = _side(name, said.get("left", {}), said, catalogue)
    right = _side(name, said.get("right", {}), said, catalogue)
    types = [{item.name: item.type for item in catalogue.category(side.category).items} for side in (left, right)]
    for one in said["key"]:
        if one not in _RECORD and not all(one in kinds for kinds in types):
            raise _wrong(name, f"key `{one}` is not in both categories")
    if "uscc" not in said["key"]:
        raise _wrong(name, "the key must hold `uscc`")
    for mine, theirs in said["compare"].items():
        if mine not in types[0] or types[0][mine] != types[1].get(theirs):
            raise _wrong(name, f"`{mine}` and `{theirs}` are not two items of one type")
    if said.get("absent") not in (None, "left", "right"):
        raise _wrong(name, "`absent` must be left or right")
    return Rule(
        id=name,
        zh=said["zh"],
        en=said["en"],
        left=left,
        right=right,
        key=tuple(said["key"]),
        compare=dict(said["compare"]),
        within=float(said.get("within", 0)),
        absent=said.get("absent"),
    )


def _side(name: str, side: dict[str, Any], said: dict[str, Any], catalogue: Catalogue) -> Side:
    category = catalogue.category(side.get("category", said.get("category", "")))
    for item, code in side.get("where", {}).items():
        if code not in category.item(item).codes:
            raise _wrong(name, f"`{item}` has no code `{code}`")
    return Side(category.id, side.get("source"), dict(side.get("where", {})))


def _wrong(rule: str, what: str) -> IngestRefused:
    return IngestRefused(
        "ingest_crosscheck_rules",
        f"crosschecks.toml, {rule}: {what}; correct the rule",
        f"crosschecks.toml，{rule}：规则有误（{what}），请改正",
    )
