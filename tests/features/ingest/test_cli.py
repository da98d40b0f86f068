"""`creditlab features ingest`: what it prints and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy
from typer.testing import CliRunner, Result

from features.derive.cli import app
from tests.features.ingest.desk import A, Desk, entry_of_register, penalty, write_csv

runner = CliRunner()


@pytest.fixture
def where(tmp_path: Path) -> list[str]:
    return ["--store", str(tmp_path / "store")]


def ask(*line: str) -> Result:
    return runner.invoke(app, ["ingest", *line], env={"COLUMNS": "300"})


def header(source: str = "justice", category: str = "administrative") -> list[str]:
    return ["--source", source, "--category", category, "--object", "处罚", "--submitter", "Wang"]


def test_from_a_file_to_a_corrected_record(tmp_path: Path, where: list[str]) -> None:
    """R37, R54."""
    data = write_csv(tmp_path / "a.csv", [penalty("1"), penalty("2", fine_amount="-5")])
    result = ask("load", str(data), *where, "--new", *header())
    assert result.exit_code == 2, result.output
    assert "accepted 合格 1" in result.output and "out_of_range: 1" in result.output and "错误报告" in result.output
    held = tmp_path / "held.csv"
    assert ask("quarantine", *where, "--category", "administrative", "--out", str(held)).exit_code == 0
    held.write_text(held.read_text("utf-8").replace("-5", "5"), encoding="utf-8")
    result = ask("correct", str(held), *where, "--by", "Li Si")
    assert result.exit_code == 0, result.output
    assert ask("verify", *where).exit_code == 0
    told = json.loads(ask("log", *where, "--json").output)
    assert [entry["kind"] for entry in told] == ["collection", "correction"]
    assert "处罚" in ask("log", *where).output


def test_a_folder_with_its_header(tmp_path: Path, where: list[str]) -> None:
    write_csv(tmp_path / "a.csv", [penalty("1")])
    (tmp_path / "batch.toml").write_text(
        'file = "a.csv"\nsource = "justice"\ncategory = "administrative"\n'
        'object = "x"\nmethod = "file"\nsubmitter = "y"\n',
        encoding="utf-8",
    )
    result = ask("load", str(tmp_path), *where, "--new", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)[0]["counts"]["written"] == 1


def test_a_query_takes_its_address_from_the_environment(
    tmp_path: Path, where: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with sqlalchemy.create_engine(url).begin() as db:
        db.execute(sqlalchemy.text("CREATE TABLE t (uscc, record_id, event_date, act_kind)"))
        db.execute(sqlalchemy.text("INSERT INTO t VALUES (:a, '1', '2024-01-01', 'reward')"), {"a": A})
    query = tmp_path / "q.sql"
    query.write_text("SELECT * FROM t", encoding="utf-8")
    line = ["query", str(query), *where, "--new", "--database-env", "SOURCE_DATABASE", *header()]
    assert "ingest_database_address" in ask(*line).output
    monkeypatch.setenv("SOURCE_DATABASE", url)
    result = ask(*line, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)[0]["method"] == "database"


def test_matches_are_listed_confirmed_and_rejected(tmp_path: Path, where: list[str]) -> None:
    """R38."""
    desk = Desk(tmp_path)
    desk.registry([entry_of_register("r1", A, None, "甲公司")])
    desk.deliver([penalty("1", None, enterprise_name="甲公司")])
    assert "甲公司" in ask("matches", *where).output
    [match] = json.loads(ask("matches", *where, "--json").output)
    result = ask("matches", *where, "--confirm", match["id"], "--by", "Li Si")
    assert result.exit_code == 0, result.output
    assert "new 新增 1" in result.output
    desk.deliver([penalty("2", None, enterprise_name="甲公司")], source="other_unit")
    [match] = json.loads(ask("matches", *where, "--json").output)
    assert ask("matches", *where, "--reject", match["id"], "--by", "Li Si").exit_code == 0
    assert ask("matches", *where, "--reject", match["id"], "--by", "Li Si").exit_code == 1


def test_crosscheck_reconciliation_and_rates(tmp_path: Path, where: list[str]) -> None:
    """R40, R55, R56."""
    from tests.features.ingest.test_crosscheck import both

    desk = Desk(tmp_path)
    both(desk, headcount="12")
    result = ask("crosscheck", *where, "--by", "Li Si")
    assert result.exit_code == 0, result.output
    assert "headcount" in result.output and "tax_bureau" in result.output
    form = write_csv(tmp_path / "form.csv", [{"month": "2024-01", "records": 2}])
    line = ["reconcile", str(form), *where, "--source", "tax_bureau", "--category", "social_insurance"]
    result = ask(*line, "--submitter", "Wang")
    assert result.exit_code == 2, result.output
    assert "否 no" in result.output
    assert "50.00%" in ask("rates", *where).output


def test_refusals_are_told_in_both_languages(tmp_path: Path, where: list[str]) -> None:
    data = write_csv(tmp_path / "a.csv", [penalty("1", 血型="A")])
    result = ask("load", str(data), *where, *header())
    assert (result.exit_code, "store_missing" in result.output) == (1, True)
    assert not (tmp_path / "store").exists()
    result = ask("load", str(data), *where, "--new", *header())
    assert result.exit_code == 1
    assert "涉及禁止采集的信息" in result.output and "may never be collected" in result.output
    result = ask("load", str(data), *where, "--new", *header(category="administrativ"))
    assert "目录中没有类别" in result.output
