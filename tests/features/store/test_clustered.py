"""The copy in the order of enterprises: every row of whom one asks for, and who has a record near a day."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.store import StoreRefused, clustered
from features.store.clustered import Clustered
from tests.features.events import Event, Store, penalty

START = dt.date(2023, 1, 1)
#: Codes of several lengths and letters of several bytes, one the beginning of another.
CODES = ("A", "AB", "B", "信用", "信", "Z" * 18)


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def copy(store: Store) -> Clustered:
    store.events.cluster("administrative")
    found = clustered.find(store.events.snapshot(), "administrative")
    assert found is not None
    return found


@st.composite
def acts(draw: st.DrawFn) -> list[Event]:
    """Penalties, some with a last day of validity, some with a correction that moves them elsewhere."""
    events = []
    for number in range(draw(st.integers(1, 12))):
        until = draw(st.one_of(st.none(), st.integers(0, 40), st.just(-200_000)))
        items = (("act_kind", "penalty"), ("valid_to", None if until is None else day(until)))
        known = day(50)
        event = Event("administrative", draw(st.sampled_from(CODES)), str(number), day(draw(st.integers(0, 40))), known,
                      items=items)  # fmt: skip
        events.append(event)
        if draw(st.integers(0, 3)) == 0:
            events.append(event.later("correct", known, uscc=draw(st.sampled_from(CODES))))
    return events


def expected(events: list[Event]) -> dict[str, list[tuple[str, Event]]]:
    """Owner and event of each row, by part."""
    versions: dict[str, list[Event]] = {}
    for one in events:
        versions.setdefault(one.record, []).append(one)
    found: dict[str, list[tuple[str, Event]]] = {"base": [], "amended": []}
    for own in versions.values():
        part = "base" if len(own) == 1 else "amended"
        found[part] += [(owner, one) for owner in {one.uscc for one in own} for one in own]
    return found


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts(), st.sets(st.sampled_from((*CODES, "", "C", "Z" * 19, "信用中")), max_size=4), st.integers(1, 5))
def test_all_rows_of_the_owners_asked_for_and_no_others(events: list[Event], asked: set[str], batch: int) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        patched.setattr(clustered, "_BATCH", batch)
        store = Store(Path(name))
        store.write(events)
        found = copy(store)
        for part, rows in expected(events).items():
            wanted = sorted((one.record, one.uscc, one.happened) for owner, one in rows if owner in asked)
            if not rows:
                assert part not in found.parts
                continue
            table = found.parts[part].fetch(found.parts[part].find(asked)).to_pylist()
            # a record whose versions name two of the owners is there once for each
            assert sorted((row["record_id"], row["uscc"], row["event_date"]) for row in table) == wanted
            assert found.parts[part].find(asked).rows == len(wanted)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts(), st.lists(st.tuples(st.integers(-1, 40), st.integers(0, 9)), max_size=3), st.integers(1, 5))
def test_whoever_has_a_row_of_these_days_is_found(events: list[Event], days: list[tuple[int, int]], batch: int) -> None:
    ranges = [(day(first), day(first + length)) for first, length in days]

    def inside(value: dt.date | None) -> bool:
        return value is not None and any(first < value <= last for first, last in ranges)

    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        patched.setattr(clustered, "_BATCH", batch)
        store = Store(Path(name))
        store.write(events)
        found = copy(store)
        for part, rows in expected(events).items():
            for column in ("event_date", "valid_to"):
                held = {(owner, one.happened if column == "event_date" else one.item(column)) for owner, one in rows}
                wanted = sorted({owner for owner, value in held if inside(value)})
                assert sorted(found.parts[part].dated(column, ranges) if rows else []) == wanted


def test_a_day_of_a_column_that_is_no_date_is_nobody_s(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write([penalty("A", "1", day(0), day(0))])
    assert copy(store).parts["base"].dated("fine_amount", [(day(-1), day(1))]) == []


def test_a_copy_of_another_form_is_passed_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write([penalty("A", "1", day(0), day(0))])
    copy(store)
    path = tmp_path / "clustered" / "administrative" / "current.json"
    pointer: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**pointer, "form": pointer["form"] + 1}))
    assert clustered.find(store.events.snapshot(), "administrative") is None


def test_a_new_copy_leaves_no_file_of_the_old_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write([penalty("A", "1", day(0), day(0))])
    copy(store)
    folder = tmp_path / "clustered" / "administrative"
    before = {path.name for path in folder.iterdir()} - {"current.json"}
    copy(store)
    after = {path.name for path in folder.iterdir()} - {"current.json"}
    assert len(before) == len(after)
    assert not before & after


def test_a_code_with_a_nul_byte_is_refused(tmp_path: Path) -> None:
    """The copy tells codes apart up to NUL bytes at their end."""
    with pytest.raises(StoreRefused, match="NUL") as refused:
        Store(tmp_path).write([penalty("A\0", "1", day(0), day(0))])
    assert refused.value.code == "store_code_nul"
