"""A day's work on a view, category beside category: the same as one after another, and whole or not at all."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.derive import ServingView
from features.derive import day as days
from features.derive.day import side_by_side
from tests.features.derive.test_as_of import CODES, day, histories, slow
from tests.features.events import Event, Store, penalty


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.write([penalty("A", "1", day(10), day(10)), *bills(("1", 11), ("2", 12))])
    return made


def bills(*given: tuple[str, int]) -> list[Event]:
    return [Event("utilities", "A", number, day(of), day(of), items=(("billed", 5),)) for number, of in given]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@settings(slow, max_examples=3)
@given(histories(), st.integers(0, 600), st.integers(1, 120), st.booleans())
def test_a_day_gives_the_same_by_one_thread_and_by_several(
    events: list[Event], first: int, step: int, clustered: bool
) -> None:
    """Side by side, one after another, or each by all threads."""
    half = max(1, len(events) // 2)
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        store = Store(Path(name) / "store")
        store.write(events[:half])
        views = [
            (ServingView(Path(name) / "one", store.events, threads=1), 100),
            (ServingView(Path(name) / "several", store.events, threads=3), 100),
            (ServingView(Path(name) / "all", store.events, threads=3), 0),
        ]
        for view, _ in views:
            view.rebuild(day(first))
        for category in {one.category for one in events[:half]} if clustered else ():
            store.events.cluster(category)
        store.write(events[half:] or events[:1])
        found: list[Any] = []
        for view, few in views:
            patch.setattr(days, "_FEW", few)
            counts = view.refresh(day(first + step))
            found.append((list(counts.items()), [view.features(code) for code in CODES]))
        assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("threads", "failing"), [(1, "utilities"), (2, "administrative")])
def test_a_category_that_fails_leaves_the_old_view_and_no_other_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, failing: str
) -> None:
    view = ServingView(tmp_path / "view", store.events, threads=threads)
    view.rebuild(day(30))
    before, values = content(tmp_path / "view"), view.features("A")
    store.write([penalty("A", "3", day(31), day(31)), *bills(("4", 31))])
    fetch = days.fetch

    def fails(db: Any, snapshot: Any, category: Any, only: str) -> Any:
        if category.id == failing:
            raise OSError("no space left")
        return fetch(db, snapshot, category, only)

    with monkeypatch.context() as patch:
        patch.setattr(days, "fetch", fails)
        with pytest.raises(OSError, match="no space left"):
            view.refresh(day(31))
    assert content(tmp_path / "view") == before
    assert view.as_of == day(30)
    assert view.features("A") == values
    assert {name for name, count in view.refresh(day(31)).items() if count} == {"administrative", "utilities"}
    assert view.features("A")["penalty_cnt_12m"] == 2


def test_a_pointer_that_cannot_be_written_leaves_no_other_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = ServingView(tmp_path / "view", store.events)

    def die(*_: object) -> None:
        raise OSError("no space left")

    for make, files in ((view.rebuild, 0), (view.refresh, 1)):
        if files:
            view.rebuild(day(30))
            store.write([penalty("A", "3", day(31), day(31))])
        before = content(tmp_path / "view")
        with monkeypatch.context() as patch:
            patch.setattr(ServingView, "_publish", die)
            with pytest.raises(OSError, match="no space left"):
                make(day(31))
        assert content(tmp_path / "view") == before
        assert bool(before) == bool(files)


def test_after_a_failure_nothing_else_is_begun() -> None:
    begun = []

    def work(task: int) -> None:
        begun.append(task)
        if task == 1:
            raise ValueError("the second")

    with pytest.raises(ValueError, match="the second"):
        side_by_side(work, range(50), 1)
    assert begun == [0, 1]


def test_what_is_under_way_ends_before_a_failure_is_told() -> None:
    """Else it would still write while the folder is tidied."""
    ended = threading.Event()
    both = threading.Barrier(2)

    def work(task: int) -> None:
        both.wait(10)
        if task:
            raise ValueError("the second")
        time.sleep(0.1)
        ended.set()

    with pytest.raises(ValueError, match="the second"):
        side_by_side(work, range(2), 2)
    assert ended.is_set()


def test_answers_come_in_the_order_of_the_tasks() -> None:
    """Two are at work at once: the first waits for the second."""
    second = threading.Event()

    def work(task: int) -> int:
        if task:
            second.set()
        elif not second.wait(10):
            raise TimeoutError("nothing else was at work")
        return task * task

    assert side_by_side(work, range(4), 2) == [0, 1, 4, 9]
