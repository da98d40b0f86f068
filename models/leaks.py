"""Leak scan: columns that know the outcome, found before a model is trained on them.

Owns the measurements in plaintext (inside a sandbox that may see the label): out-of-sample AUC of each column alone
over its value and its regularity, missing pattern against label, dates after as_of, figures rewritten with the
outcome. Judgement is in leak_rules. It never drops a column itself and returns aggregates only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd

from models.binning import level_text
from models.evaluation import auc
from models.leak_rules import AUC_FLOOR, AUC_OVER_REST, EXCLUDE, judge, late_share
from models.learners.base import Column

__all__ = ["scan"]

FOLDS = 3
UNITS = (12, 10, 5)  # years in months, then round figures


def scan(X: pd.DataFrame, y: np.ndarray, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Leak records, worst first: [{party, column, severity, reason, reason_zh, auc, missing_gap, rest_auc?}].

    X has one column per `Column.key` (numbers or text); y is 0/1 over the same rows. Needs both classes; 100 rows or
    fewer return nothing.
    """
    y = np.asarray(y, dtype=np.float64)
    if len(y) <= 100 or y.min() == y.max():
        return []
    folds = np.random.default_rng(0).integers(0, FOLDS, len(y))
    matrices: dict[str, tuple[np.ndarray, str]] = {}
    measured: dict[Column, dict[str, Any]] = {}
    for column in columns:
        values, kind = _values(X[column.key], column.kind)
        matrices[column.key] = values, kind
        missing = np.isnan(values)
        measured[column] = {
            "auc": _cv_auc(_with_regularity(values) if kind == "numeric" else values[:, None], y, folds, kind),
            "missing_gap": float(missing[y == 1].mean() - missing[y == 0].mean()),
            "regularity": _regularity(values, y) if kind == "numeric" and not column.dated else None,
            "level": _extreme_level(values, y) if kind == "categorical" else None,
            "late_dates": late_share(values) if column.dated else 0.0,
        }
    certain = {c.key for c, m in measured.items() if (judge(c.party, c.name, **m) or {}).get("severity") == EXCLUDE}
    records = []
    for column, measures in measured.items():
        others = [c for c in columns if c.party == column.party and c != column and c.key not in certain]
        best = max((measured[c]["auc"] for c in others), default=1.0)
        rest_auc = None
        # All others together rank at least as well as the best of them: only a lonely leader is worth that model.
        if measures["auc"] >= max(AUC_FLOOR, best + AUC_OVER_REST):
            kinds = [matrices[c.key][1] for c in others]
            rest_auc = _cv_auc(np.column_stack([matrices[c.key][0] for c in others]), y, folds, *kinds)
        record = judge(column.party, column.name, **measures, rest_auc=rest_auc)
        if record:
            records.append(record)
    return sorted(records, key=lambda r: (r["severity"] != EXCLUDE, -r["auc"], r["party"], r["column"]))


def _values(series: pd.Series, kind: str) -> tuple[np.ndarray, str]:
    """Numbers for LightGBM (NaN = missing) and how to read them."""
    if kind == "numeric":
        return pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan), "numeric"
    position, distinct = pd.factorize(series.to_numpy(), use_na_sentinel=True)
    missing = np.array([level_text(value) is None for value in distinct] + [True])
    return np.where(missing[position], np.nan, position).astype(np.float64), "categorical"


def _with_regularity(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values, np.mod(values, 12), np.mod(values, 10)])


def _cv_auc(matrix: np.ndarray, y: np.ndarray, folds: np.ndarray, *kinds: str) -> float:
    """Out-of-fold AUC of a small boosted model; .5 where a fold lacks a class."""
    categorical = [index for index, kind in enumerate(kinds) if kind == "categorical"]
    params = {
        "objective": "binary", "num_threads": 1, "verbose": -1, "deterministic": True, "force_row_wise": True,
        "num_leaves": 8, "learning_rate": 0.3, "max_bin": 63, "min_data_in_leaf": 20,
    }  # fmt: skip
    margins = np.zeros(len(y))
    areas = []
    for fold in range(FOLDS):
        inside, outside = folds != fold, folds == fold
        if y[inside].min() == y[inside].max() or y[outside].min() == y[outside].max():
            return 0.5
        data = lgb.Dataset(matrix[inside], y[inside], params=params, categorical_feature=categorical)
        margins[outside] = lgb.train(params, data, 12).predict(matrix[outside], raw_score=True)
        areas.append(auc(y[outside], margins[outside]))
    return float(np.mean(areas))


def _regularity(values: np.ndarray, y: np.ndarray) -> dict[str, float] | None:
    """The unit whose multiples separate goods from bads most, within figures of similar size.

    Mantel–Haenszel odds ratio over deciles of the value: a strong honest column differs between deciles, a rewritten
    one within them. None when the column is not whole numbers, has few distinct figures, or too few rows to tell.
    """
    present = ~np.isnan(values)
    values, y = values[present], y[present]
    if len(values) < 200 or len(np.unique(values)) < 30 or not np.all(values == np.round(values)):
        return None
    decile = np.searchsorted(np.quantile(values, np.linspace(0.1, 0.9, 9)), values, side="left")
    worst: dict[str, float] | None = None
    for unit in UNITS:
        regular = (np.mod(values, unit) == 0) & (values != 0)
        upper = lower = 0.0
        for group in range(10):
            inside = decile == group
            n = inside.sum()
            if n == 0:
                continue
            odd_bad = float((inside & ~regular & (y == 1)).sum())
            odd_good = float((inside & ~regular & (y == 0)).sum())
            even_bad = float((inside & regular & (y == 1)).sum())
            even_good = float((inside & regular & (y == 0)).sum())
            if min(odd_bad + odd_good, even_bad + even_good) < 10:
                continue  # nothing to compare in this decile
            upper += odd_bad * even_good / n
            lower += odd_good * even_bad / n
        if min(upper, lower) < 1:
            continue
        good, bad = float(regular[y == 0].mean()), float(regular[y == 1].mean())
        if worst is None or upper / lower > worst["odds_ratio"]:
            worst = {"unit": float(unit), "good": good, "bad": bad, "odds_ratio": upper / lower}
    return worst


def _extreme_level(codes: np.ndarray, y: np.ndarray) -> dict[str, float] | None:
    """The level (1 % of the rows and 50 at least) whose odds of bad exceed those of all others most."""
    present = ~np.isnan(codes)
    codes, y = codes[present].astype(np.int64), y[present]
    worst: dict[str, float] | None = None
    for code, rows in enumerate(np.bincount(codes)):
        if rows < max(50, 0.01 * len(codes)) or rows > len(codes) - 50:
            continue
        inside = codes == code
        bad, elsewhere = y[inside].mean(), y[~inside].mean()
        smooth = 1 / len(codes)
        ratio = (bad + smooth) * (1 - elsewhere + smooth) / ((1 - bad + smooth) * (elsewhere + smooth))
        if worst is None or ratio > worst["odds_ratio"]:
            worst = {"bad": float(bad), "elsewhere": float(elsewhere), "odds_ratio": float(ratio)}
    return worst
