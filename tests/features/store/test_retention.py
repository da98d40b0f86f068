"""Records are kept as long as the catalogue says and no longer; what is open stays."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Any

import pytest

from features.derive import ServingView
from features.store import retention
from features.store.engine import connect
from tests.features.events import CATALOGUE, Event, Store, penalty

OLD = dt.date(2018, 3, 1)
TODAY = dt.date(2024, 6, 3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def event(category: str, record: str, happened: dt.date, **items: Any) -> Event:
    return Event(category, "A", record, happened, happened, items=tuple(items.items()))


def left(store: Store, category: str) -> set[str]:
    snapshot = store.events.snapshot()
    files = snapshot.of(category)
    if not files:
        return set()
    with connect() as db:
        return {one for (one,) in db.execute(f"SELECT DISTINCT record_id FROM {snapshot.table(files)}").fetchall()}


def test_a_record_leaves_the_disk_on_the_day_its_time_is_over(store: Store) -> None:
    """Penalties are kept 36 months."""
    store.write([penalty("A", "1", dt.date(2021, 6, 3), dt.date(2021, 6, 4)),
                 penalty("A", "2", dt.date(2021, 6, 4), dt.date(2021, 6, 4))])  # fmt: skip
    assert store.events.expire("administrative", TODAY - dt.timedelta(1)) == 0
    assert store.events.expire("administrative", TODAY) == 1
    assert left(store, "administrative") == {"2"}
    assert {path.name for path in (store.folder / "events").rglob("*.parquet")} == {
        Path(one.path).name for one in store.events.snapshot().files
    }
    store.events.verify()


def test_the_time_begins_with_the_last_day_the_record_bears(store: Store) -> None:
    store.write([event("administrative", "licence", OLD, act_kind="licence", valid_to=dt.date(2023, 1, 1)),
                 event("administrative", "over", OLD, act_kind="licence", valid_to=dt.date(2020, 1, 1))])  # fmt: skip
    store.events.expire("administrative", TODAY)
    assert left(store, "administrative") == {"licence"}


def test_a_record_that_is_open_stays(store: Store) -> None:
    store.write([event("judicial", "open", OLD, case_kind="execution"),
                 event("judicial", "closed", OLD, case_kind="execution", closed_on=dt.date(2018, 6, 1))])  # fmt: skip
    store.events.expire("judicial", TODAY)
    assert left(store, "judicial") == {"open"}


def test_a_correction_prolongs_a_record_and_every_version_goes_together(store: Store) -> None:
    first = event("judicial", "1", OLD, case_kind="execution")
    store.write([first])
    closed = (("case_kind", "execution"), ("closed_on", dt.date(2020, 5, 1)))
    store.write([first.later("correct", dt.date(2020, 5, 2), items=closed)])
    assert store.events.expire("judicial", dt.date(2025, 4, 30)) == 0
    assert store.events.expire("judicial", dt.date(2025, 5, 1)) == 1
    assert store.events.snapshot().of("judicial") == []


def test_what_is_kept_as_long_as_the_enterprise_exists_never_expires(store: Store) -> None:
    kept = [one.id for one in CATALOGUE if one.retention_months == 0]
    assert "registration" in kept
    store.write([event("registration", "1", dt.date(1990, 1, 1), change_kind="establish")])
    assert store.events.expire("registration", dt.date(2100, 1, 1)) == 0


def test_the_copy_by_enterprise_and_the_serving_view_forget_too(store: Store, tmp_path: Path) -> None:
    store.write([event("key_persons", "1", OLD, role="controller", left_on=OLD, linked_enterprises=7),
                 Event("key_persons", "B", "2", TODAY, TODAY, items=(("role", "controller"),))])  # fmt: skip
    store.events.cluster("key_persons")
    view = ServingView(tmp_path / "view", store.events)
    view.rebuild(dt.date(2018, 3, 2))
    store.events.expire("key_persons", TODAY)
    assert not [path for path in (store.folder / "clustered").rglob("*") if path.is_file()]
    view.refresh(TODAY)
    for uscc in ("A", "B"):
        [row] = store.values([(uscc, TODAY)])
        assert view.features(uscc) == {name: value for name, value in row.items() if name not in ("uscc", "as_of")}


def test_a_view_of_the_same_day_forgets_with_the_next_refresh(store: Store, tmp_path: Path) -> None:
    """The month of the last filing is older than the store may keep it."""
    store.write([event("tax", "1", OLD, filing_kind="vat", sales=10)])
    view = ServingView(tmp_path / "view", store.events)
    view.rebuild(TODAY)
    assert view.features("A")["months_since_filing"] is not None
    store.events.expire("tax", TODAY)
    view.refresh(TODAY)
    assert view.features("A")["months_since_filing"] is None


def test_the_rules_name_what_the_catalogue_has() -> None:
    for category, items in tomllib.loads(retention.FILE.read_text(encoding="utf-8")).items():
        known = {item.name: item for item in CATALOGUE.category(category).items}
        for name, said in items.items():
            assert known[name].type == "date"
            assert all(set(codes) <= set(known[other].codes) for other, codes in said.items())
