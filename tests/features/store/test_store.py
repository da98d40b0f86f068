"""The bitemporal store: whole batches or nothing, delivered any number of times, never changed."""

from __future__ import annotations

import datetime as dt
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from features.catalogue.model import UnknownName
from features.store import EventStore, StoreRefused
from tests.features.events import CATALOGUE, Store, penalty

DAY = dt.date(2024, 3, 10)
KNOWN = dt.date(2024, 3, 12)


def days(count: int) -> dt.date:
    return KNOWN + dt.timedelta(days=count)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def rows(store: Store, kind: str | None = None) -> int:
    return sum(one.rows for one in store.events.snapshot().of("administrative", kind))


# ---- delivery --------------------------------------------------------------------------------------------------------


def test_files_lie_by_category_and_month_of_becoming_known(store: Store) -> None:
    store.write([penalty("A", "1", DAY, KNOWN), penalty("A", "2", DAY, dt.date(2024, 4, 1))])
    files = store.events.snapshot().files
    assert sorted(one.path.rpartition("/")[0] for one in files) == [
        "events/administrative/2024-03",
        "events/administrative/2024-04",
    ]


def test_a_batch_may_be_delivered_again(store: Store) -> None:
    """R37, R55: what the store has already is counted, not written."""
    events = [penalty("A", "1", DAY, KNOWN), penalty("B", "2", DAY, KNOWN)]
    first, again = store.write(events), store.write(events)
    assert (first.delivered, first.written, first.redelivered) == (2, 2, 0)
    assert (again.delivered, again.written, again.redelivered) == (2, 0, 2)
    assert again.seq == first.seq
    assert rows(store) == 2


def test_a_row_twice_in_one_batch_is_one_record(store: Store) -> None:
    receipt = store.write([penalty("A", "1", DAY, KNOWN)] * 3)
    assert (receipt.written, receipt.redelivered) == (1, 2)


def test_the_same_number_of_another_source_is_another_record(store: Store) -> None:
    from dataclasses import replace

    one = penalty("A", "1", DAY, KNOWN)
    assert store.write([one, replace(one, source="source_b")]).written == 2
    assert rows(store, "base") == 2


def test_a_changed_record_keeps_every_version(store: Store) -> None:
    one = penalty("A", "1", DAY, KNOWN)
    store.write([one])
    store.write([one.later("correct", days(1), items=(("fine_amount", 7),))])
    assert rows(store, "amended") == 2, "the first version lies beside the second"


def test_what_was_known_later_does_not_hide_what_was_known_before(store: Store) -> None:
    """A late file with an earlier date of becoming known is news; one with a later date is none."""
    store.write([penalty("A", "1", DAY, days(5))])
    assert store.write([penalty("A", "1", DAY, days(9))]).written == 0
    assert store.write([penalty("A", "1", DAY, days(2))]).written == 1
    assert store.value("A", "penalty_cnt_12m", days(3)) == 1
    assert store.value("A", "penalty_cnt_12m", days(1)) == 0


def test_each_event_keeps_source_batch_and_dates(store: Store) -> None:
    """R37: time, object, method of each collection."""
    import duckdb

    store.write([penalty("A", "1", DAY, KNOWN)])
    snapshot = store.events.snapshot()
    [row] = duckdb.sql(f"SELECT source, batch, event_date, known_at FROM {snapshot.table(snapshot.files)}").fetchall()
    assert row == ("source_a", "b1", DAY, dt.datetime(2024, 3, 12, 8))


# ---- all or nothing --------------------------------------------------------------------------------------------------


def test_a_batch_over_several_categories_shows_at_once_or_not_at_all(store: Store) -> None:
    good = pa.table({"uscc": ["A"], "record_id": ["1"], "event_date": [DAY]})
    bad = good.append_column("strange", pa.array([1]))
    with pytest.raises(StoreRefused):
        store.events.write(
            "b", {"administrative": good, "judicial": bad}, source="s", known_at=dt.datetime(2024, 3, 12)
        )
    assert store.events.snapshot().files == ()


@pytest.mark.parametrize("place", ["os.fsync", "os.link", "hashlib.file_digest"])
def test_a_writer_killed_in_the_middle_leaves_nothing_half_visible(tmp_path: Path, place: str) -> None:
    """A batch that dies before its commit does not exist; the next delivery is complete."""
    program = textwrap.dedent(f"""
        import os, signal, hashlib, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path.cwd())!r})
        from tests.features.store.test_store import DAY, KNOWN, days
        from tests.features.events import Store, penalty
        store = Store(Path({str(tmp_path / "store")!r}))
        store.write([penalty("A", "1", DAY, KNOWN)])
        calls = 0
        def die(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        {place} = die
        store.write([penalty("A", "2", DAY, days(40)), penalty("B", "3", DAY, KNOWN)])
    """)
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    store = Store(tmp_path / "store")
    assert rows(store) == 1
    store.events.verify()
    assert store.events.sweep(), "what was left behind is removed"
    receipt = store.write([penalty("A", "2", DAY, days(40)), penalty("B", "3", DAY, KNOWN)])
    assert receipt.written == 2
    assert rows(store) == 3
    assert store.events.sweep() == []


def test_a_snapshot_stays_as_it_was_while_others_write(store: Store) -> None:
    store.write([penalty("A", "1", DAY, KNOWN)])
    before = store.events.snapshot()
    store.write([penalty("A", "2", DAY, KNOWN)])
    assert len(before.files) == 1
    assert len(store.events.snapshot().files) == 2


def test_a_missing_commit_is_noticed(store: Store) -> None:
    for number in range(3):
        store.write([penalty("A", str(number), DAY, KNOWN)])
    (store.folder / "manifest" / "0000000002.json").unlink()
    with pytest.raises(StoreRefused, match="not commit 2") as refused:
        store.events.snapshot()
    assert refused.value.code == "store_manifest"


def test_a_changed_file_is_noticed(store: Store) -> None:
    store.write([penalty("A", "1", DAY, KNOWN)])
    [one] = store.events.snapshot().files
    with (store.folder / one.path).open("r+b") as stream:
        stream.seek(20)
        stream.write(b"x")
    with pytest.raises(StoreRefused, match="missing or not as written"):
        store.events.verify()


def test_commits_of_an_unknown_format_are_refused(store: Store) -> None:
    store.write([penalty("A", "1", DAY, KNOWN)])
    path = store.folder / "manifest" / "0000000001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": "other/2"}))
    with pytest.raises(StoreRefused, match="0000000001"):
        store.events.snapshot()


# ---- what may be written ---------------------------------------------------------------------------------------------


def one_row(**columns: object) -> pa.Table:
    row = {"uscc": "A", "record_id": "1", "event_date": DAY, **columns}
    return pa.table({name: [value] for name, value in row.items()})


@pytest.mark.parametrize(
    ("category", "columns", "code", "word"),
    [
        ("administrative", {"colour": "red"}, "store_unknown_column", "colour"),
        ("administrative", {"fine_amount": "much"}, "store_column_type", "fine_amount"),
        ("administrative", {"uscc": ""}, "store_empty", "uscc"),
        ("administrative", {"record_id": None}, "store_empty", "record_id"),
        ("administrative", {"op": "erase"}, "store_unknown_op", "op"),
        ("administrative", {"op": "delete"}, "store_no_revision", "revision"),
        ("registration", {"op": "repair", "revision": "r"}, "store_no_repair", "repaired"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused_whole(
    store: Store, category: str, columns: dict[str, object], code: str, word: str
) -> None:
    with pytest.raises(StoreRefused, match=word) as refused:
        store.events.write("b", {category: one_row(**columns)}, source="s", known_at=dt.datetime(2024, 3, 12))
    assert refused.value.code == code
    assert CATALOGUE.category(category).zh in refused.value.message_zh
    assert store.events.snapshot().files == ()


def test_a_table_without_a_source_or_a_date_is_refused(store: Store) -> None:
    """R37: nothing is stored of which it is not known from whom and when it came."""
    with pytest.raises(StoreRefused, match="known_at"):
        store.events.write("b", {"administrative": one_row()}, source="s")
    with pytest.raises(StoreRefused, match="source"):
        store.events.write("b", {"administrative": one_row()}, known_at=dt.datetime(2024, 3, 12))


def test_an_unknown_category_is_refused(store: Store) -> None:
    with pytest.raises(UnknownName, match="administrativ"):
        store.events.write("b", {"administrativ": one_row()}, source="s", known_at=dt.datetime(2024, 3, 12))


# ---- upkeep ----------------------------------------------------------------------------------------------------------


def test_merging_files_changes_no_value(store: Store) -> None:
    events = [penalty(code, f"{code}{n}", DAY, days(n), 10 * n) for code in "ABC" for n in range(6)]
    for start in range(0, len(events), 4):
        store.write(events[start : start + 4])
    store.write([events[0].later("repair", days(7))])
    pairs = [(code, days(n)) for code in "ABC" for n in (0, 3, 8)]
    before = store.values(pairs)
    files = len(store.events.snapshot().files)
    store.events.compact("administrative")
    assert len(store.events.snapshot().files) < files
    assert store.values(pairs) == before
    assert store.events.sweep()
    store.events.verify()
    assert store.values(pairs) == before


def test_a_new_item_reads_as_missing_in_old_files(store: Store, tmp_path: Path) -> None:
    from features.catalogue import parse
    from features.catalogue.load import FOLDER

    store.write([penalty("A", "1", DAY, KNOWN)])
    texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.toml")}
    texts["administrative.toml"] += (
        '\n[[items]]\nname = "office"\nzh = "机关"\nen = "Office"\ntype = "text"\n'
        '\n[[features]]\nname = "office"\nzh = "机关"\nen = "Office"\nsql = "latest(office)"\nkind = "text"\n'
        'direction = "neutral"\nmissing = "unknown"\nwhy_zh = "无"\nwhy_en = "none"\n'
    )
    newer = EventStore(store.folder, parse(texts))
    assert newer.write("again", {"administrative": one_row(act_kind="penalty", fine_amount=100)}, source="source_a",
                       known_at=dt.datetime(2024, 3, 12, 8)).written == 0  # fmt: skip
    newer.write("new", {"administrative": one_row(record_id="2", office="x")}, source="source_a",
                known_at=dt.datetime(2024, 3, 12, 8))  # fmt: skip
    from features.derive import build
    from tests.features.events import spine

    [row] = build(newer.snapshot(), newer.catalogue, spine([("A", KNOWN)]), ["office", "penalty_cnt_12m"]).to_pylist()
    assert (row["office"], row["penalty_cnt_12m"]) == ("x", 1)


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from tests.features.store.test_store import DAY, KNOWN
        from tests.features.events import Store, penalty
        store = Store(Path(sys.argv[2]))
        for number in range(5):
            store.write([penalty("A", "shared", DAY, KNOWN), penalty("A", sys.argv[3] + str(number), DAY, KNOWN)])
    """)
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(Path.cwd()), str(tmp_path / "store"), name])
        for name in ("x", "y")
    ]
    assert [one.wait() for one in both] == [0, 0]
    assert rows(Store(tmp_path / "store")) == 11
