"""Federated boosting as we configure it beside SecretFlow's own, on the same rows with the same parameters.

10 trees, depth 5, learning rate .3, 20 bins, Okamoto–Uchiyama with 2048 bits, on uci_card. `engine_boosting` runs the
two real processes of each side; this module compares.
"""

from __future__ import annotations

from typing import Any

from benchmarks.bars import sgb_bar
from benchmarks.data import dataset
from benchmarks.results import BenchmarkFailed, Row, Section, say

DATASET = "uci_card"
NAMES = {"stock": "stock SecretFlow", "ours": "creditlab engine"}


def run() -> Section:
    """One run of each side: the bar is a factor, far beyond the noise of a run."""
    from benchmarks.engine_boosting import measure

    tell = say("sgb")
    folder = dataset(DATASET)
    tell("two engines of ours and two of stock SecretFlow, one after the other: some minutes")
    try:
        lines = {line["system"]: line for line in measure(folder)}
    except RuntimeError as error:
        raise BenchmarkFailed(str(error)) from error
    section = Section("sgb", "Federated boosting: ours against SecretFlow as shipped", "CPU of training, both parties")
    section.note = (
        f"{DATASET}, 10 trees, depth 5, learning rate .3, 20 bins, OU-2048, both on brpc_link; wall time of the bank. "
        f"Plain LightGBM with the same rounds, depth and bins on the same rows: AUC {lines['plain']['auc']:.4f}. "
        "Why it is cheaper: [0008](decisions/0008-boosting-savings.md)."
    )
    section.rows = [_row(name, lines[system]) for system, name in NAMES.items()]
    found = section.compare(NAMES["ours"], NAMES["stock"], sgb_bar())
    assert found.ratio is not None
    tell(f"ratio {found.ratio:.3f} (stock {1 / found.ratio:.2f} times as much), AUC {found.auc}")
    return section


def _row(case: str, line: dict[str, Any]) -> Row:
    return Row(case, line["cpu_seconds"], line["seconds"], line["peak_rss_mb"], line["auc"])
