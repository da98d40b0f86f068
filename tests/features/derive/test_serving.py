"""The serving view: the same values as training, kept up by refreshes, prompt on what is learned in between."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import features.derive.serving
from features.catalogue import parse
from features.catalogue.load import FOLDER
from features.derive import ServingView, ViewRefused
from features.store import EventStore
from features.store.clustered import Part, Places
from tests.features.derive.test_as_of import CODES, day, histories, slow
from tests.features.events import CATALOGUE, Event, Store, penalty


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.write([penalty("A", "1", day(10), day(10)), penalty("B", "2", day(20), day(20))])
    return made


@pytest.fixture
def view(store: Store, tmp_path: Path) -> ServingView:
    made = ServingView(tmp_path / "view", store.events)
    made.rebuild(day(30))
    return made


def trained(store: Store, uscc: str, as_of: dt.date) -> dict[str, Any]:
    [row] = store.values([(uscc, as_of)])
    return {name: value for name, value in row.items() if name not in ("uscc", "as_of")}


def agree(view: ServingView, store: Store, as_of: dt.date) -> None:
    rows = store.values([(code, as_of) for code in CODES])
    for row in rows:
        code = row.pop("uscc")
        assert row.pop("as_of") == as_of
        assert view.features(code) == row


# ---- no skew ---------------------------------------------------------------------------------------------------------


@settings(slow, max_examples=4)
@given(
    histories(),
    st.lists(st.integers(0, 120), min_size=1, max_size=3),
    st.integers(0, 600),
    st.sets(st.sampled_from(["before", "cluster", "compact", *range(3)])),
)
def test_serving_and_training_give_the_same_after_any_refreshes(
    events: list[Event], steps: list[int], first: int, upkeep: set[str | int]
) -> None:
    """The view is built, the store learns more, is kept tidy, days pass; every value is the one training computes."""
    half = max(1, len(events) // 2)
    with TemporaryDirectory() as name:
        store = Store(Path(name) / "store")
        store.write(events[:half])
        view = ServingView(Path(name) / "view", store.events)
        view.rebuild(day(first))

        def tidy() -> None:
            for category in {one.category for one in store.events.snapshot().files}:
                if "compact" in upkeep:
                    store.events.compact(category)
                if "cluster" in upkeep:
                    store.events.cluster(category)

        if "before" in upkeep:
            tidy()
        store.write(events[half:] or events[:1])
        agree(view, store, day(first))
        for number, step in enumerate(steps):
            if number in upkeep:
                tidy()
            first += step
            view.refresh(day(first))
            agree(view, store, day(first))


def test_an_enterprise_of_which_nothing_is_known_has_the_catalogue_s_values(store: Store, view: ServingView) -> None:
    assert view.features("Z") == trained(store, "Z", day(30))


def test_every_feature_is_served(view: ServingView) -> None:
    assert set(view.features("A")) == {feature.name for feature in CATALOGUE.features}


# ---- promptness ------------------------------------------------------------------------------------------------------


def test_a_repair_bites_before_the_next_refresh(store: Store, view: ServingView) -> None:
    """R59."""
    assert view.features("A")["penalty_cnt_12m"] == 1
    store.write([penalty("A", "1", day(10), day(10)).later("repair", day(30))])
    assert view.features("A")["penalty_cnt_12m"] == 0
    assert view.features("B")["penalty_cnt_12m"] == 1


def test_what_becomes_known_after_the_view_s_date_waits_for_the_refresh(store: Store, view: ServingView) -> None:
    store.write([penalty("A", "3", day(31), day(31))])
    assert view.features("A")["penalty_cnt_12m"] == 1
    view.refresh(day(31))
    assert view.features("A")["penalty_cnt_12m"] == 2


def test_a_record_that_moves_to_another_enterprise_is_served_at_both(store: Store, view: ServingView) -> None:
    store.write([penalty("A", "1", day(10), day(10)).later("correct", day(29), uscc="B")])
    assert [view.features(code)["penalty_cnt_12m"] for code in CODES] == [0, 2]
    view.refresh(day(30))
    assert [view.features(code)["penalty_cnt_12m"] for code in CODES] == [0, 2]


# ---- refresh ---------------------------------------------------------------------------------------------------------


def test_a_refresh_computes_only_what_can_have_changed(store: Store, view: ServingView) -> None:
    store.write([penalty("A", "3", day(31), day(31))])
    counts = view.refresh(day(31))
    assert {name: count for name, count in counts.items() if count} == {"administrative": 1}
    assert sum(view.refresh(day(32)).values()) == 0


def test_an_enterprise_is_computed_once_however_much_is_learned_of_it(store: Store, view: ServingView) -> None:
    store.write([Event("utilities", "A", n, day(2), day(31), items=(("billed", 1),)) for n in "345"])
    assert view.refresh(day(31))["utilities"] == 1


def test_merging_the_store_s_files_makes_nothing_new_to_compute(store: Store, view: ServingView) -> None:
    store.write([penalty("A", "3", day(30), day(30))])
    store.write([penalty("B", "4", day(31), day(31))])
    view.refresh(day(30))
    store.events.compact("administrative")
    assert len(store.events.snapshot().of("administrative")) == 2, "January and February"
    assert view.features("A") == trained(store, "A", day(30))
    assert view.refresh(day(31))["administrative"] == 1
    store.write([penalty("A", "5", day(32), day(32))])
    store.events.compact("administrative")
    assert view.refresh(day(32))["administrative"] == 2, "the merged file holds what is new of A, and with it B"
    agree(view, store, day(32))


@pytest.mark.parametrize("clustered", [False, True])
def test_a_window_that_moves_over_a_record_is_noticed(store: Store, view: ServingView, clustered: bool) -> None:
    if clustered:
        store.events.cluster("administrative")
    view.refresh(day(374))
    assert view.features("A")["penalty_cnt_12m"] == 1
    assert view.refresh(day(375)) == {**dict.fromkeys((c.id for c in CATALOGUE), 0), "administrative": 1}
    assert view.features("A")["penalty_cnt_12m"] == 0


def test_files_of_many_refreshes_are_merged(
    store: Store, view: ServingView, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(features.derive.serving, "_MERGE_AFTER", 2)
    for number in range(5):
        store.write([penalty("A", f"n{number}", day(31 + number), day(31 + number))])
        view.refresh(day(31 + number))
        agree(view, store, day(31 + number))
    pointer = json.loads((tmp_path / "view" / "current.json").read_text())
    assert max(len(names) for names in pointer["files"].values()) <= 2
    assert len(list((tmp_path / "view").glob("*.view.rows"))) == sum(len(names) for names in pointer["files"].values())


def test_the_whole_file_is_merged_only_once_refreshes_add_up_to_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(features.derive.serving, "_MERGE_AFTER", 2)
    store.write([penalty(f"E{number}", f"e{number}", day(5), day(5)) for number in range(8)])
    view = ServingView(tmp_path / "view", store.events)
    view.rebuild(day(30))

    def whole() -> str:
        pointer = json.loads((tmp_path / "view" / "current.json").read_text())
        return str(pointer["files"]["administrative"][0])

    first = whole()
    for number in range(6):
        store.write([penalty(f"E{number}", f"n{number}", day(31 + number), day(31 + number))])
        view.refresh(day(31 + number))
        assert view.features(f"E{number}") == trained(store, f"E{number}", day(31 + number))
        assert (whole() == first) == (number < 4), "of ten enterprises, five"
    agree(view, store, day(36))


def test_another_reader_sees_the_new_view_at_once(store: Store, view: ServingView, tmp_path: Path) -> None:
    reader = ServingView(tmp_path / "view", EventStore(store.folder, CATALOGUE))
    assert reader.as_of == day(30)
    view.refresh(day(40))
    assert reader.as_of == day(40)
    assert reader.features("A") == trained(store, "A", day(40))


def test_a_refresh_that_dies_leaves_the_old_view(
    store: Store, view: ServingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([penalty("A", "3", day(31), day(31))])

    def die(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(ServingView, "_publish", die)
        with pytest.raises(OSError, match="no space"):
            view.refresh(day(31))
    assert view.as_of == day(30)
    assert view.features("A") == trained(store, "A", day(30))
    view.refresh(day(31))
    assert view.features("A") == trained(store, "A", day(31))


# ---- the copy in the order of enterprises ----------------------------------------------------------------------------


def test_a_value_is_the_same_from_the_copy_and_from_the_files(store: Store) -> None:
    names = [f"{code}{n}" for code in CODES for n in range(9)]
    store.write([penalty(one, f"{one}-{n}", day(n), day(n), n) for one in names for n in range(5)])
    store.write([penalty("A3", "A3-1", day(1), day(1)).later("correct", day(2), uscc="A4")])
    pairs = [(one, day(25)) for one in [*names, "A", "B", "Z", ""]]
    before = store.values(pairs)
    store.events.cluster("administrative")
    store.write([penalty("A0", "later", day(20), day(21)), penalty("A1", "A1-1", day(1), day(1), 1)])
    repaired = penalty("A2", "A2-1", day(1), day(1)).later("repair", day(22))
    store.write([repaired, penalty("A3", "A3-1", day(1), day(1)).later("correct", day(3), "r2", uscc="A5")])
    copied = store.values(pairs)
    shutil.rmtree(store.folder / "clustered")
    assert copied == store.values(pairs)
    changed = [a["uscc"] for a, b in zip(before, copied, strict=True) if a != b]
    assert changed == ["A0", "A2", "A4", "A5"]


def test_the_copy_is_used_where_it_covers_and_passed_over_where_files_were_merged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([penalty("A", "9", day(11), day(11)), penalty("A", "1", day(10), day(10), 5)])
    store.events.cluster("administrative")
    asked = []
    find = Part.find

    def counted(self: Part, owners: Iterable[str]) -> Places:
        asked.append(owners := list(owners))
        return find(self, owners)

    monkeypatch.setattr(Part, "find", counted)
    assert store.value("A", "penalty_cnt_12m", day(30)) == 2
    assert asked == [["A"], ["A"]]
    store.events.compact("administrative")
    assert store.value("A", "penalty_cnt_12m", day(30)) == 2
    assert len(asked) == 2


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_there_is_no_view_before_the_first_build(store: Store, tmp_path: Path) -> None:
    empty = ServingView(tmp_path / "none", store.events)
    for ask in (lambda: empty.features("A"), lambda: empty.refresh(day(1))):
        with pytest.raises(ViewRefused) as refused:
            ask()
        assert refused.value.code == "view_missing"


def test_time_does_not_run_backwards(view: ServingView) -> None:
    with pytest.raises(ViewRefused, match="rebuild") as refused:
        view.refresh(day(29))
    assert refused.value.code == "view_backwards"


def test_a_view_of_another_catalogue_is_not_served(store: Store, view: ServingView, tmp_path: Path) -> None:
    """R41: training and serving rest on one dictionary."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.toml")}
    texts["tax.toml"] = texts["tax.toml"].replace("arrears > 0", "arrears > 1")
    other = ServingView(tmp_path / "view", EventStore(store.folder, parse(texts)))
    with pytest.raises(ViewRefused) as refused:
        other.features("A")
    assert refused.value.code == "view_catalogue"
