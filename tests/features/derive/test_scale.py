"""The same features by more than one machine: equal, whatever the parts."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import features_build
from features import uscc
from features.derive import build
from features.derive.scale import _parts, build_apart
from features.store import EventStore
from tests.features.events import CATALOGUE, Store, penalty, spine

RECORDS, ENTERPRISES = 6_000, 60
DATES = (dt.date(2024, 11, 12), dt.date(2024, 10, 20))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of every category with corrections, repairs, disputes and deletions, loaded within two months."""
    import numpy as np

    folder = tmp_path_factory.mktemp("apart")
    names = uscc.simulate(np.random.default_rng(1), ENTERPRISES)
    tables = {}
    with duckdb.connect() as db:
        db.register("codes", pa.table({"number": np.arange(ENTERPRISES), "uscc": names}))
        for category in CATALOGUE:
            count = RECORDS // 17
            dates = features_build.FIRST, features_build.AS_OF
            sizes = 0, count, count, ENTERPRISES
            both = [features_build.events(category, *sizes, late, *dates) for late in (False, True)]
            known = "TIMESTAMP '2024-10-01' + (known_at - TIMESTAMP '2020-01-01') / 40 AS known_at"
            query = f"SELECT * REPLACE ({known}) FROM ({' UNION ALL '.join(both)})"
            tables[category.id] = db.sql(query).to_arrow_table()
    store = EventStore(folder / "store", CATALOGUE)
    store.write("all", tables)
    pairs = [(name, day) for name in [*names, "nobody"] for day in DATES]
    pq.write_table(spine(pairs), folder / "spine.parquet")
    return folder


def same(found: pa.Table, wanted: pa.Table) -> bool:
    ordered = found.sort_by([("uscc", "ascending"), ("as_of", "ascending")])
    return bool(ordered.cast(wanted.schema).combine_chunks().equals(wanted.combine_chunks()))


def test_a_cluster_of_two_workers_gives_what_one_machine_gives(folder: Path) -> None:
    """Every feature of the catalogue, at two dates, through Daft on Ray: value for value."""
    log = folder / "log"
    with log.open("w") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.features.derive.apart", str(folder)],
            stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            ended = child.wait(150)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
    assert ended == 0, log.read_text()[-3000:]
    wanted = build(
        EventStore(folder / "store", CATALOGUE).snapshot(), CATALOGUE, pq.read_table(folder / "spine.parquet")
    )
    assert same(pq.read_table(folder / "features"), wanted)
    filled = [name for name in wanted.column_names if wanted.column(name).null_count < len(wanted)]
    assert len(filled) > 150  # equal, and not for being empty
    assert len(json.loads((folder / "nodes.json").read_text())) == 2


def test_parts_without_a_cluster_give_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = penalty("A", "1", dt.date(2023, 1, 10), dt.date(2023, 1, 10))
    store.write([first, penalty("B", "2", dt.date(2023, 1, 11), dt.date(2023, 1, 12))])
    store.write([first.later("correct", dt.date(2023, 2, 1), uscc="C")])
    pairs = spine([(name, day) for name in "ABCD" for day in (dt.date(2023, 1, 31), dt.date(2023, 2, 1))])
    snapshot = store.events.snapshot()
    names = ["penalty_cnt_12m", "fine_amount_24m", "licence_cnt"]
    assert same(build_apart(snapshot, CATALOGUE, pairs, names, pairs=3).to_arrow(),
                build(snapshot, CATALOGUE, pairs, names))  # fmt: skip


def test_a_worker_that_sees_another_store_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.write([penalty("A", "1", dt.date(2023, 1, 10), dt.date(2023, 1, 10))])
    pairs = spine([("A", dt.date(2023, 2, 1))])
    frame = build_apart(store.events.snapshot(), CATALOGUE, pairs, ["penalty_cnt_12m"])
    store.write([penalty("A", "2", dt.date(2023, 1, 10), dt.date(2023, 1, 10))])
    with pytest.raises(Exception, match="share the store"):
        frame.to_arrow()


@given(
    st.lists(st.tuples(st.sampled_from("ABCDE"), st.dates(dt.date(2020, 1, 1), dt.date(2020, 1, 5)))),
    st.integers(1, 7),
)
def test_every_pair_is_in_exactly_one_part(pairs: list[tuple[str, dt.date]], size: int) -> None:
    names, days = [one for one, _ in pairs], [day for _, day in pairs]
    table = pa.table({"uscc": pa.array(names, pa.string()), "as_of": pa.array(days, pa.date32())})
    parts = _parts(table, size).column("pairs").to_pylist()
    found = [(pair["uscc"], pair["as_of"]) for part in parts for pair in part]
    assert sorted(found) == sorted(set(pairs))
    assert all(len(part) <= size for part in parts)
