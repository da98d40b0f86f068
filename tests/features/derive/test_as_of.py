"""A feature as of a date: what was known by then, and nothing else."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.features.events import Event, Store, months_back, penalty, standing

START = dt.date(2023, 1, 1)
NAMES = (
    "penalty_cnt_12m",
    "fine_amount_24m",
    "months_since_penalty",
    "licence_cnt",
    "licence_expiring_90d",
    "utility_billed_12m",
    "overdue_days_max_12m",
    "kwh_12m",
    "registration_scale",
)
AS_OF = tuple(START + dt.timedelta(days=n) for n in (0, 200, 366, 430, 800))
CODES = ("A", "B")
#: Few examples, each of them several stores on disk; the seed changes from run to run.
slow = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


# ---- one rule at a time ----------------------------------------------------------------------------------------------


def test_an_event_counts_once_it_is_known_and_not_before(store: Store) -> None:
    store.write([penalty("A", "1", day(10), day(40))])
    found = {n: store.value("A", "penalty_cnt_12m", day(n)) for n in (9, 10, 39, 40)}
    assert found == {9: 0, 10: 0, 39: 0, 40: 1}


def test_an_event_announced_ahead_counts_once_it_has_happened(store: Store) -> None:
    store.write([penalty("A", "1", day(50), day(40))])
    assert [store.value("A", "penalty_cnt_12m", day(n)) for n in (49, 50)] == [0, 1]


def test_a_window_ends_to_the_day(store: Store) -> None:
    store.write([penalty("A", "1", dt.date(2024, 2, 29), dt.date(2024, 2, 29))])
    assert store.value("A", "penalty_cnt_12m", dt.date(2025, 2, 27)) == 1
    assert store.value("A", "penalty_cnt_12m", dt.date(2025, 2, 28)) == 1
    assert store.value("A", "penalty_cnt_12m", dt.date(2025, 3, 1)) == 0


def test_a_correction_counts_from_the_moment_it_is_known(store: Store) -> None:
    one = penalty("A", "1", day(10), day(10), fine=100)
    store.write([one])
    store.write([one.later("correct", day(20), items=(("act_kind", "penalty"), ("fine_amount", 7)))])
    assert [store.value("A", "fine_amount_24m", day(n)) for n in (19, 20)] == [100, 7]


def test_a_correction_may_move_a_record_to_another_enterprise(store: Store) -> None:
    one = penalty("A", "1", day(10), day(10))
    store.write([one])
    store.write([one.later("correct", day(20), uscc="B")])
    pairs = [(code, day(n)) for code in CODES for n in (19, 20)]
    assert [row["penalty_cnt_12m"] for row in store.values(pairs)] == [1, 0, 0, 1]


def test_a_deleted_record_is_gone_from_that_moment_and_may_come_back(store: Store) -> None:
    one = penalty("A", "1", day(10), day(10))
    store.write([one, one.later("delete", day(20)), one.later("correct", day(30), "r2")])
    assert [store.value("A", "penalty_cnt_12m", day(n)) for n in (19, 20, 30)] == [1, 0, 1]


def test_of_events_learned_at_one_instant_the_kind_decides(store: Store) -> None:
    """A deletion in the same file as a correction holds, whatever their numbers and places."""
    one, other = penalty("A", "1", day(10), day(10)), penalty("B", "2", day(10), day(10))
    events = [
        one.later("delete", day(10), "a"),
        one.later("correct", day(10), "b"),
        one,
        other.later("dispute_close", day(10), "a"),
        other.later("dispute_open", day(10), "b"),
        other,
    ]
    store.write(events)
    assert [store.value(code, "penalty_cnt_12m", day(10)) for code in CODES] == [0, 1]


def test_a_repair_removes_its_record_from_that_moment_and_no_other(store: Store) -> None:
    """R59: after repair the item is no longer published, shared or used."""
    one, other = penalty("A", "1", day(10), day(10)), penalty("A", "2", day(11), day(11))
    store.write([one, other])
    store.write([one.later("repair", day(20))])
    assert [store.value("A", "penalty_cnt_12m", day(n)) for n in (19, 20)] == [2, 1]
    assert store.value("A", "months_since_penalty", day(50)) == 1


def test_no_later_correction_brings_a_repaired_record_back(store: Store) -> None:
    """R59."""
    one = penalty("A", "1", day(10), day(10))
    store.write([one, one.later("repair", day(20)), one.later("correct", day(30), "r2")])
    assert [store.value("A", "penalty_cnt_12m", day(n)) for n in (19, 20, 30)] == [1, 0, 0]


def test_a_repair_that_arrives_before_its_record_still_holds(store: Store) -> None:
    """R59."""
    one = penalty("A", "1", day(10), day(10))
    store.write([one.later("repair", day(20))])
    store.write([one])
    assert [store.value("A", "penalty_cnt_12m", day(n)) for n in (10, 19, 20)] == [1, 1, 0]


def test_a_disputed_record_is_not_used_while_the_dispute_is_open(store: Store) -> None:
    """R59."""
    one = penalty("A", "1", day(10), day(10))
    store.write(
        [
            one,
            one.later("dispute_open", day(20), "d1"),
            one.later("dispute_close", day(30), "d1"),
            one.later("dispute_open", day(40), "d2"),
        ]
    )
    assert [store.value("A", "penalty_cnt_12m", day(n)) for n in (19, 20, 29, 30, 40)] == [1, 0, 0, 1, 0]


def test_where_only_items_are_masked_the_rest_of_the_record_stays(store: Store) -> None:
    """R59: an overdue bill that was repaired still tells how much power was used."""
    bill = Event(
        "utilities",
        "A",
        "1",
        day(10),
        day(10),
        items=(("utility", "electricity"), ("consumption", 50), ("billed", 40), ("overdue_days", 9)),
    )
    store.write([bill, bill.later("repair", day(20))])
    names = ["kwh_12m", "overdue_days_max_12m", "utility_delinq_cnt_12m"]
    before, after = store.values([("A", day(19)), ("A", day(20))], names)
    assert [before[name] for name in names] == [50, 9, 1]
    assert [after[name] for name in names] == [50, None, 0]


def test_no_record_means_what_the_catalogue_says(store: Store) -> None:
    store.write([penalty("A", "1", day(10), day(10))])
    [row] = store.values([("Z", day(20))], ["penalty_cnt_12m", "months_since_penalty", "headcount", "tax_grade"])
    assert (row["penalty_cnt_12m"], row["months_since_penalty"], row["headcount"], row["tax_grade"]) == (
        0,
        None,
        None,
        None,
    )


def test_the_latest_value_is_the_last_that_is_known(store: Store) -> None:
    def scale(record: str, happened: int, known: int, value: str | None) -> Event:
        return Event("registration", "A", record, day(happened), day(known), items=(("scale", value),))

    store.write([scale("1", 10, 10, "micro"), scale("2", 20, 60, "small"), scale("3", 30, 30, None)])
    assert [store.value("A", "registration_scale", day(n)) for n in (15, 30, 59, 60)] == [
        "micro",
        "micro",
        "micro",
        "small",
    ]


# ---- any history -----------------------------------------------------------------------------------------------------

_items = {
    "administrative": st.tuples(
        st.tuples(st.just("act_kind"), st.sampled_from(["penalty", "licence"])),
        st.tuples(st.just("fine_amount"), st.one_of(st.none(), st.integers(0, 5))),
        st.tuples(st.just("valid_to"), st.one_of(st.none(), st.sampled_from([day(n) for n in (100, 250, 450, 900)]))),
    ),
    "utilities": st.tuples(
        st.tuples(st.just("utility"), st.sampled_from(["electricity", "water"])),
        st.tuples(st.just("consumption"), st.integers(0, 5)),
        st.tuples(st.just("billed"), st.integers(0, 5)),
        st.tuples(st.just("overdue_days"), st.one_of(st.none(), st.integers(0, 5))),
    ),
    "registration": st.tuples(
        st.tuples(st.just("scale"), st.sampled_from(["micro", "small", "medium"])),
    ),
}
_ops = {
    "administrative": ["correct", "delete", "repair", "dispute_open", "dispute_close"],
    "utilities": ["correct", "delete", "repair", "dispute_open", "dispute_close"],
    "registration": ["correct", "delete", "dispute_open", "dispute_close"],
}


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events about a few records: known late or ahead, changed any number of times, delivered twice."""
    events: list[Event] = []
    for record in range(draw(st.integers(1, 4))):
        category = draw(st.sampled_from(sorted(_items)))
        # one event date a record: two records of an enterprise never tie for the latest value
        happened = day(10 + 90 * record + draw(st.integers(0, 80)))
        for number in range(draw(st.integers(1, 4))):
            op = "assert" if number == 0 else draw(st.sampled_from(["assert", *_ops[category]]))
            event = Event(
                category,
                draw(st.sampled_from(CODES)),
                f"{category}{record}",
                happened,
                day(draw(st.integers(0, 700))),
                op,
                f"r{number}" if number else "",
                draw(_items[category]) if op in ("assert", "correct") else (),
            )
            events.append(event)
            if draw(st.integers(0, 3)) == 0:
                events.append(replace(event, known=day(draw(st.integers(0, 700)))))
    return draw(st.permutations(events))


def values(folder: Path, events: Sequence[Event], batches: int = 2) -> list[dict[str, Any]]:
    store = Store(folder)
    size = max(1, -(-len(events) // batches))
    for start in range(0, len(events), size):
        store.write(events[start : start + size])
    return store.values([(code, as_of) for code in CODES for as_of in AS_OF], NAMES)


@slow
@given(histories(), st.sampled_from(AS_OF))
def test_features_of_a_date_are_unchanged_by_anything_learned_after_it(events: list[Event], as_of: dt.date) -> None:
    earlier = [one for one in events if one.known <= as_of]
    with TemporaryDirectory() as name:
        whole, part = values(Path(name) / "all", events), values(Path(name) / "part", earlier)
        assert [row for row in whole if row["as_of"] == as_of] == [row for row in part if row["as_of"] == as_of]


@slow
@given(histories(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(events: list[Event], batches: int, chance: random.Random) -> None:
    shuffled = [*events, *events[:2]]
    chance.shuffle(shuffled)
    with TemporaryDirectory() as name:
        assert values(Path(name) / "a", events) == values(Path(name) / "b", shuffled, batches)


@slow
@given(histories())
def test_corrections_deletions_repairs_and_disputes_do_what_the_rules_say(events: list[Event]) -> None:
    """R59. The rules once more in plain Python, record by record."""
    with TemporaryDirectory() as name:
        for row in values(Path(name), events):
            wanted = modelled(events, row["uscc"], row["as_of"])
            assert {key: row[key] for key in wanted} == wanted


@slow
@given(histories(), st.integers(0, 700))
def test_a_repair_changes_nothing_but_what_its_record_gave(events: list[Event], known: int) -> None:
    """R59: with the repair, the features are those of a history that never had the record."""
    mine = [one for one in events if one.category == "administrative"]
    if not mine:
        return
    record = mine[0]
    repair = record.later("repair", day(known), "the repair", items=())
    with TemporaryDirectory() as name:
        repaired = values(Path(name) / "a", [*events, repair])
        untouched = values(Path(name) / "b", events)
        without = [one for one in events if one.key != record.key]
        never = values(Path(name) / "c", without) if without else None
        for row, before, gone in zip(repaired, untouched, never or repaired, strict=True):
            if row["as_of"] < day(known):
                assert row == before
            elif never:
                assert row == gone


def modelled(events: Sequence[Event], uscc: str, as_of: dt.date) -> dict[str, Any]:
    mine = [one for one in standing(events, as_of) if one.uscc == uscc]
    acts = [one for one in mine if one.category == "administrative"]
    bills = [one for one in mine if one.category == "utilities"]
    penalties = [one for one in acts if one.item("act_kind") == "penalty"]
    licences = [one for one in acts if one.item("act_kind") == "licence"]

    def within(one: Event, months: int) -> bool:
        return one.happened > months_back(as_of, months)

    last = max((one.happened for one in penalties), default=None)
    year = [one for one in bills if within(one, 12)]
    power = [one.item("consumption") for one in year if one.item("utility") == "electricity"]
    overdue = [one.item("overdue_days") for one in year if one.item("overdue_days") is not None]
    scales = [one for one in mine if one.category == "registration"]
    return {
        "penalty_cnt_12m": sum(within(one, 12) for one in penalties),
        "fine_amount_24m": sum(one.item("fine_amount") or 0 for one in penalties if within(one, 24)),
        "months_since_penalty": None
        if last is None
        else (as_of.year - last.year) * 12 + as_of.month - last.month - (last.day > as_of.day),
        "licence_cnt": sum(one.item("valid_to") is None or one.item("valid_to") > as_of for one in licences),
        "licence_expiring_90d": sum(
            one.item("valid_to") is not None and as_of < one.item("valid_to") <= as_of + dt.timedelta(days=90)
            for one in licences
        ),
        "utility_billed_12m": sum(one.item("billed") for one in year) if year else None,
        "overdue_days_max_12m": max(overdue, default=None),
        "kwh_12m": sum(power) if power else None,
        "registration_scale": max(scales, key=lambda one: one.happened).item("scale") if scales else None,
    }


# ---- many dates at once ----------------------------------------------------------------------------------------------


@slow
@given(histories())
def test_each_enterprise_at_its_own_dates_is_as_each_date_by_itself(events: list[Event]) -> None:
    with TemporaryDirectory() as name:
        store = Store(Path(name))
        store.write(events)
        pairs = [(code, as_of) for code in CODES for as_of in AS_OF[1::2]]
        together = store.values(pairs, NAMES)
        alone = [row for pair in pairs for row in store.values([pair], NAMES)]
        assert together == alone
