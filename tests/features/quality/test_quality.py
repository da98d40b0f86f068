"""R54, R56: what is wrong with a source's records is measured where it is wrong, told to the source, and followed."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from features import uscc
from features.derive.cli import app
from features.ingest.log import Log
from features.quality import Measure, TicketRefused, answer, measure, open_tickets, review, ticket_list
from features.quality.period import period
from features.quality.tickets import TRANSITIONS
from tests.features.ingest.desk import Desk, bill, penalty

CODES = uscc.simulate(np.random.default_rng(9), 400)
MONTHS = ("2024-01-31", "2024-02-29", "2024-03-31")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, now=dt.datetime(2024, 4, 10, 9))


def bills(desk: Desk, rows: list[dict[str, Any]], known: str = "2024-04-09T08:00:00") -> None:
    desk.deliver([{**row, "known_at": row.get("known_at", known)} for row in rows], "utilities", "power_company",
                 backfill=True)  # fmt: skip


def of(desk: Desk, name: str, item: str = "", month: str = "2024-03") -> Measure:
    [one] = [
        one for one in measure(desk.store, "2024-01", "2024-04")
        if (one.name, one.item, one.month) == (name, item, month)
    ]  # fmt: skip
    return one


def test_completeness_counts_only_where_a_value_is_asked_for(desk: Desk) -> None:
    desk.deliver([
        penalty("1"),
        penalty("2", act_kind="licence", penalty_kind=None, fine_amount=None),
    ])  # fmt: skip
    [asked] = [one for one in measure(desk.store, "2024-03", "2024-03") if one.item == "penalty_kind" and one.judged
               and one.name == "completeness"]  # fmt: skip
    assert (asked.value, asked.records, asked.band) == (1.0, 1, "good")
    [free] = [one for one in measure(desk.store, "2024-03", "2024-03")
              if (one.item, one.name) == ("fine_amount", "completeness")]  # fmt: skip
    assert (free.value, free.band) == (0.5, "told")


def test_uniqueness_falls_by_a_fact_stated_under_two_numbers(desk: Desk) -> None:
    bills(desk, [bill("1", CODES[0], MONTHS[2]), bill("2", CODES[0], MONTHS[2]), bill("3", CODES[1], MONTHS[2]),
                 bill("4", CODES[0], MONTHS[2], billed="21")])  # fmt: skip
    assert of(desk, "uniqueness").value == 0.75


def test_validity_is_told_by_column_and_month_of_receipt(desk: Desk) -> None:
    bills(desk, [bill("1", CODES[0], MONTHS[2]), bill("2", CODES[1], MONTHS[2], billed="-1"),
                 bill("3", CODES[1][:-1] + "0", MONTHS[2]), bill("4", CODES[2], MONTHS[2])])  # fmt: skip
    assert of(desk, "validity", "", "2024-04").value == 0.5
    assert of(desk, "validity", "billed", "2024-04").value == 0.75
    assert of(desk, "validity", "uscc", "2024-04").value == 0.75


def test_timeliness_is_the_share_known_before_the_deadline(desk: Desk) -> None:
    """R56: bills of January are due by the end of the 20th of February."""
    bills(
        desk, [bill("1", CODES[0], known_at="2024-02-20T23:59:59"), bill("2", CODES[1], known_at="2024-02-21T00:00:00")]
    )
    assert of(desk, "timeliness", month="2024-01").value == 0.5


def test_continuity_is_broken_by_a_month_left_out(desk: Desk) -> None:
    bills(desk, [bill(f"{code}-{day}", code, day) for code in CODES[:4] for day in MONTHS
                 if (code, day) != (CODES[0], MONTHS[1])])  # fmt: skip
    assert of(desk, "continuity", month="2024-02").value == 0.75


def history(desk: Desk, last: list[float]) -> None:
    rng = np.random.default_rng(3)
    before = [list(rng.uniform(10, 20, len(CODES))) for _ in MONTHS[:2]]
    bills(
        desk,
        [
            bill(f"{day}-{code}", code, day, billed=f"{value:.2f}")
            for day, values in zip(MONTHS, (*before, last), strict=True)
            for code, value in zip(CODES, values, strict=True)
        ],
    )


def test_drift_is_small_where_nothing_changed_and_large_where_values_doubled(tmp_path: Path) -> None:
    values = np.random.default_rng(4).uniform(10, 20, len(CODES))
    desks = [Desk(tmp_path / name, now=dt.datetime(2024, 4, 10, 9)) for name in ("same", "doubled")]
    history(desks[0], list(values))
    history(desks[1], list(2 * values))
    assert of(desks[0], "drift", "billed").band == "good"
    moved = of(desks[1], "drift", "billed")
    assert moved.band == "bad"


def test_drift_follows_the_published_formula(desk: Desk) -> None:
    """Half of the values in the lowest tenth, half in the highest: Σ (q − p)·ln(q / p), empty classes at the floor."""
    history(desk, [1.0, 99.0] * (len(CODES) // 2))
    floor, p = 0.0005, 0.1
    expected = 2 * (0.5 - p) * math.log(0.5 / p) + 8 * (floor - p) * math.log(floor / p)
    assert of(desk, "drift", "billed").value == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "value", "band"),
    [
        ("completeness", 0.98, "good"),
        ("completeness", 0.95, "watch"),
        ("completeness", 0.89, "bad"),
        ("drift", 0.1, "good"),
        ("drift", 0.25, "watch"),
        ("drift", 0.26, "bad"),
    ],
)
def test_bands(name: str, value: float, band: str) -> None:
    assert Measure("s", "c", "i", "2024-01", name, value, 10).band == band


# ---- tickets ---------------------------------------------------------------------------------------------------------


def late(desk: Desk) -> list[Measure]:
    bills(desk, [bill("1", CODES[0]), bill("2", CODES[1], known_at="2024-02-01T08:00:00")])
    return measure(desk.store, "2024-01", "2024-03")


def test_a_bad_measure_opens_one_ticket_however_often_it_is_fed_back(desk: Desk) -> None:
    found = late(desk)
    [ticket] = open_tickets(desk.store, found, "Li Si")
    assert (ticket.source, ticket.name, ticket.value, ticket.state) == ("power_company", "timeliness", 0.5, "open")
    assert open_tickets(desk.store, found, "Li Si") == []
    assert ticket_list(desk.store) == [ticket]
    Log(desk.store.root).verify()


def test_an_answer_does_not_close_a_ticket_and_a_good_measure_does(desk: Desk) -> None:
    bills(desk, [bill("1", CODES[0], MONTHS[2]), bill("2", CODES[0], MONTHS[2])])
    [ticket] = open_tickets(desk.store, measure(desk.store, "2024-03", "2024-03"), "Li Si", now=lambda: desk.now)
    assert answer(desk.store, ticket.id, "已改", "Wang Wu").state == "answered"
    [still] = review(desk.store, "Li Si")
    assert (still.state, still.latest) == ("answered", 0.5)
    desk.wait(days=1)
    desk.deliver([{"uscc": CODES[0], "record_id": "2", "event_date": MONTHS[2], "op": "delete", "revision": "d1"}],
                 "utilities", "power_company")  # fmt: skip
    [done] = review(desk.store, "Li Si")
    assert (done.state, done.latest, done.corrections) == ("corrected", 1.0, 1)
    assert review(desk.store, "Li Si") == []


def test_a_ticket_nobody_has_opened_cannot_be_answered(desk: Desk) -> None:
    for id_, text in (("0" * 16, "x"), ("0" * 16, " ")):
        with pytest.raises(TicketRefused):
            answer(desk.store, id_, text, "Li Si")


@settings(max_examples=50)
@given(st.sampled_from(sorted(TRANSITIONS)))
def test_every_state_can_be_left_and_reached(state: str) -> None:
    assert TRANSITIONS[state]
    assert any(state in following for following in TRANSITIONS.values())


# ---- the period's report ---------------------------------------------------------------------------------------------


def test_a_period_is_reported_by_source_and_tells_a_source_what_its_records_are_used_for(desk: Desk) -> None:
    """R57, R58."""
    bills(desk, [bill("1", CODES[0]), bill("2", CODES[1], billed="-1")])
    open_tickets(desk.store, measure(desk.store, "2024-01", "2024-04"), "Li Si")
    [line] = period(desk.store, "2024-01", "2024-04")
    assert (line.source, line.category, line.batches, line.delivered, line.accepted, line.held) == (
        "power_company", "utilities", 1, 2, 1, 1)  # fmt: skip
    assert line.bands["bad"] == line.tickets["open"] > 0
    assert "kwh_yoy" in line.features
    assert period(desk.store, "2024-01", "2024-03", source="nobody") == []
    assert not set(CODES) & set(json.dumps(line.to_json()).split('"'))


# ---- command line ----------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["quality", *arguments])


def test_the_board_is_printed_as_table_and_as_json(desk: Desk) -> None:
    late(desk)
    where = ("--store", str(desk.store.root), "--from", "2024-01", "--to", "2024-03")
    told = run("board", *where)
    assert told.exit_code == 0
    assert "1 项需关注 not good" in told.output
    parsed = json.loads(run("board", *where, "--json").output)
    assert {"source", "category", "item", "month", "name", "value", "records", "judged", "band"} == set(parsed[0])
    assert not set(CODES) & set(json.dumps(parsed).split('"'))
    assert run("feed", *where, "--by", "Li Si").exit_code == 0
    assert "power_company" in json.loads(run("period", *where, "--json").output)[0]["source"]
    assert run("period", *where).exit_code == 0
    [ticket] = json.loads(run("tickets", "--store", str(desk.store.root), "--json").output)
    assert run("answer", ticket["id"], "已知悉", "--store", str(desk.store.root), "--by", "W").exit_code == 0
    assert run("review", "--store", str(desk.store.root), "--by", "W").exit_code == 0


def test_a_month_that_is_none_is_refused(desk: Desk) -> None:
    late(desk)
    told = run("board", "--store", str(desk.store.root), "--from", "2024-13")
    assert told.exit_code == 1
