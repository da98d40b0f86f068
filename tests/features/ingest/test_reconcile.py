"""Counts and sums against the source's own, and what was missed, late or concealed (R55, R56)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.ingest import Delivery, Entry, IngestRefused, read_rows
from features.ingest.reconcile import Line, Rates, rates, reconcile
from tests.features.ingest.desk import A, B, C, Desk, bill, penalty
from tests.features.ingest.test_crosscheck import environment

IN_TIME, TOO_LATE = dt.datetime(2024, 2, 20, 23, 59), dt.datetime(2024, 2, 21)


def form(desk: Desk, rows: list[dict[str, Any]], category: str = "utilities", source: str = "power_company"
         ) -> tuple[Entry, list[Line]]:  # fmt: skip
    delivery = Delivery(source, category, "月报表", "form", "Wang")
    return reconcile(desk.store, delivery, read_rows("form", rows), now=lambda: desk.now)


def bills(desk: Desk, now: dt.datetime, *rows: dict[str, Any]) -> None:
    desk.now = now
    desk.deliver(rows, "utilities", "power_company")


def test_counts_and_sums_are_compared_with_the_monthly_form(desk: Desk) -> None:
    """R55, R56: the utilities' monthly form, by month and utility."""
    bills(desk, IN_TIME, bill("1"), bill("2", B, paid="0"), bill("3", C, utility="water"))
    rows = [
        {"月份": "2024-01", "utility": "electricity", "记录数": 2, "应缴金额": "41.00", "paid": "20.50"},
        {"月份": "2024-01", "utility": "water", "记录数": 2, "应缴金额": "99", "paid": "20.5"},
    ]
    entry, [power, water] = form(desk, rows)
    assert power.agrees
    assert power.sums == {"billed": ("41.00", "41.00"), "paid": ("20.50", "20.50")}
    assert not water.agrees
    assert (water.stated, water.stored, water.missed) == (2, 1, 1)
    [kept] = desk.intake.log.entries("reconciliation")
    assert kept == entry
    assert (kept.source, kept.submitter, kept.counts) == ("power_company", "Wang", {"lines": 2, "agree": 1})
    assert kept.details["lines"][1]["stored"] == 1


def test_late_missed_and_concealed_are_told_apart(desk: Desk) -> None:
    """R56: four stated; two in time, one late, one never; then one more that nobody had stated."""
    bills(desk, IN_TIME, bill("1"), bill("2", B))
    bills(desk, TOO_LATE, bill("3", C))
    _, [line] = form(desk, [{"month": "2024-01", "records": 4}])
    assert (line.missed, line.late, line.concealed, line.total) == (1, 1, 0, 4)
    bills(desk, TOO_LATE, *(bill(str(number), utility="gas") for number in range(4, 6)))
    [rate] = rates(desk.store, now=lambda: desk.now)
    assert (rate.missed, rate.late, rate.concealed, rate.total) == (0, 2, 1, 5)
    assert rate.rate("late") == pytest.approx(0.4)


def test_all_in_time_is_zero_on_every_count(desk: Desk) -> None:
    """R56: the target."""
    bills(desk, IN_TIME, bill("1"), bill("2", B))
    form(desk, [{"month": "2024-01", "records": 2}])
    assert rates(desk.store, now=lambda: desk.now) == [Rates("power_company", "utilities", "2024-01", 2, 0, 0, 0)]


def test_a_correction_after_the_deadline_makes_no_record_late(desk: Desk) -> None:
    bills(desk, IN_TIME, bill("1"))
    bills(desk, TOO_LATE, bill("1", op="correct", revision="1", billed="30"))
    _, [line] = form(desk, [{"month": "2024-01", "records": 1, "billed": "30"}])
    assert line.agrees and line.late == 0


def test_what_is_delivered_again_later_does_not_undo_a_correction(desk: Desk) -> None:
    """The version that stands is the store's: each counts from the first time it was known."""
    bills(desk, IN_TIME, bill("1"))
    earlier = (
        bill("1", known_at="2024-02-10 08:00:00"),
        bill("1", op="correct", revision="1", billed="30", known_at="2024-02-15 08:00:00"),
    )
    desk.deliver(earlier, "utilities", "power_company", backfill=True)
    assert form(desk, [{"month": "2024-01", "records": 1, "billed": "30"}])[1][0].agrees


def test_deleted_records_do_not_count_and_repaired_ones_do(desk: Desk) -> None:
    """R55: what the source stated it did deliver, also if it may no longer be used."""
    named = {"event_date": "2024-01-31", "revision": "1"}
    bills(desk, IN_TIME, bill("1"), bill("2", B))
    bills(desk, IN_TIME + dt.timedelta(1), {"uscc": A, "record_id": "1", "op": "repair", **named},
          {"uscc": B, "record_id": "2", "op": "delete", **named})  # fmt: skip
    _, [line] = form(desk, [{"month": "2024-01", "records": 1, "paid": "20.50"}])
    assert line.agrees


def test_the_last_statement_about_a_month_counts(desk: Desk) -> None:
    bills(desk, IN_TIME, bill("1"))
    form(desk, [{"month": "2024-01", "records": 5}, {"month": "2023-12", "records": 1}])
    form(desk, [{"month": "2024-01", "records": 1}])
    found = {one.month: one.missed for one in rates(desk.store, now=lambda: desk.now)}
    assert found == {"2023-12": 1, "2024-01": 0}
    assert rates(desk.store, source="water_company") == []


def test_what_another_source_proves_and_this_one_never_stated_is_concealed(desk: Desk) -> None:
    """R40, R56."""
    desk.deliver([environment("e1", "2024-02-01"), environment("e2", "2024-02-02")], "environment", "ecology")
    desk.deliver([penalty("p1", event_date="2024-02-01")], source="reform_commission")
    _, [line] = form(desk, [{"month": "2024-02", "records": 1}], "administrative", "reform_commission")
    assert (line.absent, line.missed, line.concealed, line.total) == (1, 0, 1, 2)
    _, [line] = form(desk, [{"month": "2024-02", "records": 2}], "administrative", "reform_commission")
    assert (line.absent, line.missed, line.concealed, line.total) == (1, 1, 0, 2)


@given(*(st.integers(0, 9) for _ in range(4)))
def test_no_record_is_counted_twice(stated: int, timely: int, after: int, absent: int) -> None:
    line = Line("2024-01", {}, stated, timely + after, timely, after, absent, {})
    assert min(line.missed, line.late, line.concealed) >= 0
    assert line.missed + line.late + line.concealed + min(timely, line.total) <= line.total + timely
    assert line.missed + line.late + line.concealed <= line.total
    if line.missed == line.late == line.concealed == 0:
        assert after == 0 and absent == 0 and stated <= timely


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([{"month": "2024-13", "records": 1}], "row 1, column `month`"),
        ([{"month": "2024-01", "records": "-1"}], "column `records`"),
        ([{"month": "2024-01"}], "`records`"),
        ([{"month": "2024-01", "records": 1, "colour": 1}], "colour"),
        ([{"month": "2024-01", "records": 1, "utility": "steam"}], "utility"),
        ([{"month": "2024-01", "records": 1, "billed": "much"}], "billed"),
        ([{"month": "2024-01", "records": 1}, {"month": "2024-01", "records": 2}], "row 2"),
        ([{"month": "2024-01", "records": 1, "utility": "gas"}, {"month": "2024-01", "records": 2}], "same code items"),
    ],
)
def test_a_statement_that_cannot_be_compared_is_refused(desk: Desk, rows: list[dict[str, Any]], word: str) -> None:
    with pytest.raises(IngestRefused, match=word) as caught:
        form(desk, rows)
    assert caught.value.code == "ingest_statement"
    assert desk.intake.log.entries() == []
