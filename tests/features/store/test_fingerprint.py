"""The fingerprint of an event: the same for the same content, another for any other, whatever stands beside it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from features.store import schema
from features.store.fingerprint import fingerprints
from tests.features.events import CATALOGUE

BILLS = CATALOGUE.category("utilities")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "uscc": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=4),
    "event_date": st.dates(dt.date(1800, 1, 1), dt.date(2100, 1, 1)),
    "revision": st.text(max_size=4),
    "utility": st.none() | st.text(max_size=4),
    "consumption": st.none() | st.decimals(-(10**15), 10**15, places=2),
    "billed": st.none() | st.decimals(-100, 100, places=2),
    "overdue_days": st.none() | st.integers(-(2**63), 2**63 - 1),
    "cut_off": st.none() | st.booleans(),
}
ROWS = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=20)


def conformed(rows: list[dict[str, Any]]) -> pa.Table:
    known = schema.columns(BILLS)
    table = pa.table({name: pa.array([row[name] for row in rows], known[name]) for name in VALUES})
    table = table.append_column("record_id", pa.array([str(place) for place in range(len(rows))]))
    return schema.conform(BILLS, table, {"batch": "b", "source": "s", "known_at": dt.datetime(2024, 1, 1)})


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_fingerprints_are_equal_exactly_where_the_content_is(rows: list[dict[str, Any]]) -> None:
    made = fingerprints(BILLS, conformed([*rows, *rows])).to_pylist()
    content = [tuple(row[name] for name in VALUES) for row in [*rows, *rows]]
    for one, mark in zip(content, made, strict=True):
        assert [mark == other for other in made] == [one == other for other in content]


@settings(max_examples=30, deadline=None)
@given(ROWS, st.integers(0, 19))
def test_a_fingerprint_does_not_depend_on_the_rows_around_it(rows: list[dict[str, Any]], at: int) -> None:
    at %= len(rows)
    table = conformed(rows)
    [alone] = fingerprints(BILLS, conformed([rows[at]])).to_pylist()
    assert fingerprints(BILLS, table).to_pylist()[at] == alone
    sliced = fingerprints(BILLS, table.slice(at, 1))
    assert sliced.to_pylist() == [alone]


def test_a_new_item_changes_no_earlier_fingerprint() -> None:
    row = {"uscc": "A", "event_date": dt.date(2024, 1, 31), "revision": "", "utility": "gas", "consumption": None,
           "billed": None, "overdue_days": 3, "cut_off": False}  # fmt: skip
    older = replace(BILLS, items=tuple(item for item in BILLS.items if item.name != "paid"))
    assert fingerprints(older, conformed([row])) == fingerprints(BILLS, conformed([row]))


def test_the_form_stays() -> None:
    """Files of a store hold these numbers: another result for the same event needs a new format of the store."""
    row = {"uscc": "91350100M000100Y43", "event_date": dt.date(2024, 1, 31), "revision": "", "utility": "gas",
           "consumption": 12, "billed": None, "overdue_days": 3, "cut_off": True}  # fmt: skip
    assert fingerprints(BILLS, conformed([row])).to_pylist() == [15991423050192567692]


def test_zero_has_one_fingerprint_in_ratios() -> None:
    category = next(one for one in CATALOGUE if any(item.type == "ratio" for item in one.items))
    name = next(item.name for item in category.items if item.type == "ratio")
    table = pa.table({"uscc": ["A", "A"], "record_id": ["1", "2"], "event_date": [dt.date(2024, 1, 1)] * 2,
                      name: np.array([0.0, -0.0])})  # fmt: skip
    made = schema.conform(category, table, {"batch": "b", "source": "s", "known_at": dt.datetime(2024, 1, 1)})
    [first, second] = fingerprints(category, made).to_pylist()
    assert first == second
