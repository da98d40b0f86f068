"""LightGBM by itself on the rows and with the parameters of a zone job: `python -m benchmarks.plain_lightgbm`.

Reads {ticket, bank, lab} (base64 Parquet) from standard input and prints {cpu_seconds, wall_seconds, peak_rss_mb,
auc} of the joint model. The clock runs from the joined data frame to the trained booster: what anybody would write.
"""

from __future__ import annotations

import base64
import json
import resource
import sys
import time
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from models.learners import Column, columns_of, make
from models.recipes import resolve
from models.roles import FIT, TEST
from models.sample import join, read_parquet


def frame(X: pd.DataFrame, columns: list[Column]) -> pd.DataFrame:
    """The model columns with categories as pandas' own type, which LightGBM takes natively."""
    out = X[[column.key for column in columns]].copy()
    for column in columns:
        if column.kind == "categorical":
            out[column.key] = out[column.key].astype("category")
    return out


def train(X: pd.DataFrame, y: np.ndarray, columns: list[Column], params: dict[str, Any], rounds: int) -> lgb.Booster:
    return lgb.train(params, lgb.Dataset(frame(X, columns), y), num_boost_round=rounds)


def main() -> None:
    given = json.load(sys.stdin)
    ticket = given["ticket"]
    recipe = resolve(ticket["recipe"], "zone")
    every = columns_of(ticket)
    bank, lab = (read_parquet(base64.b64decode(given[party]), party) for party in ("bank", "lab"))
    sample = join(bank, lab, ticket, every)
    rows = sample.rows(FIT)
    X, y = sample.X.loc[rows], sample.y[rows]
    # the very parameters that the product's learner hands to LightGBM
    params = make(recipe, every, seed=ticket["evaluation"]["seed"], n_jobs=1)._params()
    params["seed"] = ticket["evaluation"]["seed"]
    rounds = recipe["params"]["rounds"]
    for party in ("bank", "lab"):  # the product fits these two first: both sides are warm alike
        train(X, y, [column for column in every if column.party == party], params, rounds)
    wall, cpu = time.perf_counter(), time.process_time()
    booster = train(X, y, every, params, rounds)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    test = sample.rows(TEST)
    # categories must be coded as in training: LightGBM keeps their list with the booster
    auc = roc_auc_score(sample.y[test], booster.predict(frame(sample.X.loc[test], every)))
    json.dump(
        {
            "cpu_seconds": cpu,
            "wall_seconds": wall,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "auc": round(float(auc), 4),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
