"""`creditlab features`: what it prints and how it exits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features.catalogue.load import FOLDER
from features.derive.cli import app
from tests.features.derive.test_as_of import day
from tests.features.events import Store, penalty, spine

runner = CliRunner()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.write([penalty("91449901M0000001XA", "no-1", day(10), day(12))])
    return made


def ask(store: Store, feature: str, *more: str) -> object:
    line = ["explain", "91449901M0000001XA", feature, "--store", str(store.folder), "--as-of", str(day(20)), *more]
    return runner.invoke(app, line, env={"COLUMNS": "200"})


def test_explain_lists_the_records_with_source_batch_and_dates(store: Store) -> None:
    result = ask(store, "penalty_cnt_12m")
    assert result.exit_code == 0, result.output
    for piece in ("no-1", "source_a", "b1", str(day(10)), str(day(12)), "近12个月行政处罚次数", "1.0", "records: 1"):
        assert piece in result.output


def test_explain_as_json(store: Store) -> None:
    told = json.loads(ask(store, "penalty_cnt_12m", "--json").output)
    assert (told["value"], told["as_of"]) == (1.0, str(day(20)))
    assert told["records"][0]["record_id"] == "no-1"


def test_an_unknown_feature_or_store_is_refused_in_both_languages(store: Store, tmp_path: Path) -> None:
    result = ask(store, "penalty_cnt")
    assert result.exit_code == 1
    assert "目录中没有特征" in result.output
    assert "no feature `penalty_cnt`" in result.output
    shutil.rmtree(store.folder)
    result = ask(store, "penalty_cnt_12m")
    assert result.exit_code == 1
    assert "store_missing" in result.output
    assert not store.folder.exists(), "asking makes no store"


def test_build_and_refresh(store: Store, tmp_path: Path) -> None:
    where = ["--store", str(store.folder), "--view", str(tmp_path / "view"), "--as-of"]
    assert runner.invoke(app, ["refresh", *where, str(day(20))]).exit_code == 1
    assert runner.invoke(app, ["build", *where, str(day(20))]).exit_code == 0
    store.write([penalty("91449901M0000001XA", "no-2", day(20), day(21))])
    result = runner.invoke(app, ["refresh", *where, str(day(21))])
    assert result.exit_code == 0, result.output
    assert "administrative: 1" in result.output


def test_a_table_for_modelling_is_written_once(store: Store, tmp_path: Path) -> None:
    pairs = spine([("91449901M0000001XA", day(20)), ("91449901M0000001XA", day(11))])
    pq.write_table(pairs, tmp_path / "spine.parquet")
    line = ["table", str(tmp_path / "spine.parquet"), "--store", str(store.folder), "--out", str(tmp_path / "out")]
    assert runner.invoke(app, line).exit_code == 0
    assert pq.read_table(tmp_path / "out").column("penalty_cnt_12m").to_pylist() == [0, 1]
    again = runner.invoke(app, line)
    assert (again.exit_code, "out_exists" in again.output) == (1, True)
    pq.write_table(pairs.drop_columns("as_of"), tmp_path / "spine.parquet")
    wrong = runner.invoke(app, [*line[:-1], str(tmp_path / "other")])
    assert (wrong.exit_code, "spine_unreadable" in wrong.output) == (1, True)


def test_diff_names_what_is_touched(tmp_path: Path) -> None:
    old = Path(shutil.copytree(FOLDER, tmp_path / "old"))
    text = (old / "tax.toml").read_text(encoding="utf-8")
    (old / "tax.toml").write_text(text.replace("arrears > 0", "arrears > 1"), encoding="utf-8")
    result = runner.invoke(app, ["diff", str(old)])
    assert result.exit_code == 0, result.output
    assert "~ feature tax_arrears_months: sql" in result.output
    assert "touched 受影响的特征: tax_arrears_months" in result.output


def test_upkeep_changes_no_value(store: Store) -> None:
    store.write([penalty("91449901M0000001XA", "no-2", day(11), day(13))])
    before = ask(store, "penalty_cnt_12m", "--json").output
    assert runner.invoke(app, ["upkeep", "--store", str(store.folder)]).exit_code == 0
    assert (store.folder / "clustered" / "administrative" / "current.json").exists()
    assert len(store.events.snapshot().files) == 1
    assert ask(store, "penalty_cnt_12m", "--json").output == before


def test_what_may_no_longer_be_kept_is_deleted(store: Store) -> None:
    done = runner.invoke(app, ["expire", "--store", str(store.folder), "--as-of", "2099-01-01"])
    assert done.exit_code == 0, done.output
    assert "administrative: 1" in done.output
    assert store.events.snapshot().files == ()
