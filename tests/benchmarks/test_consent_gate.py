"""The gate's section measures each of its bars and says when one is not kept."""

from __future__ import annotations

from pathlib import Path

from benchmarks import consent_gate, results
from benchmarks.bars import GATE_MB, GATE_SECONDS, broken


def test_every_bar_is_measured(tmp_path: Path) -> None:
    document = results.write([consent_gate.run(enterprises=2_000, checks=1_000)], tmp_path / "results.json")
    measured = {row["case"] for row in document["sections"][0]["rows"] if "bar" in row}
    # whether they are kept is for `make bench` to say: here the peak is that of the whole test process
    assert measured == set(GATE_SECONDS)


def test_a_slow_or_heavy_gate_is_told() -> None:
    (case, seconds), *_ = GATE_SECONDS.items()
    row = {"case": case, "cpu_seconds": seconds, "peak_rss_mb": GATE_MB, "bar": "x"}
    assert broken({"sections": [{"name": "consent_gate", "rows": [row]}]}) == []
    for worse in ({"cpu_seconds": seconds + 0.1}, {"peak_rss_mb": GATE_MB + 1}):
        assert len(broken({"sections": [{"name": "consent_gate", "rows": [{**row, **worse}]}]})) == 1
