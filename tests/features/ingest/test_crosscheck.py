"""The same fact of two sources: compared by rules, recorded, never overwritten (R40)."""

from __future__ import annotations

from typing import Any

import pytest

from features.ingest import IngestRefused, crosscheck
from tests.features.events import CATALOGUE
from tests.features.ingest.desk import A, B, Desk, bill, penalty


def contribution(record: str, enterprise: str = A, **more: Any) -> dict[str, Any]:
    row = {"uscc": enterprise, "record_id": record, "event_date": "2024-01-31"}
    return {**row, "headcount": "10", "due": "100.00", "paid": "100.00", **more}


def check(desk: Desk) -> list[dict[str, Any]]:
    _, found = crosscheck.check(desk.store, submitter="Li Si", now=lambda: desk.now)
    return found.to_pylist()


def both(desk: Desk, **theirs: Any) -> None:
    desk.deliver([contribution("h1")], "social_insurance", "human_resources")
    desk.deliver([contribution("t1", **theirs)], "social_insurance", "tax_bureau")


def test_differences_between_two_sources_are_recorded_and_nothing_is_changed(desk: Desk) -> None:
    """R40."""
    both(desk, headcount="12", paid="99.00")
    before = desk.events("social_insurance")
    found = check(desk)
    assert [(one["item"], one["left_value"], one["right_value"]) for one in found] == [
        ("headcount", "10", "12"),
        ("paid", "100.00", "99.00"),
    ]
    [one, _] = found
    assert (one["rule"], one["uscc"], one["fact"]) == ("contributions", A, "month=2024-01")
    assert (one["left_source"], one["right_source"]) == ("human_resources", "tax_bureau")
    assert desk.events("social_insurance") == before
    assert crosscheck.differences(desk.intake.log).num_rows == 2
    desk.intake.log.verify()


def test_equal_facts_and_small_differences_are_none(desk: Desk) -> None:
    both(desk, due="100.01")
    assert check(desk) == []


def test_a_difference_is_recorded_once_and_stays_recorded(desk: Desk) -> None:
    """R40: recorded, never overwritten."""
    both(desk, headcount="12")
    assert len(check(desk)) == 1
    assert check(desk) == []
    desk.wait(days=1)
    desk.deliver([contribution("t1", headcount="13", op="correct", revision="1")], "social_insurance", "tax_bureau")
    assert [one["right_value"] for one in check(desk)] == ["13"]
    assert [one["right_value"] for one in crosscheck.differences(desk.intake.log).to_pylist()] == ["12", "13"]
    assert len(desk.intake.log.entries("crosscheck")) == 3


def test_other_enterprises_months_and_groups_are_other_facts(desk: Desk) -> None:
    desk.deliver([bill("1"), bill("2", B)], "utilities", "power_company")
    other = bill("3", utility="water", billed="1"), bill("4", month_end="2024-02-29", billed="1")
    desk.deliver(other, "utilities", "collector")
    assert check(desk) == []


def test_repaired_and_deleted_records_are_not_compared(desk: Desk) -> None:
    """R59."""
    both(desk, headcount="12")
    desk.wait(days=1)
    named = {"uscc": A, "record_id": "t1", "event_date": "2024-01-31", "revision": "1"}
    desk.deliver([{**named, "op": "dispute_open"}], "social_insurance", "tax_bureau")
    assert check(desk) == []
    desk.deliver([{**named, "op": "dispute_close", "revision": "2"}], "social_insurance", "tax_bureau")
    assert len(check(desk)) == 1
    desk.wait(days=1)
    desk.deliver([{**named, "op": "delete", "revision": "3"}], "social_insurance", "tax_bureau")
    assert check(desk) == []


def environment(record: str, day: str) -> dict[str, Any]:
    row = {"uscc": A, "record_id": record, "event_date": day}
    return {**row, "record_kind": "penalty", "fine_amount": "100.00"}


def test_a_fact_that_the_other_source_lacks_is_a_difference_once_it_is_late(desk: Desk) -> None:
    """R40, R56."""
    desk.deliver([environment("e1", "2024-03-01"), environment("e2", "2024-03-11")], "environment", "ecology")
    [one] = check(desk)
    assert (one["rule"], one["item"], one["right_record"]) == ("environment_penalties", "absent", "e1")
    assert (one["left_source"], one["left_record"]) == ("reform_commission", None)
    desk.deliver([penalty("p1", event_date="2024-03-11")], source="reform_commission")
    desk.wait(days=30)
    assert check(desk) == []


def test_absences_are_those_that_still_stand(desk: Desk) -> None:
    desk.deliver([environment("e1", "2024-03-01")], "environment", "ecology")
    assert crosscheck.absences(desk.store, "reform_commission", "administrative", desk.now.date()) == {"2024-03": 1}
    desk.deliver([penalty("p1", event_date="2024-03-01")], source="reform_commission")
    assert crosscheck.absences(desk.store, "reform_commission", "administrative", desk.now.date()) == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('key = ["uscc", "month"]', 'key = ["month"]'),
        ('key = ["uscc", "month"]', 'key = ["uscc", "colour"]'),
        ('headcount = "headcount"', 'headcount = "due"'),
        ('where = { act_kind = "penalty" }', 'where = { act_kind = "crime" }'),
        ('absent = "left"', 'absent = "both"'),
        ("[contributions]", '["contri butions"]'),
    ],
)
def test_rules_name_what_the_catalogue_has(old: str, new: str) -> None:
    text = crosscheck.FILE.read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(IngestRefused) as caught:
        crosscheck.parse(text.replace(old, new), CATALOGUE)
    assert caught.value.code == "ingest_crosscheck_rules"
