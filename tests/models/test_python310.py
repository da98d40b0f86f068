"""Modules that the engine's Python 3.10 imports run there and answer alike."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.models.support import ROOT

ENGINE = ROOT / "federated" / "engine" / ".venv" / "bin" / "python"
PROGRAM = """
import json, sys
import numpy as np
from models import binning, formats, leak_rules, recipes, roles
rng = np.random.RandomState(0)
x = np.where(rng.rand(2000) < .1, np.nan, np.exp(rng.randn(2000) * 3))
bins = binning.fit_bins(x, "numeric", 12, .02)
ids = [f"E{i}" for i in range(500)]
ticket = {"dataset": {"split": {"hash_test_share": .3}}, "evaluation": {"seed": 3}}
levels = binning.fit_bins(list("aaab" * 50) + [None], "categorical")
print(json.dumps([
    bins, binning.assign(bins, x).tolist(), levels,
    roles.roles(ids, None, ticket).tolist(), recipes.resolve({"name": "boosting"}, "federated"),
    formats.content_sha256({"x": [1.5e-7, 1e21, 0.1, -0.0], "é": None}),
    leak_rules.judge("lab", "c", .95),
]))
"""


@pytest.mark.skipif(not ENGINE.exists(), reason="the engine's environment is not set up (make setup)")
def test_shared_modules_answer_alike_in_the_engines_python():
    answers = [
        json.loads(subprocess.run([python, "-c", PROGRAM], cwd=ROOT, capture_output=True, check=True).stdout)
        for python in (sys.executable, str(ENGINE))
    ]
    assert answers[0] == answers[1]
