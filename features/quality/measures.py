"""Six measures of the records of a source, by month of the event, from the store and the log of ingestion.

completeness  share of records with a value, of those that the rules ask for one; of all records where none do
uniqueness    share of records that are no second statement, under another number, of the same fact
validity      share of delivered rows without a fault in the column, by month of receipt
timeliness    share of records first known before the deadline of their category
continuity    monthly categories: of the enterprises on record both before and after a month, the share on record in it
drift         population stability index of the item's values against the twelve months before, or the same month a
              year before where that is lower, so that a season is no drift (lower is better)

Owns their definitions and bounds. The index is Σ (p − q)·ln(p / q) over tenths of the earlier values, codes, or yes
and no, empty values left out; .1 and .25 are its customary bounds. The other bounds are the
project's. Never quotes the value of a record.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from features.catalogue.model import Category, Item
from features.ingest import quarantine, rules
from features.ingest.log import Log
from features.ingest.rules import Rules
from features.ingest.standing import standing
from features.store import EventStore
from features.store.engine import connect, literal

#: Measure → (good from, bad below); for drift (good to, bad above).
BOUNDS: Mapping[str, tuple[float, float]] = {
    "completeness": (0.98, 0.90),
    "uniqueness": (0.99, 0.95),
    "validity": (0.99, 0.95),
    "timeliness": (0.95, 0.80),
    "continuity": (0.95, 0.85),
    "drift": (0.10, 0.25),
}
NAMES: Mapping[str, tuple[str, str]] = {
    "completeness": ("完整性", "completeness"),
    "uniqueness": ("唯一性", "uniqueness"),
    "validity": ("有效性", "validity"),
    "timeliness": ("及时性", "timeliness"),
    "continuity": ("连续性", "continuity"),
    "drift": ("稳定性（PSI）", "drift (PSI)"),
}
MONTH = re.compile(r"[12][0-9]{3}-(0[1-9]|1[0-2])")
#: Fewest records of a month, and of the months before it, from which a drift is told.
_ENOUGH = 300
_BEFORE = 12
_FLOOR = 0.0005


@dataclass(frozen=True)
class Measure:
    """One value. `item` is empty where the measure is of whole records; `records` is what it rests on.

    `judged`: whether a bound applies; an item that no rule asks for may well be empty.
    """

    source: str
    category: str
    item: str
    month: str
    name: str
    value: float
    records: int
    judged: bool = True

    @property
    def band(self) -> str:
        """`good`, `watch`, `bad`, or `told` where nothing is judged."""
        if not self.judged:
            return "told"
        good, bad = BOUNDS[self.name]
        if self.name == "drift":
            return "good" if self.value <= good else "bad" if self.value > bad else "watch"
        return "good" if self.value >= good else "bad" if self.value < bad else "watch"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "value": round(self.value, 6), "band": self.band}


def measure(
    store: EventStore,
    first: str,
    last: str,
    *,
    source: str | None = None,
    category: str | None = None,
) -> list[Measure]:
    """Every measure of the months `first` to `last` (YYYY-MM), by source, category, item and month.

    Raises UnknownName.
    """
    wanted = list(store.catalogue) if category is None else [store.catalogue.category(category)]
    limits = rules.load(store.catalogue)
    snapshot = store.snapshot()
    found: list[Measure] = []
    for one in wanted:
        if snapshot.of(one.id):
            with connect() as db:
                where = "" if source is None else f"WHERE source = {literal(source)}"
                db.execute(f"CREATE TEMP TABLE records AS SELECT *, strftime(event_date, '%Y-%m') AS month "
                           f"FROM ({standing(snapshot, one)}) {where}")  # fmt: skip
                found += _of_records(db, one, limits[one.id], first, last)
                for item in one.items:
                    found += _completeness(db, one, limits[one.id], item, first, last)
                    if item.type != "text":
                        found += _drift(db, one, item, first, last)
    found += _validity(Log(store.root), {one.id for one in wanted}, source, first, last)
    return sorted(found, key=lambda one: (one.category, one.source, one.item, one.name, one.month))


def _of_records(
    db: duckdb.DuckDBPyConnection, category: Category, limits: Rules, first: str, last: str
) -> Iterator[Measure]:
    """Uniqueness, timeliness and continuity."""
    content = ", ".join(item.name for item in category.items)
    within = f"month BETWEEN '{first}' AND '{last}'"
    told = f"SELECT DISTINCT source, month, uscc, event_date, {content} FROM records WHERE {within}"
    facts = f"SELECT source, month, count(*) AS facts FROM ({told}) GROUP BY ALL"
    # the deadline runs from the end of the month, as in reconciliation
    late = f"(last_day(event_date) + {limits.late_days + 1})::TIMESTAMP"
    rows = db.execute(f"""
        SELECT source, month, n, facts, timely FROM (
            SELECT source, month, count(*) AS n, count(*) FILTER (first_known < {late}) AS timely
            FROM records WHERE {within} GROUP BY ALL
        ) JOIN ({facts}) USING (source, month)
    """).fetchall()
    for source, month, count, different, timely in rows:
        yield Measure(source, category.id, "", month, "uniqueness", different / count, count)
        yield Measure(source, category.id, "", month, "timeliness", timely / count, count)
    if category.update != "monthly" or not limits.month_end:
        return
    rows = db.execute(f"""
        WITH lives AS (
            SELECT source, uscc, min(month) AS born, max(month) AS gone FROM records GROUP BY ALL
        ), months AS (
            SELECT DISTINCT month FROM (
                SELECT strftime(unnest(generate_series(DATE '{first}-01', DATE '{last}-01', INTERVAL 1 MONTH)), '%Y-%m')
                    AS month
            )
        ), due AS (
            SELECT source, uscc, month FROM lives JOIN months ON born < month AND month < gone
        )
        SELECT source, month, count(*), count(r.uscc) FROM due
        LEFT JOIN (SELECT DISTINCT source, uscc, month FROM records) r USING (source, uscc, month) GROUP BY ALL
    """).fetchall()
    for source, month, count, there in rows:
        yield Measure(source, category.id, "", month, "continuity", there / count, count)


def _completeness(
    db: duckdb.DuckDBPyConnection, category: Category, limits: Rules, item: Item, first: str, last: str
) -> Iterator[Measure]:
    asked = item.name in limits.required or item.name in limits.required_when
    condition = " OR ".join(
        f"{other} IN ({', '.join(literal(code) for code in codes)})"
        for other, codes in limits.required_when.get(item.name, {}).items()
    )
    rows = db.execute(
        f"SELECT source, month, count(*), count({item.name}) FROM records "
        f"WHERE month BETWEEN '{first}' AND '{last}' AND ({condition or 'true'}) GROUP BY ALL"
    ).fetchall()
    for source, month, count, filled in rows:
        yield Measure(source, category.id, item.name, month, "completeness", filled / count, count, asked)


def _drift(db: duckdb.DuckDBPyConnection, category: Category, item: Item, first: str, last: str) -> Iterator[Measure]:
    """Every month against those before it, cut at the tenths of their values."""
    name = item.name
    if item.type in ("integer", "decimal", "ratio"):
        value = f"{name}::DOUBLE"
    elif item.type == "date":
        value = f"(event_date - {name})::DOUBLE"
    else:
        value = ""
    months = f"SELECT DISTINCT source, month AS target FROM records WHERE month BETWEEN '{first}' AND '{last}'"
    ago = f"strftime((t.target || '-01')::DATE - INTERVAL {_BEFORE} MONTH, '%Y-%m')"
    before = " UNION ALL ".join(
        f"SELECT t.source, t.target, '{name}' AS against, r.value FROM targets t "
        f"JOIN valued r ON r.source = t.source AND {condition}"
        for name, condition in (
            ("year", f"r.month < t.target AND r.month >= {ago}"),
            ("season", f"r.month = {ago}"),
        )
    )
    # an empty value is a matter of completeness
    shown = f"SELECT source, month, {value or f'{name}::VARCHAR'} AS value FROM records WHERE {name} IS NOT NULL"
    tenths = "quantile_cont(value, [.1, .2, .3, .4, .5, .6, .7, .8, .9])"
    cuts = f"SELECT source, target, against, {tenths if value else 'NULL'} AS cuts FROM earlier GROUP BY ALL"
    label = "len(list_filter(cuts, lambda cut: cut < value))" if value else "value"
    rows = db.execute(f"""
        WITH valued AS ({shown}), targets AS ({months}), earlier AS ({before}), cuts AS ({cuts}),
        old AS (SELECT source, target, against, {label} AS class, count(*) AS n
                FROM earlier JOIN cuts USING (source, target, against) GROUP BY ALL),
        new AS (SELECT v.source, v.month AS target, c.against, {label} AS class, count(*) AS n FROM valued v
                JOIN cuts c ON c.source = v.source AND c.target = v.month GROUP BY ALL),
        counted AS (
            SELECT source, target, against, coalesce(o.n, 0) AS o, coalesce(w.n, 0) AS w
            FROM old o FULL JOIN new w USING (source, target, against, class)
        ), shares AS (
            SELECT *, greatest(o / sum(o) OVER mine, {_FLOOR}) AS p, greatest(w / sum(w) OVER mine, {_FLOOR}) AS q,
                sum(o) OVER mine AS olds, sum(w) OVER mine AS news
            FROM counted WINDOW mine AS (PARTITION BY source, target, against)
        ), indices AS (
            SELECT source, target, against, any_value(news)::BIGINT AS records, sum((q - p) * ln(q / p)) AS psi
            FROM shares WHERE olds >= {_ENOUGH} AND news >= {_ENOUGH} GROUP BY ALL
        )
        SELECT source, target, any_value(records), min(psi) FROM indices GROUP BY ALL
        HAVING bool_or(against = 'year')
    """).fetchall()
    for source, month, count, value_ in rows:
        yield Measure(source, category.id, name, month, "drift", value_, count)


def _validity(log: Log, categories: set[str], source: str | None, first: str, last: str) -> Iterator[Measure]:
    """From what was delivered, and the rows held of it with the columns at fault."""
    delivered: Counter[tuple[str, str, str]] = Counter()
    for entry in log.entries("collection"):
        month = entry.received_at[:7]
        if entry.category in categories and source in (None, entry.source) and first <= month <= last:
            delivered[entry.source, entry.category, month] += entry.counts["delivered"]
    faulty: Counter[tuple[str, str, str, str]] = Counter()
    held, _ = quarantine.every(log, source=source)
    for row in held.values():
        for column in {"", *row.columns}:
            faulty[row.source, row.category, row.received_at[:7], column] += 1
    for (who, what, month), count in delivered.items():
        columns = {column for one in faulty if one[:3] == (who, what, month) for column in one[3:]} | {""}
        for column in columns:
            share = 1 - min(count, faulty[who, what, month, column]) / count if count else 1.0
            yield Measure(who, what, column, month, "validity", share, count)


def month_before(day: dt.date, months: int) -> str:
    """The month (YYYY-MM) so many months before the one of `day`."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return f"{year:04d}-{month + 1:02d}"
