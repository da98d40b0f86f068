"""`creditlab data`: what it prints and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from features.cli import app
from tests.features.conftest import Pair

runner = CliRunner()


def test_check_prints_a_summary(pair: Pair) -> None:
    result = runner.invoke(app, ["check", str(pair.write())])
    assert result.exit_code == 0
    for piece in ("300", "350", "250", "bad rate", "bank_a", "all checks passed"):
        assert piece in result.output


def test_check_prints_every_error_in_both_languages_and_exits_1(pair: Pair) -> None:
    pair.change("bank", 5, "bad", 2).change("lab", 8, "kwh_yoy", "x")
    result = runner.invoke(app, ["check", str(pair.write())])
    assert result.exit_code == 1
    for piece in (
        "bank.csv, row 5, line 6, column `bad`",
        "lab.csv, row 8, line 9, column `kwh_yoy`",
        "bank.csv，第 5 行",
        "Remedy:",
        "处理：",
    ):
        assert piece in result.output
    assert "Traceback" not in result.output


def test_check_as_json(pair: Pair) -> None:
    good = json.loads(runner.invoke(app, ["check", "--json", str(pair.write())]).output)
    assert good["ok"]
    assert good["summary"]["common"] == 250
    assert good["summary"]["parties"]
    pair.change("bank", 5, "bad", 2)
    result = runner.invoke(app, ["check", "--json", str(pair.write())])
    assert result.exit_code == 1
    assert json.loads(result.output)["errors"][0]["rows"] == [5]


def test_simulated_folder_checks_and_lists(tmp_path: Path) -> None:
    folder = tmp_path / "province"
    assert runner.invoke(app, ["simulate", str(folder), "--bank", "600", "--lab", "900"]).exit_code == 0
    assert runner.invoke(app, ["check", str(folder)]).exit_code == 0
    out = tmp_path / "ids.jsonl"
    assert runner.invoke(app, ["ids", str(folder), "--out", str(out)]).exit_code == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == len({line["id"] for line in lines}) == 600 + 900 - 500
    assert sum(line["in_bank"] and line["in_lab"] for line in lines) == 500
    assert {line["party"] for line in lines} == {"bank_a", "bank_b", None}
    assert {line["split"] for line in lines if line["in_bank"]} == {"train", "test"}


def test_ids_of_a_refused_folder_are_not_listed(pair: Pair, tmp_path: Path) -> None:
    pair.change("bank", 5, "bad", 2)
    out = tmp_path / "ids.jsonl"
    assert runner.invoke(app, ["ids", str(pair.write()), "--out", str(out)]).exit_code == 1
    assert not out.exists()
