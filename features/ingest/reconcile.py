"""Reconciliation with a source (R55) and its missed, late and concealed rates by month (R56).

Owns the statement that a source files, the comparison with what is stored, and the rates. A statement is a table: one
row a month, or one for each code of the category's code items (for the utilities: the monthly form with one row a
month and utility), with `records`, the number of records, and any number item, meaning its sum.

The rates, by month of the event, of the larger of what was stated and what is there:
  missed     stated, and not there to this day;
  late       stated, and first known after the deadline of the category;
  concealed  not stated, and known only after the deadline, or found missing by a cross-check beyond what was missed.
Target of all three is zero. No regulation that we know gives formulas; these are this project's.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from features.catalogue.model import Category
from features.ingest import crosscheck, rules
from features.ingest.clock import civil_now
from features.ingest.delivery import Delivery
from features.ingest.log import Entry, Log
from features.ingest.reading import Raw
from features.ingest.refused import IngestRefused
from features.ingest.standing import standing
from features.store import EventStore
from features.store.engine import connect

_MONTH = re.compile(r"[12][0-9]{3}-(0[1-9]|1[0-2])")
_HEADINGS = {"月份": "month", "记录数": "records"}


@dataclass(frozen=True)
class Line:
    """One line of a statement beside what is stored. `group`: code items that the line is restricted to.

    `sums`: item → (stated, stored), as decimal texts. `timely`, `after`: records first known before and after the
    deadline. `absent`: facts that a cross-check found to be missing at this source in the month.
    """

    month: str
    group: Mapping[str, str]
    stated: int
    stored: int
    timely: int
    after: int
    absent: int
    sums: Mapping[str, tuple[str, str]]

    @property
    def total(self) -> int:
        """The records that there are by all that is known."""
        return max(self.stated, self.stored) + max(0, self.absent - self.missed)

    @property
    def missed(self) -> int:
        return max(0, self.stated - self.stored)

    @property
    def late(self) -> int:
        return min(self.after, max(0, self.stated - self.timely))

    @property
    def concealed(self) -> int:
        return self.after - self.late + max(0, self.absent - self.missed)

    @property
    def agrees(self) -> bool:
        return self.stated == self.stored and all(
            Decimal(stated) == Decimal(stored) for stated, stored in self.sums.values()
        )

    def to_json(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("total", "missed", "late", "concealed", "agrees")}
        sums = {name: list(pair) for name, pair in self.sums.items()}
        return {**asdict(self), **counts, "sums": sums}


@dataclass(frozen=True)
class Rates:
    """One source, category and month."""

    source: str
    category: str
    month: str
    total: int
    missed: int
    late: int
    concealed: int

    def rate(self, name: str) -> float:
        """`missed`, `late` or `concealed` as a share of all records; 0 where there are none."""
        return getattr(self, name) / self.total if self.total else 0.0


def reconcile(
    store: EventStore, delivery: Delivery, raw: Raw, *, now: Callable[[], dt.datetime] = civil_now
) -> tuple[Entry, list[Line]]:
    """Compares a statement with the store and records the outcome. Raises IngestRefused, UnknownName."""
    received = now()
    delivery.check(store.catalogue, received)
    category = store.catalogue.category(delivery.category)
    statement = _statement(category, raw)
    log = Log(store.root)
    with log.alone():
        lines = _compare(store, delivery.source, category, statement, received.date())
        entry = Entry.of(
            "reconciliation",
            log.next(),
            delivery,
            raw,
            received,
            store.catalogue.version,
            counts={"lines": len(lines), "agree": sum(line.agrees for line in lines)},
            details={"statement": statement, "lines": [line.to_json() for line in lines]},
        )
        return log.publish(entry), lines


def rates(
    store: EventStore,
    *,
    source: str | None = None,
    category: str | None = None,
    now: Callable[[], dt.datetime] = civil_now,
) -> list[Rates]:
    """The rates of every month for which a source filed a statement, by the store as it is now.

    Of several statements about a month the last counts.
    """
    log = Log(store.root)
    last: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for entry in log.entries("reconciliation"):
        if source in (None, entry.source) and category in (None, entry.category):
            months: dict[str, list[dict[str, Any]]] = {}
            for row in entry.details["statement"]:
                months.setdefault(row["month"], []).append(row)
            last |= {(entry.source, entry.category, month): rows for month, rows in months.items()}
    found = []
    for (who, what), months in _grouped(last).items():
        statement = [row for rows in months.values() for row in rows]
        lines = _compare(store, who, store.catalogue.category(what), statement, now().date())
        for month in sorted(months):
            own = [line for line in lines if line.month == month]
            sums = {name: sum(getattr(line, name) for line in own) for name in ("total", "missed", "late", "concealed")}
            found.append(Rates(who, what, month, **sums))
    return found


def _grouped(
    last: Mapping[tuple[str, str, str], list[dict[str, Any]]],
) -> dict[tuple[str, str], dict[str, list[dict[str, Any]]]]:
    grouped: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for (who, what, month), rows in last.items():
        grouped.setdefault((who, what), {})[month] = rows
    return grouped


def _statement(category: Category, raw: Raw) -> list[dict[str, Any]]:
    """The rows of a statement: month, group, records, sums. Raises IngestRefused naming row and column."""
    named = {item.zh: item.name for item in category.items}
    headings = {
        one: _HEADINGS.get(one.strip()) or named.get(one.strip(), one.strip()) for one in raw.table.column_names
    }
    kinds = {item.name: item for item in category.items}
    for name in ("month", "records"):
        if name not in headings.values():
            raise _wrong(raw, 0, name, "the column is missing; add it", "缺少该列，请补充")
    for heading, name in headings.items():
        item = kinds.get(name)
        if name not in ("month", "records") and (item is None or item.type not in ("code", "integer", "decimal")):
            raise _wrong(raw, 0, heading, "no code or number item of the category; remove it",
                         "不是该类别的代码项或数值项，请删除")  # fmt: skip
    if raw.broken:
        raise _wrong(raw, raw.broken[0].row, "–", "not as many cells as headings", "列数与表头不一致")
    found: list[dict[str, Any]] = []
    seen: set[tuple[Any, ...]] = set()
    for number, row in zip(raw.rows.tolist(), raw.table.to_pylist(), strict=True):
        cells = {headings[one]: str(value).strip() for one, value in row.items() if value is not None}
        month = cells.pop("month", "")
        if not _MONTH.fullmatch(month):
            raise _wrong(raw, number, "month", "must be YYYY-MM", "应为 YYYY-MM")
        records = cells.pop("records", "")
        if not (records.isascii() and records.isdigit()):
            raise _wrong(raw, number, "records", "must be a whole number", "应为非负整数")
        group: dict[str, str] = {}
        sums: dict[str, str] = {}
        for name, text in cells.items():
            if kinds[name].type == "code":
                if text not in kinds[name].codes:
                    raise _wrong(raw, number, name, "not in the code list", "不在代码表中")
                group[name] = text
            else:
                sums[name] = _number(raw, number, name, text)
        key = (month, *sorted(group.items()))
        if key in seen:
            raise _wrong(raw, number, "month", "the month stands twice for one group", "同一月份同一分组重复")
        seen.add(key)
        found.append({"month": month, "group": group, "records": int(records), "sums": sums})
    groupings = {(row["month"], tuple(sorted(row["group"]))) for row in found}
    if len(groupings) > len({month for month, _ in groupings}):
        raise _wrong(raw, 0, "month", "the lines of one month must all have the same code items filled in",
                     "同一月份各行填写的代码项应一致")  # fmt: skip
    return found


def _compare(
    store: EventStore, source: str, category: Category, statement: Sequence[Mapping[str, Any]], today: dt.date
) -> list[Line]:
    limits = rules.load(store.catalogue)[category.id]
    absences = crosscheck.absences(store, source, category.id, today)
    snapshot = store.snapshot()
    lines = []
    first_of_month: set[str] = set()
    with connect() as db:
        db.execute(
            f"CREATE TEMP TABLE own AS SELECT * FROM ({standing(snapshot, category)}) WHERE source = ?", [source]
        )
        for row in statement:
            month = row["month"]
            where = " AND ".join(("strftime(event_date, '%Y-%m') = ?", *(f"{name} = ?" for name in row["group"])))
            sums = "".join(f", coalesce(sum({name}), 0)::VARCHAR" for name in row["sums"])
            db.execute(
                f"SELECT count(*), count(*) FILTER (first_known < ?){sums} FROM own WHERE {where}",
                [limits.deadline(month), month, *row["group"].values()],
            )
            [(stored, timely, *totals)] = db.fetchall()
            # a cross-check knows no group: the first line of a month carries what it found
            absent = absences.get(month, 0) if month not in first_of_month else 0
            first_of_month.add(month)
            lines.append(
                Line(
                    month=month,
                    group=row["group"],
                    stated=row["records"],
                    stored=stored,
                    timely=timely,
                    after=stored - timely,
                    absent=absent,
                    sums={
                        name: (stated, total) for (name, stated), total in zip(row["sums"].items(), totals, strict=True)
                    },
                )
            )
    return lines


def _number(raw: Raw, row: int, name: str, text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise _wrong(raw, row, name, "not a number", "不是数")
    return format(value, "f")


def _wrong(raw: Raw, row: int, column: str, what: str, what_zh: str) -> IngestRefused:
    place = f", row {row}" if row else ""
    place_zh = f"，第 {row} 行" if row else ""
    return IngestRefused(
        "ingest_statement",
        f"{raw.name}{place}, column `{column}`: {what}",
        f"{raw.name}{place_zh}，列 `{column}`：{what_zh}",
    )
