"""What the airlock's machine checks refuse before a person is asked."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from enclave.airlock import machine_checks
from enclave.endings import JobEnded
from models.formats import FORMAT, SCALE
from models.recipes import RECIPES


def model(*covers: int) -> dict[str, Any]:
    """One tree with two leaves of these covers."""
    left, right = covers
    root = {
        "party": "lab", "input": "arrears", "op": "lt", "value": 1.5, "missing": "right",
        "left": 1, "right": 2, "gain": 3.0, "cover": left + right,
    }  # fmt: skip
    return {
        "format": FORMAT,
        "kind": "tree_ensemble",
        "job_id": "j-0123456789ab",
        "ticket_sha256": "0" * 64,
        "mode": "zone",
        "recipe": {"name": "boosting", "params": {}},
        "inputs": {"bank": [], "lab": [{"name": "arrears", "kind": "numeric"}]},
        "base_margin": 0.0,
        "trees": [{"nodes": [root, {"leaf": 0.1, "cover": left}, {"leaf": -0.1, "cover": right}]}],
        "calibration": {"a": 1.0, "b": 0.0},
        "scale": dict(SCALE),
    }


def test_leaves_as_large_as_the_least_a_recipe_allows_pass() -> None:
    least = int(RECIPES["boosting"]["min_leaf"].low)
    machine_checks(model(least, 400))


def test_a_leaf_that_could_single_somebody_out_is_refused() -> None:
    with pytest.raises(JobEnded) as ended:
        machine_checks(model(400, 19))
    assert ended.value.cause.code == "leaf_too_small"
    assert "19 rows" in ended.value.cause.message and "19 行" in ended.value.cause.message_zh


def test_a_file_that_is_no_model_is_refused() -> None:
    broken = copy.deepcopy(model(400, 400))
    broken["trees"][0]["nodes"][0]["left"] = 0  # a node that is its own child
    with pytest.raises(JobEnded) as ended:
        machine_checks(broken)
    assert ended.value.cause.code == "model_invalid"
