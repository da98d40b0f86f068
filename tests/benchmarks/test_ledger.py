"""The ledger's section measures each of its bars and says when one is not kept."""

from __future__ import annotations

from pathlib import Path

from benchmarks import ledger, results
from benchmarks.bars import LEDGER_SECONDS, broken


def test_every_bar_is_measured_and_kept_on_a_small_log(tmp_path: Path) -> None:
    document = results.write([ledger.run(entries=3_000)], tmp_path / "results.json")
    measured = {row["case"] for row in document["sections"][0]["rows"] if "bar" in row}
    assert measured == set(LEDGER_SECONDS)
    assert broken(document) == []


def test_a_slow_append_is_told() -> None:
    (case, seconds), *_ = LEDGER_SECONDS.items()
    row = {"case": case, "cpu_seconds": seconds + 0.1, "wall_seconds": 1.0, "bar": "x"}
    assert len(broken({"sections": [{"name": "ledger", "rows": [row]}]})) == 1
    assert broken({"sections": [{"name": "ledger", "rows": [{**row, "cpu_seconds": seconds}]}]}) == []
