"""The sections of the feature store measure each of their bars and say when one is not kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import features_build, features_ingest, results
from benchmarks.bars import FEATURES_RATIO, INGEST_SPEED, READ_CASE, broken


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each case is for figures, and the figures are not looked at here."""
    for module in (features_build, features_ingest):
        monkeypatch.setattr(module, "_alone", lambda work, *arguments: features_build._measured(work, arguments))


def test_every_bar_of_a_build_is_measured(tmp_path: Path) -> None:
    document = results.write([features_build.run(2_000, 100)], tmp_path / "results.json")
    assert {row["case"] for row in document["sections"][0]["rows"] if "bar" in row} == {*FEATURES_RATIO, READ_CASE}


def test_every_bar_of_ingestion_is_measured(tmp_path: Path) -> None:
    document = results.write([features_ingest.run(5_000)], tmp_path / "results.json")
    assert {row["case"] for row in document["sections"][0]["rows"] if "bar" in row} == set(INGEST_SPEED)


@pytest.mark.parametrize(
    ("section", "row", "misses"),
    [
        ("features_build", {"case": "one day", "ratio": 0.05, "peak_rss_mb": 4096}, 0),
        ("features_build", {"case": "one day", "ratio": 0.06, "peak_rss_mb": 4097}, 2),
        ("features_build", {"case": "full build", "ratio": 4.1, "peak_rss_mb": 500}, 1),
        ("features_build", {"case": READ_CASE, "wall_seconds": 0.020}, 0),
        ("features_build", {"case": READ_CASE, "wall_seconds": 0.021}, 1),
        ("features_ingest", {"case": "parquet, ingested", "wall_seconds": 5.0}, 0),
        ("features_ingest", {"case": "parquet, ingested", "wall_seconds": 5.1}, 1),
        ("features_ingest", {"case": "csv, ingested", "wall_seconds": 20.1}, 1),
    ],
)
def test_a_bar_that_is_not_kept_is_told(section: str, row: dict[str, object], misses: int) -> None:
    document = {"sections": [{"name": section, "rows": [{"cpu_seconds": 1.0, "bar": "x", **row}]}]}
    assert len(broken(document)) == misses
