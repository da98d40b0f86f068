"""Between two rounds of a federated fit: one party's news send both back to the gate (PIPL §15)."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models.channel import encode_control

from . import harness
from .conftest import COLUMNS, make_tables, write_inputs
from .harness import Hooks, Pair

ROUNDS = {
    "boosting": ({"rounds": 6, "max_depth": 2, "bins": 6}, "tree"),
    "logistic": ({"epochs": 5}, "step"),
}


@pytest.mark.parametrize("recipe", sorted(ROUNDS))
def test_a_withdrawal_heard_by_one_party_ends_the_row_at_the_next_round_in_both(tmp_path: Path, recipe: str) -> None:
    params, unit = ROUNDS[recipe]
    tables = make_tables(400)
    common = sorted(set(tables["bank"]["id"]) & set(tables["lab"]["id"]))
    gone = common[::9][:20]
    hooks = Hooks(exclude={})
    said: list[float] = []
    left: list[float] = []

    def withdraw(pair: Pair, party: str, message: dict[str, Any]) -> None:
        if message["type"] == "progress" and message["phase"] == "fit_joint" and message["done"] == 2 and not said:
            said.append(time.monotonic())
            hooks.exclude = {"fit_joint": gone, "predict": gone}
            pair._write("lab", encode_control({"type": "changed"}))  # the bank's node has not heard of it yet
        if said and message["type"] == "gate" and not left:
            left.append(time.monotonic())

    hooks.on_control = withdraw
    body = harness.ticket(COLUMNS, {"name": recipe, "params": params})
    sides = Pair(harness.tasks(body), write_inputs(tables, tmp_path), tmp_path, hooks).wait(90)
    for side in sides.values():
        assert side.code == 0, (side.error, side.log[-2000:])
        asked = [message["phase"] for message in side.of("gate")]
        assert asked == ["psi", "screen", "fit_lab", "fit_joint", "fit_joint", "predict"]
        rounds = [m["done"] for m in side.of("progress") if m["phase"] == "fit_joint" and m["note"] == unit]
        first = rounds[: rounds.index(1, 1)]
        assert first[0] == 1 and len(first) in (2, 3)  # the round under way, at most one more
    assert left[0] - said[0] < 5
    scores = pd.read_parquet(io.BytesIO(sides["bank"].outputs["scores.parquet"]))
    assert set(scores["id"]) == set(common) - set(gone)
