"""Federated boosting: SecretFlow as shipped, our engine and plain LightGBM, on the same rows in one run.

`python -m benchmarks.engine_boosting --data ../shared/data/uci_card` prints one JSON object a line: CPU seconds of
both parties in training, AUC on the test rows, and the ratio. 10 trees of depth 5, learning rate .3, 20 bins,
Okamoto-Uchiyama with 2048 bits, unless told otherwise. The tables must hold the same numeric columns' rows (stock SGB
knows neither missing values nor categories): uci_card does.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import lightgbm
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks import engine_data
from models.roles import roles
from tests.federated.engine import harness

PARAMS = {"rounds": 10, "max_depth": 5, "learning_rate": 0.3, "bins": 20, "l2": 0.1, "min_leaf": 20}


def measure(folder: Path, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """One line each for stock, ours and plain, and one with the ratio of the first two."""
    contract, tables = engine_data.load(folder)
    recipe = {"name": "boosting", "params": {**PARAMS, **(params or {})}}
    body = engine_data.ticket(contract, tables, recipe)
    lines = []
    for name, module in (("stock", "benchmarks.engine_stock"), ("ours", "creditlab_engine")):
        with tempfile.TemporaryDirectory(prefix="engine-bench-") as scratch:
            inputs = engine_data.write(body, contract, tables, Path(scratch))
            sides = harness.run(harness.tasks(body), inputs, Path(scratch), seconds=1800, module=module)
        for party, side in sides.items():
            if side.code != 0:
                raise RuntimeError(
                    f"{name}: the {party}'s engine ended with {side.code}: {side.error}\n{side.log[-2000:]}"
                )
        lines.append(
            {
                "benchmark": "federated_boosting",
                "system": name,
                "cpu_seconds": round(sum(_phase(side, "fit_joint", "cpu_seconds") for side in sides.values()), 2),
                "seconds": round(_phase(sides["bank"], "fit_joint", "seconds"), 2),
                "peak_rss_mb": max(_phase(side, "fit_joint", "peak_rss_mb") for side in sides.values()),
                "bank_to_lab_mb": round(sides["bank"].sent_bytes / 1e6, 1),
                "lab_to_bank_mb": round(sides["lab"].sent_bytes / 1e6, 1),
                "auc": round(_auc(sides["bank"]), 6),
            }
        )
    lines.append(_plain(body, contract, tables))
    stock, ours, plain = lines
    lines.append(
        {
            "benchmark": "federated_boosting",
            "system": "ratio",
            "dataset": contract["name"],
            "cpu_stock_to_ours": round(stock["cpu_seconds"] / ours["cpu_seconds"], 2),
            "auc_ours_minus_stock": round(ours["auc"] - stock["auc"], 6),
            "auc_ours_minus_plain": round(ours["auc"] - plain["auc"], 6),
        }
    )
    return lines


def _phase(side: harness.Side, name: str, field: str) -> float:
    return next(m[field] for m in side.of("phase") if m["phase"] == name and m["state"] == "done")


def _auc(bank: harness.Side) -> float:
    if "stock.json" in bank.outputs:
        return float(bank.json("stock.json")["auc"])
    scores = pd.read_parquet(io.BytesIO(bank.outputs["scores.parquet"]))
    test = scores[scores["role"] == "test"]
    return float(roc_auc_score(test["y"], test["joint_margin"]))


def _plain(body: dict[str, Any], contract: dict[str, Any], tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """LightGBM on both tables joined in clear: same rows, rounds, depth and bins."""
    frames = {party: tables[party].set_index(contract["id"]) for party in harness.PARTIES}
    ids = sorted(set(frames["bank"].index) & set(frames["lab"].index))
    design = pd.concat(
        [
            frames[party].loc[ids, [c["name"] for c in body["parties"][party]["columns"]]].add_prefix(f"{party}.")
            for party in harness.PARTIES
        ],
        axis=1,
    )
    split = contract["bank"].get("split")
    role = roles(ids, frames["bank"].loc[ids, split].tolist() if split else None, body)
    label = frames["bank"].loc[ids, contract["bank"]["label"]].to_numpy()
    params = body["recipe"]["params"]
    settings = {
        "objective": "binary",
        "num_leaves": 2 ** params["max_depth"],
        "max_depth": params["max_depth"],
        "learning_rate": params["learning_rate"],
        "max_bin": params["bins"],
        "lambda_l2": params["l2"],
        "min_data_in_leaf": params["min_leaf"],
        "num_threads": 1,
        "verbose": -1,
    }
    fit, test = role == "fit", role == "test"
    model = lightgbm.train(settings, lightgbm.Dataset(design[fit], label[fit]), params["rounds"])
    return {
        "benchmark": "federated_boosting",
        "system": "plain",
        "rows": int(fit.sum()),
        "auc": round(float(roc_auc_score(label[test], model.predict(design[test]))), 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=PARAMS["rounds"])
    arguments = parser.parse_args()
    for line in measure(arguments.data, {"rounds": arguments.rounds}):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
