"""The zone benchmark measures the product: the sandboxed worker against LightGBM on the same rows and parameters."""

from __future__ import annotations

import pytest

from benchmarks.data import dataset
from benchmarks.results import BenchmarkFailed
from benchmarks.zone import Inputs


def test_both_sides_fit_the_same_model_on_the_same_rows() -> None:
    try:
        folder = dataset("uci_card")
    except BenchmarkFailed as error:
        pytest.skip(str(error))
    inputs = Inputs(folder)
    inputs.ticket["evaluation"]["bootstrap"] = 20
    inputs.ticket["recipe"]["params"] = {"rounds": 3}
    training, whole = inputs.in_sandbox()
    plain = inputs.plain()
    assert training.auc == pytest.approx(plain.auc, abs=2e-4)
    assert 0 < training.cpu_seconds < whole.cpu_seconds
    assert plain.cpu_seconds > 0
