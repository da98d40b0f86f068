"""Binning and weight of evidence: how a column becomes a few groups of enterprises.

Owns quantile bins, category levels, the missing bin, and the statistics computed from counts of goods and bads per
bin. Each owner bins its own columns; only codes or counts go on from here. It never sees both parties' columns at
once and never trains a model. numpy only (Python 3.10 and numpy 1.26 must run it).

Bins are JSON-able:
  numeric      {"kind": "numeric", "edges": [e1 < … < ek]}: bin i holds e_i <= x < e_(i+1); k + 1 bins
  categorical  {"kind": "categorical", "levels": ["CA", …], "other": bool}: one bin a level, then "other"
and one further bin for missing values, always the last code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "MIN_ROWS",
    "assign",
    "auc_from_counts",
    "bin_count",
    "fit_bins",
    "fit_recipe_bins",
    "is_missing",
    "iv",
    "label",
    "level_text",
    "missing_code",
    "shortest_decimal",
    "to_numeric",
    "woe_from_counts",
]

MIN_ROWS = 20  # a bin of fewer enterprises could single one out


def to_numeric(values: Any) -> np.ndarray:
    """A float64 array; None becomes NaN, infinities become NaN. Raises ValueError for text."""
    array = np.asarray(values)
    if array.dtype == object:
        array = np.array([math.nan if value is None else value for value in array], dtype=np.float64)
    out = array.astype(np.float64)
    if not np.isfinite(out).all():
        out = np.where(np.isfinite(out), out, np.nan)
    return out


def level_text(value: Any) -> str | None:
    """The text of one category value, None when missing. Whole floats read as integers: 44.0 and 44 are one level."""
    if value is None or value != value:  # NaN and NaT differ from themselves
        return None
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    text = str(value)
    return None if text in ("", "<NA>", "NaT") else text


def _levels(values: Any) -> np.ndarray:
    """Object array of level texts, None where missing."""
    out = np.empty(len(values), dtype=object)
    known: dict[Any, str | None] = {}
    for position, value in enumerate(np.asarray(values, dtype=object)):
        try:
            out[position] = known[value]
        except KeyError:
            out[position] = known[value] = level_text(value)
    return out


def is_missing(values: Any, kind: str) -> np.ndarray:
    """Boolean array: True where the value is missing (None, NaN, infinite, empty text)."""
    if kind == "numeric":
        return np.isnan(to_numeric(values))
    return np.array([value is None for value in _levels(values)], dtype=bool)


def shortest_decimal(low: float, high: float) -> float:
    """A number in (low, high] with as few significant digits as its middle allows.

    Thresholds chosen this way split the observed values as before without repeating anybody's exact figure. Raises
    ValueError unless low < high.
    """
    if not low < high:
        raise ValueError(f"empty interval ({low}, {high}]")
    if low < 0 <= high:
        return 0.0
    middle = low / 2 + high / 2
    for digits in range(1, 18):
        value = float(f"{middle:.{digits}g}")
        if low < value <= high:
            return value
    return high  # neighbouring doubles: nothing lies between them


def fit_bins(
    values: Any, kind: str, max_bins: int = 8, min_share: float = 0.02, min_rows: int = MIN_ROWS
) -> dict[str, Any]:
    """Bins of one column from its observed values.

    `kind` is "numeric" or "categorical"; `max_bins` bounds the bins besides the missing one; each numeric bin and
    each level holds at least `min_share` of the non-missing rows and at least `min_rows` of them. Quantiles are over
    rows; a value that fills several quantiles gets one bin of its own where its share allows.
    """
    if kind == "numeric":
        return {"kind": "numeric", "edges": _numeric_edges(to_numeric(values), max_bins, min_share, min_rows)}
    if kind != "categorical":
        raise ValueError(f"kind must be numeric or categorical, not {kind!r}")
    texts = [value for value in _levels(values) if value is not None]
    if not texts:
        return {"kind": "categorical", "levels": [], "other": False}
    names, counts = np.unique(np.asarray(texts, dtype=object).astype(str), return_counts=True)
    order = np.lexsort((names, -counts))
    frequent = [str(names[i]) for i in order if counts[i] >= max(min_share * len(texts), min_rows)]
    keep = frequent if len(frequent) == len(names) <= max_bins else frequent[: max(max_bins - 1, 1)]
    return {"kind": "categorical", "levels": sorted(keep), "other": len(keep) < len(names)}


def fit_recipe_bins(values: Any, kind: str, params: dict[str, Any]) -> dict[str, Any]:
    """Bins as the parameters of the `logistic` recipe ask: categories keep more and smaller groups than numbers."""
    if kind == "categorical":
        return fit_bins(values, kind, params["max_levels"], params["level_share"])
    return fit_bins(values, kind, params["max_bins"], params["min_share"])


def _numeric_edges(values: np.ndarray, max_bins: int, min_share: float, min_rows: int) -> list[float]:
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return []
    distinct, counts = np.unique(present, return_counts=True)
    if len(distinct) == 1:
        return []
    before = np.cumsum(counts)  # rows at or below distinct[i]; a cut after i leaves before[i] rows on its left
    total = int(before[-1])
    least = max(min_share * total, min_rows)
    targets = total * np.arange(1, max_bins) / max_bins if len(distinct) > max_bins else before[:-1]
    cuts: list[int] = []
    for target in targets:
        # The cut nearest to the target; on ties of one heavy value this moves it to that value's border.
        right = int(np.searchsorted(before, target, side="left"))
        left = right - 1
        gap_left = target - before[left] if left >= 0 else math.inf
        best = left if gap_left <= before[right] - target else right
        if not 0 <= best < len(distinct) - 1:
            continue
        previous = before[cuts[-1]] if cuts else 0
        if before[best] - previous >= least and total - before[best] >= least:
            cuts.append(best)
    return [shortest_decimal(float(distinct[i]), float(distinct[i + 1])) for i in cuts]


def bin_count(bins: dict[str, Any]) -> int:
    """Number of codes `assign` can return, the missing bin included."""
    return missing_code(bins) + 1


def missing_code(bins: dict[str, Any]) -> int:
    """The code of the missing bin: always the last one."""
    return len(bins["edges"]) + 1 if bins["kind"] == "numeric" else len(bins["levels"]) + 1


def assign(bins: dict[str, Any], values: Any) -> np.ndarray:
    """int32 codes of `values`: 0 … bin_count - 1. A level never seen goes to "other", a missing value to the last."""
    missing = missing_code(bins)
    if bins["kind"] == "numeric":
        numbers = to_numeric(values)
        codes = np.searchsorted(np.asarray(bins["edges"], dtype=np.float64), numbers, side="right")
        return np.where(np.isnan(numbers), missing, codes).astype(np.int32)
    index = {level: code for code, level in enumerate(bins["levels"])}
    other = len(bins["levels"])
    texts = _levels(values)
    return np.fromiter(
        (missing if text is None else index.get(text, other) for text in texts), dtype=np.int32, count=len(texts)
    )


def label(bins: dict[str, Any], code: int) -> str:
    """How one bin reads: "< 5", "5 – 12", "≥ 12", a level, "other", "missing"."""
    if code == missing_code(bins):
        return "missing"
    if bins["kind"] == "categorical":
        return bins["levels"][code] if code < len(bins["levels"]) else "other"
    edges: Sequence[float] = bins["edges"]
    if not edges:
        return "any"
    if code == 0:
        return f"< {edges[0]:g}"
    return f"≥ {edges[-1]:g}" if code == len(edges) else f"{edges[code - 1]:g} – {edges[code]:g}"


def woe_from_counts(goods: Any, bads: Any, smoothing: float = 0.5) -> np.ndarray:
    """Weight of evidence a bin: ln((good_i / goods) / (bad_i / bads)); positive = better than average.

    `smoothing` is added to every good and bad count of a non-empty bin, in proportion to the overall odds, so that a
    bin of few rows is pulled towards 0; an empty bin gets exactly 0. Raises ValueError when a class is absent.
    """
    good, bad = np.asarray(goods, dtype=np.float64), np.asarray(bads, dtype=np.float64)
    if good.shape != bad.shape:
        raise ValueError("goods and bads must have the same length")
    total_good, total_bad = float(good.sum()), float(bad.sum())
    if total_good <= 0 or total_bad <= 0:
        raise ValueError("weight of evidence needs both goods and bads")
    rate = total_bad / (total_good + total_bad)
    # Pseudo-rows at the overall bad rate leave an average bin at 0, unlike adding the same number to both classes.
    pseudo = smoothing / min(rate, 1 - rate)
    woe = np.log(((good + pseudo * (1 - rate)) / total_good) / ((bad + pseudo * rate) / total_bad))
    return np.where(good + bad > 0, woe, 0.0)


def iv(goods: Any, bads: Any, smoothing: float = 0.5) -> float:
    """Information value Σ (%good − %bad) · WOE. Bands in use: .02 weak, .1 medium, .3 strong, .5 suspicious."""
    good, bad = np.asarray(goods, dtype=np.float64), np.asarray(bads, dtype=np.float64)
    woe = woe_from_counts(good, bad, smoothing)
    return float(((good / good.sum() - bad / bad.sum()) * woe).sum())


def auc_from_counts(goods: Any, bads: Any) -> float:
    """AUC of the bad rate per bin as a score, from counts alone: P(bad's bin is worse) + ½ P(same rate).

    In-sample: bins are ordered by their own bad rate, so it is ≥ .5. Raises ValueError when a class is absent.
    """
    good, bad = np.asarray(goods, dtype=np.float64), np.asarray(bads, dtype=np.float64)
    if good.sum() <= 0 or bad.sum() <= 0:
        raise ValueError("AUC needs both goods and bads")
    rate = bad / np.maximum(good + bad, 1)
    order = np.argsort(rate, kind="stable")
    good, bad = good[order], bad[order]
    below = np.concatenate(([0.0], np.cumsum(good)[:-1]))
    return float((bad * (below + good / 2)).sum() / (good.sum() * bad.sum()))
