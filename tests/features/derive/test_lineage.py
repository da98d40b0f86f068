"""From a value to the records behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.catalogue.model import UnknownName
from features.derive import explain
from tests.features.derive.test_as_of import day
from tests.features.events import CATALOGUE, Event, Store, penalty


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def records(store: Store, name: str, number: int) -> list[str]:
    return [one["record_id"] for one in explain(store.events.snapshot(), CATALOGUE, "A", name, day(number)).records]


def test_a_value_names_its_records_with_source_batch_and_dates(store: Store) -> None:
    """R37, R46: each record behind a value can be named."""
    licence = Event("administrative", "A", "3", day(12), day(12), items=(("act_kind", "licence"),))
    store.write([penalty("A", "1", day(10), day(14)), penalty("B", "2", day(11), day(11)), licence])
    found = explain(store.events.snapshot(), CATALOGUE, "A", "penalty_cnt_12m", day(20))
    assert found.value == 1
    [record] = found.records
    assert (record["record_id"], record["source"], record["batch"]) == ("1", "source_a", "b1")
    assert (record["event_date"], record["known_at"].date()) == (day(10), day(14))
    assert record["act_kind"] == "penalty"
    assert found.catalogue == CATALOGUE.version


def test_only_records_inside_the_window_stand_behind_a_value(store: Store) -> None:
    store.write([penalty("A", "old", day(0), day(0)), penalty("A", "new", day(300), day(300))])
    assert records(store, "penalty_cnt_12m", 400) == ["new"]
    assert records(store, "penalty_cnt_24m", 400) == ["old", "new"]


def test_the_latest_value_comes_from_one_record(store: Store) -> None:
    def scale(record: str, happened: int, value: str | None) -> Event:
        return Event("registration", "A", record, day(happened), day(happened), items=(("scale", value),))

    store.write([scale("1", 10, "micro"), scale("2", 20, "small"), scale("3", 30, None)])
    assert records(store, "registration_scale", 15) == ["1"]
    assert records(store, "registration_scale", 40) == ["2"]


def test_a_flag_comes_from_the_records_that_raise_it(store: Store) -> None:
    case = ("judicial", "A")
    store.write(
        [
            Event(*case, "open", day(1), day(1), items=(("case_kind", "judgment_defaulter"),)),
            Event(*case, "closed", day(2), day(2), items=(("case_kind", "judgment_defaulter"), ("closed_on", day(9)))),
            Event(*case, "other", day(3), day(3), items=(("case_kind", "lawsuit"),)),
        ]
    )
    assert records(store, "judgment_defaulter_flag", 8) == ["open", "closed"]
    assert records(store, "judgment_defaulter_flag", 9) == ["open"]


def test_a_repaired_record_is_shown_to_nobody(store: Store) -> None:
    """R59."""
    one = penalty("A", "1", day(10), day(10))
    store.write([one, one.later("repair", day(20))])
    assert records(store, "penalty_cnt_12m", 19) == ["1"]
    assert records(store, "penalty_cnt_12m", 20) == []


def test_a_corrected_record_shows_the_version_of_its_date(store: Store) -> None:
    one = penalty("A", "1", day(10), day(10), fine=100)
    store.write([one])
    store.write([one.later("correct", day(20), items=(("act_kind", "penalty"), ("fine_amount", 7)))])
    for number, fine, batch in ((19, 100, "b1"), (20, 7, "b2")):
        [record] = explain(store.events.snapshot(), CATALOGUE, "A", "fine_amount_24m", day(number)).records
        assert (record["fine_amount"], record["batch"]) == (fine, batch)


def test_an_unknown_feature_is_refused(store: Store) -> None:
    with pytest.raises(UnknownName):
        explain(store.events.snapshot(), CATALOGUE, "A", "nothing", day(1))


@pytest.mark.parametrize("category", list(CATALOGUE), ids=lambda category: category.id)
def test_every_feature_can_be_explained(store: Store, category: object) -> None:
    store.write([Event(category.id, "A", "1", day(1), day(1))])
    for feature in category.features[:3]:
        explain(store.events.snapshot(), CATALOGUE, "A", feature.name, day(2))
