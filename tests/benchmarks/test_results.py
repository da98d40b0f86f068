"""The result file, its bars and its table: figures are told as measured, a missed bar is said, the page is current."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from benchmarks import results, table
from benchmarks.__main__ import main
from benchmarks.bars import broken
from benchmarks.data import dataset
from benchmarks.results import BenchmarkFailed, Row, Section, medians


def section() -> Section:
    made = Section("zone", "title", "CPU")
    made.rows = [Row("plain", 2.0, 2.1, 100.0, 0.7), Row("ours", 2.2, None, 120.0, 0.7)]
    made.compare("ours", "plain", "≤ 1.15")
    return made


def test_a_ratio_is_the_case_over_the_one_it_is_compared_to(tmp_path: Path) -> None:
    document = results.write([section()], tmp_path / "results.json")
    assert results.read(tmp_path / "results.json") == document
    ours = document["sections"][0]["rows"][1]
    assert (ours["ratio_to"], ours["ratio"]) == ("plain", 1.1)
    assert "wall_seconds" not in ours


def test_a_row_of_repetitions_is_their_median() -> None:
    row = medians("case", [Row("", cpu, cpu + 1, mb) for cpu, mb in ((3.0, 10.0), (1.0, 30.0), (2.0, 20.0))])
    assert (row.cpu_seconds, row.wall_seconds, row.peak_rss_mb, row.repetitions) == (2.0, 3.0, 30.0, 3)


def test_a_second_run_of_one_section_keeps_the_others(tmp_path: Path) -> None:
    other = Section("psi", "other", "CPU", [Row("a", 1.0, 1.0)])
    first = results.write([section(), other], tmp_path / "results.json")
    sgb = Section("sgb", "another", "CPU", [Row("b", 1.0, 1.0)])
    again = results.write([sgb], tmp_path / "results.json", first)
    assert [one["name"] for one in again["sections"]] == ["zone", "sgb", "psi"]
    assert again["sections"][0] == first["sections"][0]


def test_the_file_names_no_host_and_no_path(tmp_path: Path) -> None:
    import socket

    text = json.dumps(results.write([section()], tmp_path / "results.json"))
    assert socket.gethostname() not in text
    assert str(tmp_path) not in text


def test_a_ratio_without_its_base_is_refused() -> None:
    row = {"case": "a", "cpu_seconds": 1.0, "ratio": 0.5}
    document = {
        "format": results.FORMAT,
        "machine": results.machine(),
        "date": "2026-11-22",
        "sections": [{"name": "zone", "title": "t", "unit": "u", "rows": [row]}],
    }
    with pytest.raises(jsonschema.ValidationError, match="ratio_to"):
        results.check(document)


@pytest.mark.parametrize(
    ("name", "ratio", "auc", "misses"),
    [
        ("zone", 1.15, 0.7, 0),
        ("zone", 1.16, 0.7, 1),
        ("sgb", 0.4, 0.701, 0),
        ("sgb", 0.41, 0.7, 1),
        ("sgb", 0.3, 0.7011, 1),
        ("sgb", 0.5, 0.71, 2),
    ],
)
def test_a_bar_that_is_not_kept_is_told(name: str, ratio: float, auc: float, misses: int) -> None:
    rows = [
        {"case": "base", "cpu_seconds": 1.0, "auc": 0.7},
        {"case": "ours", "cpu_seconds": ratio, "auc": auc, "ratio_to": "base", "ratio": ratio, "bar": "x"},
    ]
    assert len(broken({"sections": [{"name": name, "rows": rows}]})) == misses


def test_a_missing_data_folder_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITLAB_DATA", str(tmp_path))
    with pytest.raises(BenchmarkFailed, match="CREDITLAB_DATA"):
        dataset("uci_card")
    assert main(["--only", "zone", "--out", str(tmp_path / "out")]) == 1


def test_an_unknown_section_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "zone,everything"])
    assert "everything" in capsys.readouterr().err


def test_the_page_is_what_the_generator_makes_of_the_committed_results() -> None:
    text = table.PAGE.read_text(encoding="utf-8")
    assert table.page(text, results.read(table.RESULTS)) == text


def test_the_committed_results_have_every_section_and_keep_every_bar() -> None:
    """The bars of issue 2, point 9, and of the issues after it, as last measured."""
    document = results.read(table.RESULTS)
    assert [one["name"] for one in document["sections"]] == list(results.SECTIONS)
    assert list(broken(document)) == []
    compared = {one["name"]: [row for row in one["rows"] if "bar" in row] for one in document["sections"]}
    assert len(compared["zone"]) == 2
    assert compared["sgb"]
