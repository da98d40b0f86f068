"""Evaluation: how well scores rank and how true probabilities are, with honest intervals.

Owns AUC, KS, Gini, Brier, their bootstrap intervals (paired for uplift), curve points that are safe to release, and
population stability. Pure functions of arrays; it never sees an id and never returns a figure about fewer than
MIN_ROWS enterprises.

psi_stability is the population stability index Σ (p − q) · ln(p / q); bands .1 and .25. It is not private set
intersection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit

from models.binning import assign, bin_count, fit_bins, label

__all__ = [
    "MIN_ROWS",
    "auc",
    "bootstrap",
    "brier",
    "calibration_curve",
    "feature_stability",
    "fit_platt",
    "fit_stacker",
    "gini",
    "ks",
    "metrics",
    "psi_stability",
    "roc_points",
    "score_distribution",
    "score_stability",
    "uplift",
]

MIN_ROWS = 10  # no released point rests on fewer enterprises
Arrays = Mapping[str, np.ndarray]


def _ranked(y: np.ndarray, margin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Group index of each row among distinct margins (ascending) and the labels, sorted by margin."""
    order = np.argsort(margin, kind="stable")
    ordered = margin[order]
    group = np.concatenate(([0], np.cumsum(ordered[1:] != ordered[:-1])))
    return order, group


def _counts(y: np.ndarray, margin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Goods and bads per distinct margin, ascending."""
    order, group = _ranked(y, margin)
    bads = np.bincount(group, weights=y[order])
    return np.bincount(group) - bads, bads


def _auc_ks(goods: np.ndarray, bads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC and KS from counts per distinct margin along the last axis (ties count one half)."""
    cum_good, cum_bad = np.cumsum(goods, axis=-1), np.cumsum(bads, axis=-1)
    total_good, total_bad = cum_good[..., -1:], cum_bad[..., -1:]
    below = cum_good - goods / 2
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without a class gives NaN, dropped later
        area = (bads * below).sum(axis=-1) / (total_good * total_bad)[..., 0]
        gap = np.abs(cum_good / total_good - cum_bad / total_bad).max(axis=-1)
    return area, gap


def auc(y: np.ndarray, margin: np.ndarray) -> float:
    """P(a bad's margin exceeds a good's) + ½ P(equal). y in {0, 1}; raises ValueError when a class is absent."""
    _both_classes(y)
    return float(_auc_ks(*_counts(y, margin))[0])


def ks(y: np.ndarray, margin: np.ndarray) -> float:
    """Largest distance between the goods' and the bads' cumulative distributions."""
    _both_classes(y)
    return float(_auc_ks(*_counts(y, margin))[1])


def gini(y: np.ndarray, margin: np.ndarray) -> float:
    """2 · AUC − 1."""
    return 2 * auc(y, margin) - 1


def brier(y: np.ndarray, pd: np.ndarray) -> float:
    """Mean squared error of probabilities."""
    return float(np.mean((np.asarray(pd) - np.asarray(y)) ** 2))


def _both_classes(y: np.ndarray) -> None:
    if len(y) == 0 or y.min() == y.max():
        raise ValueError("evaluation needs both goods and bads")


def bootstrap(y: np.ndarray, margins: Arrays, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Resampled AUC and KS of several models on the same resamples.

    Returns model name → array (resamples, 2) of AUC and KS; rows with a single class are NaN. Rows are drawn with
    replacement, the same draws for every model, so differences between models are paired. O(resamples · n), in
    blocks that stay below some 20 MB.
    """
    y = np.asarray(y, dtype=np.float64)
    _both_classes(y)
    rng = np.random.default_rng(seed)
    ranked = {name: _ranked(y, np.asarray(margin)) for name, margin in margins.items()}
    out = {name: np.empty((resamples, 2)) for name in margins}
    block = max(1, 2_000_000 // (len(y) * 8) * 4)
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        draws = np.stack([np.bincount(rng.integers(0, len(y), len(y)), minlength=len(y)) for _ in range(count)])
        for name, (order, group) in ranked.items():
            weights = draws[:, order].astype(np.float64)
            bads = weights * y[order]
            if group[-1] + 1 < len(y):  # ties: add up rows of one margin
                starts = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
                weights, bads = np.add.reduceat(weights, starts, axis=1), np.add.reduceat(bads, starts, axis=1)
            area, gap = _auc_ks(weights - bads, bads)
            out[name][start : start + count, 0] = area
            out[name][start : start + count, 1] = gap
    return out


def _interval(values: np.ndarray, level: float = 0.95) -> list[float]:
    """Percentile interval."""
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return [round(float(low), 4), round(float(high), 4)]


def metrics(y: np.ndarray, margin: np.ndarray, pd: np.ndarray, resampled: np.ndarray) -> dict[str, Any]:
    """One model's block of the report: auc, ks, gini, brier, and 95 % intervals of the first three."""
    area = auc(y, margin)
    auc_ci = _interval(resampled[:, 0])
    return {
        "auc": round(area, 4),
        "auc_ci": auc_ci,
        "ks": round(ks(y, margin), 4),
        "ks_ci": _interval(resampled[:, 1]),
        "gini": round(2 * area - 1, 4),
        "gini_ci": [round(2 * auc_ci[0] - 1, 4), round(2 * auc_ci[1] - 1, 4)],
        "brier": round(brier(y, pd), 5),
    }


def uplift(
    y: np.ndarray, base: np.ndarray, better: np.ndarray, resampled: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """AUC and KS of `better` minus `base`, with paired 95 % intervals. `resampled`: (base, better) of `bootstrap`."""
    difference = resampled[1] - resampled[0]
    return {
        "auc": round(auc(y, better) - auc(y, base), 4),
        "auc_ci": _interval(difference[:, 0]),
        "ks": round(ks(y, better) - ks(y, base), 4),
        "ks_ci": _interval(difference[:, 1]),
    }


# ---- calibration and stacking --------------------------------------------------------------------------------------


def fit_platt(margin: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """a, b of PD = σ(a·margin + b), by Newton on Platt's smoothed targets (Platt 1999; Lin, Lin & Weng 2007).

    a is kept positive: where the margins rank the wrong way round, or too few rows speak, the answer is the base
    rate with a nearly flat slope (a = .05) rather than an inverted model.
    """
    margin, y = np.asarray(margin, dtype=np.float64), np.asarray(y, dtype=np.float64)
    bads, goods = y.sum(), len(y) - y.sum()
    target = np.where(y == 1, (bads + 1) / (bads + 2), 1 / (goods + 2))
    weights = _newton(np.column_stack([margin, np.ones_like(margin)]), target, np.zeros(2))
    if weights[0] < 0.05:
        offset = _newton(np.ones((len(y), 1)), target, np.zeros(1), offset=0.05 * margin)
        return {"a": 0.05, "b": round(float(offset[0]), 10)}
    return {"a": round(float(weights[0]), 10), "b": round(float(weights[1]), 10)}


def fit_stacker(margins: tuple[np.ndarray, np.ndarray], y: np.ndarray, l2: float = 1.0) -> np.ndarray:
    """Weights (bank, lab, intercept) of a logistic regression on two margins; ridge `l2` pulls to an equal 1/2 each.

    No weight is negative: a score that few calibration rows make look harmful is left out, not turned upside down,
    or the joint model would be compared with a straw man. Raises ValueError when the rows hold one class only.
    """
    y = np.asarray(y, dtype=np.float64)
    _both_classes(y)
    design = np.column_stack([*margins, np.ones(len(y))])
    prior = np.array([0.5, 0.5, 0.0])
    weights = _newton(design, y, prior, ridge=np.array([l2, l2, 0.0]), centre=prior)
    if weights[:2].min() >= 0:
        return weights
    kept = int(np.argmax(weights[:2]))
    alone = np.array([0.5, 0.0])
    slope, intercept = _newton(design[:, [kept, 2]], y, alone, ridge=np.array([l2, 0.0]), centre=alone)
    weights = np.array([0.0, 0.0, intercept])
    weights[kept] = max(slope, 0.0)
    return weights


def _newton(
    design: np.ndarray,
    target: np.ndarray,
    start: np.ndarray,
    ridge: np.ndarray | None = None,
    centre: np.ndarray | None = None,
    offset: np.ndarray | float = 0.0,
) -> np.ndarray:
    weights = start.astype(np.float64)
    ridge = np.full(len(start), 1e-9) if ridge is None else ridge + 1e-9
    centre = np.zeros(len(start)) if centre is None else centre

    def loss(candidate: np.ndarray) -> float:
        z = design @ candidate + offset
        return float(np.logaddexp(0, z).sum() - target @ z + 0.5 * ridge @ (candidate - centre) ** 2)

    current = loss(weights)
    for _ in range(100):
        p = expit(design @ weights + offset)
        gradient = design.T @ (p - target) + ridge * (weights - centre)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (following := loss(weights - size * step)) > current + 1e-12 and size > 1e-6:
            size /= 2
        weights = weights - size * step
        if current - following < 1e-12:
            break
        current = following
    return weights


# ---- curves --------------------------------------------------------------------------------------------------------


def _pooled(counts: np.ndarray, least: int = MIN_ROWS) -> list[int]:
    """Start indices of runs of neighbouring groups that hold at least `least` rows; the last absorbs a rest."""
    starts, held = [0], 0
    for index, count in enumerate(counts):
        if held >= least:
            starts.append(index)
            held = 0
        held += int(count)
    if held < least and len(starts) > 1:
        starts.pop()
    return starts


def _quantile_runs(counts: np.ndarray, points: int) -> list[int]:
    least = max(MIN_ROWS, int(np.ceil(counts.sum() / points)))
    return _pooled(counts, least)


def roc_points(y: np.ndarray, margin: np.ndarray, points: int = 50) -> list[dict[str, float]]:
    """ROC and KS in one list, worst scores first: {"share", "fpr", "tpr"}, cumulative shares of rows, goods, bads.

    Between neighbouring points lie at least MIN_ROWS rows. KS at a point is tpr − fpr.
    """
    goods, bads = _counts(np.asarray(y, dtype=np.float64), np.asarray(margin))
    goods, bads = goods[::-1], bads[::-1]
    starts = _quantile_runs(goods + bads, points)
    goods, bads = np.add.reduceat(goods, starts), np.add.reduceat(bads, starts)
    rows = np.cumsum(goods + bads)
    out = [{"share": 0.0, "fpr": 0.0, "tpr": 0.0}]
    for row, good, bad in zip(
        rows / rows[-1], np.cumsum(goods) / goods.sum(), np.cumsum(bads) / bads.sum(), strict=True
    ):
        out.append({"share": round(float(row), 4), "fpr": round(float(good), 4), "tpr": round(float(bad), 4)})
    return out


def calibration_curve(y: np.ndarray, pd: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """Equal-count bins of predicted PD: {"predicted", "observed", "share"}, each of at least MIN_ROWS rows."""
    pd, y = np.asarray(pd), np.asarray(y, dtype=np.float64)
    order, group = _ranked(y, pd)
    counts = np.bincount(group)
    starts = _quantile_runs(counts, bins)
    rows = np.add.reduceat(counts, starts)
    observed = np.add.reduceat(np.bincount(group, weights=y[order]), starts) / rows
    predicted = np.add.reduceat(np.bincount(group, weights=pd[order]), starts) / rows
    return [
        {"predicted": round(float(p), 4), "observed": round(float(o), 4), "share": round(float(n / rows.sum()), 4)}
        for p, o, n in zip(predicted, observed, rows, strict=True)
    ]


def score_distribution(y: np.ndarray, score: np.ndarray, bins: int = 20) -> list[dict[str, float | None]]:
    """Histogram of scores: {"from", "to", "goods", "bads"} as shares of all goods resp. bads.

    At most `bins` bins of 1, 2, 5, 10, 20, 25, 50 or 100 points between the 1st and 99th percentile; the outer two
    are open and neighbours are pooled until each holds at least MIN_ROWS rows.
    """
    score, y = np.asarray(score), np.asarray(y, dtype=np.float64)
    low, high = np.quantile(score, [0.01, 0.99])
    width = next((step for step in (1, 2, 5, 10, 20, 25, 50) if (high - low) / step <= bins - 2), 100)
    edges = width * np.arange(np.ceil(low / width), np.floor(high / width) + 1)
    if len(edges) == 0:
        edges = np.array([width * np.ceil(low / width)])
    codes = np.searchsorted(edges, score, side="right")
    rows = np.bincount(codes, minlength=len(edges) + 1)
    bads = np.bincount(codes, weights=y, minlength=len(edges) + 1)
    starts = _pooled(rows)
    goods, bads = np.add.reduceat(rows - bads, starts), np.add.reduceat(bads, starts)
    borders = [float(edges[start - 1]) for start in starts[1:]]
    return [
        {
            "from": begin,
            "to": end,
            "goods": round(float(g / goods.sum()), 4),
            "bads": round(float(b / bads.sum()), 4),
        }
        for begin, end, g, b in zip([None, *borders], [*borders, None], goods, bads, strict=True)
    ]


# ---- stability -----------------------------------------------------------------------------------------------------


def psi_stability(expected: np.ndarray, actual: np.ndarray) -> float:
    """Population stability index of two count vectors; half a row is added to each bin so that none is empty."""
    expected, actual = np.asarray(expected, dtype=np.float64) + 0.5, np.asarray(actual, dtype=np.float64) + 0.5
    p, q = expected / expected.sum(), actual / actual.sum()
    return float(((q - p) * np.log(q / p)).sum())


def band(value: float) -> str:
    """ "stable" below .1, "shifted" below .25, otherwise "unstable"."""
    return "stable" if value < 0.1 else "shifted" if value < 0.25 else "unstable"


def feature_stability(fit: Any, test: Any, kind: str) -> dict[str, Any]:
    """Stability of one column between two samples: {"psi_stability", "band", "missing_fit", "missing_test"}."""
    bins = fit_bins(fit, kind, max_bins=10, min_share=0.02)
    count = bin_count(bins)
    before = np.bincount(assign(bins, fit), minlength=count)
    after = np.bincount(assign(bins, test), minlength=count)
    value = psi_stability(before, after)
    return {
        "psi_stability": round(value, 4),
        "band": band(value),
        "missing_fit": round(float(before[-1] / max(before.sum(), 1)), 3),
        "missing_test": round(float(after[-1] / max(after.sum(), 1)), 3),
    }


def score_stability(fit: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """Stability of a score between two samples over ten bins, with the bins: {"psi_stability", "band", "bins"}."""
    bins = fit_bins(fit, "numeric", max_bins=10, min_share=0.02)
    count = bin_count(bins) - 1
    before = np.bincount(assign(bins, fit), minlength=count + 1)[:count]
    after = np.bincount(assign(bins, test), minlength=count + 1)[:count]
    value = psi_stability(before, after)
    shares = [
        {
            "bin": label(bins, code),
            "fit": round(float(before[code] / len(fit)), 3),
            "test": round(float(after[code] / len(test)), 3),
        }
        for code in range(count)
    ]
    return {"psi_stability": round(value, 4), "band": band(value), "bins": shares}
