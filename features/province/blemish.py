"""What happens to facts on their way: they arrive late, twice, wrong, and are corrected, disputed, repaired or deleted.

Owns the shares of these and the table that a source delivers. Never changes what is true of an enterprise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from features.catalogue.model import Category
from features.province.enterprises import Enterprises
from features.province.records import END, Facts
from features.store.schema import columns

#: Shares of the records of a category.
LATE, TWICE, WRONG = 0.03, 0.003, 0.003
CORRECTED, DELETED, DISPUTED, REPAIRED = 0.01, 0.002, 0.003, 0.06
#: Share of records that name their enterprise by its old registration number only, in two sources.
OLD_NUMBER, BY_OLD_NUMBER = 0.02, ("social_insurance", "housing_fund")
#: Days from the event to its receipt, first and last.
_LAG = {"daily": (1, 6), "weekly": (2, 12), "monthly": (3, 18), "quarterly": (5, 40)}
_NEGATIVE = ("administrative", "judicial", "tax", "environment", "operation")
_LAST_MOMENT = END.astype("datetime64[s]") + np.timedelta64(18, "h")
_NO_CODE = "其他"


def deliver(rng: np.random.Generator, category: Category, people: Enterprises, parts: Sequence[Facts]) -> pa.Table:
    """The rows of one source in one category as it delivers them: history with `known_at`, order not arranged."""
    types = {name: kind for name, kind in columns(category).items() if name not in ("batch", "source")}
    tables = []
    start = 0
    for facts in parts:
        tables.append(_table(rng, category, people, facts, start, types))
        start += len(facts)
    table = pa.concat_tables(tables, promote_options="default")
    names = [name for name in (*types, "registration_number", "enterprise_name") if name in table.column_names]
    table = table.select([name for name in names if table.column(name).null_count < len(table)])
    twice = rng.choice(len(table), round(TWICE * len(table)), replace=False)
    return pa.concat_tables([table, table.take(pa.array(twice))])


def _table(rng: np.random.Generator, category: Category, people: Enterprises, facts: Facts, start: int,
           types: dict[str, pa.DataType]) -> pa.Table:  # fmt: skip
    count = len(facts)
    low, high = _LAG[category.update]
    wait = rng.integers(low, high + 1, count) + np.where(rng.random(count) < LATE, rng.integers(30, 200, count), 0)
    known = _morning(facts.day + wait)
    record = np.char.add(f"{facts.source}-{category.id}-", (start + np.arange(count)).astype(str))
    first = {name: values for name, values in facts.items.items() if name != facts.later}
    every = np.arange(count)
    rows = [_rows(people, facts, record, every, known, "assert", first, types)]
    if facts.later:
        # the source learns of the end when it comes, and then gives the record anew
        ends = facts.items[facts.later]
        at = np.flatnonzero(~np.isnat(ends))
        told = np.maximum(_morning(ends[at].astype("datetime64[D]") + wait[at]), known[at] + np.timedelta64(1, "D"))
        rows.append(_rows(people, facts, record, at, told, "correct", facts.items, types))
    else:
        at = _some(rng, every, CORRECTED)
        changed = dict(facts.items)
        amounts = [name for name in changed if pa.types.is_decimal(types[name])]
        for name in amounts[:1]:
            changed[name] = np.round(changed[name] * 1.1, 2)
        rows.append(_rows(people, facts, record, at, known[at] + _days(rng, at, 20, 90), "correct", changed, types))
    at = _some(rng, every, DELETED)
    rows.append(_rows(people, facts, record, at, known[at] + _days(rng, at, 5, 120), "delete", {}, types))
    at = _some(rng, every, DISPUTED)
    opened = known[at] + _days(rng, at, 10, 200)
    rows.append(_rows(people, facts, record, at, opened, "dispute_open", {}, types))
    rows.append(
        _rows(people, facts, record, at[::2], opened[::2] + np.timedelta64(18, "D"), "dispute_close", {}, types)
    )
    if category.repair != "none":
        at = _some(rng, every, REPAIRED if category.id in _NEGATIVE else DELETED)
        rows.append(_rows(people, facts, record, at, known[at] + _days(rng, at, 90, 500), "repair", {}, types))
    table = pa.concat_tables(rows, promote_options="default")
    table = table.filter(pa.array(table.column("known_at").to_numpy() <= _LAST_MOMENT))
    table = _named(rng, category, people, table)
    return _spoiled(rng, category, table).drop_columns(["at"])


def _rows(people: Enterprises, facts: Facts, record: np.ndarray, at: np.ndarray, known: np.ndarray, op: str,
          items: dict[str, np.ndarray], types: dict[str, pa.DataType]) -> pa.Table:  # fmt: skip
    revision = "" if op == "assert" else f"{op}-"
    told = {
        "uscc": pa.array(people.uscc[facts.who[at]]),
        "record_id": pa.array(record[at]),
        "event_date": pa.array(facts.day[at]),
        "known_at": pa.array(known.astype("datetime64[us]")),
        "op": pa.array(np.full(len(at), op), pa.string()),
        "revision": pa.array(np.char.add(revision, record[at]) if revision else np.full(len(at), "")),
        "at": pa.array(facts.who[at]),
    }
    for name, values in items.items():
        kind = types[name]
        # money is delivered as a plain number, as files of sources have it
        wanted = pa.float64() if pa.types.is_decimal(kind) else kind
        told[name] = pa.array(values[at].astype("datetime64[D]") if pa.types.is_date(kind) else values[at], wanted)
    for name, values in facts.extra.items() if op == "assert" else ():
        told[name] = pa.array(values[at])
    return pa.table(told)


def _named(rng: np.random.Generator, category: Category, people: Enterprises, table: pa.Table) -> pa.Table:
    """Some rows with the old registration number in the place of the USCC."""
    if category.id not in BY_OLD_NUMBER:
        return table
    at = table.column("at").to_numpy()
    old = rng.random(len(people)) < OLD_NUMBER
    told = pa.array(np.where(old[at], "", table.column("uscc").to_pylist()))
    number = pa.array(np.where(old[at], people.number[at], ""))
    return table.set_column(0, "uscc", told).append_column("registration_number", number)


def _spoiled(rng: np.random.Generator, category: Category, table: pa.Table) -> pa.Table:
    """Some rows with an error: a wrong check character, a day that has not come, or a value that cannot be."""
    kinds = rng.choice(4, len(table), p=[1 - WRONG, WRONG / 3, WRONG / 3, WRONG / 3])
    codes = table.column("uscc").to_pylist()
    for place in np.flatnonzero(kinds == 1):
        last = codes[place][-1:]
        codes[place] = codes[place][:-1] + ("0" if last != "0" else "1") if last else "9144990100000000"
    table = table.set_column(0, "uscc", pa.array(codes))
    day = table.column("event_date").to_numpy()
    day = np.where(kinds == 2, np.datetime64("2031-12-31"), day)
    table = table.set_column(
        table.column_names.index("event_date"), "event_date", pa.array(day.astype("datetime64[D]"))
    )
    coded = next((item.name for item in category.items if item.codes and item.name in table.column_names), None)
    if coded:
        values = table.column(coded).to_pylist()
        for place in np.flatnonzero(kinds == 3):
            values[place] = _NO_CODE
        table = table.set_column(table.column_names.index(coded), coded, pa.array(values, pa.string()))
    return table


def _some(rng: np.random.Generator, every: np.ndarray, share: float) -> np.ndarray:
    return every[rng.random(len(every)) < share]


def _days(rng: np.random.Generator, like: np.ndarray, low: int, high: int) -> np.ndarray:
    return rng.integers(low, high, len(like)).astype("timedelta64[D]")


def _morning(day: np.ndarray) -> np.ndarray:
    return day.astype("datetime64[s]") + np.timedelta64(8, "h")
