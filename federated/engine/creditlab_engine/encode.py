"""From raw columns to small integer codes, at their owner, and back to conditions on raw columns.

Owns how a column becomes splittable features: quantile bins of a number, groups of levels of a category, and, for a
category whose levels are numbers (industry codes, grades), also their numeric order. Missing values get a code of
their own, so a split can send them either way. Pure numpy; it never sees another party's columns, a label or a
ciphertext.

Codes of a feature with n regular groups: 0 … n-1 regular, n missing, n+1 a level that had no group when the bins were
made. A split is a subset of codes that goes left; code n+1 always goes right, which is what `in` means in the
released model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.binning import assign, fit_bins, level_text

ORDERED, SUBSET = "ordered", "subset"
MAX_CODES = 120  # order maps are int8, and n+1 must fit
PRESENT = 1e300  # "any value there is": the threshold of a split between missing and not missing
MAX_LEVELS = 50  # of a category, the rest become one group
_MIN_SHARE = 0.005  # share of rows a bin or level of the boosting recipe holds
_MIN_LEVEL_ROWS = 10  # a level with fewer rows is never named in a split


@dataclass
class Feature:
    """One splittable view of a column. `groups` is n; `seen_missing` and `seen_unknown` speak of the fit
    rows: missing values are a group of their own; some rows are in no group (rare levels, few missing values)."""

    column: str
    kind: str  # numeric | categorical, of the column
    view: str  # ordered | subset
    groups: int
    seen_missing: bool
    seen_unknown: bool
    edges: list[float]  # ordered numeric: n-1 rising edges
    levels: dict[str, int]  # categorical: level → code
    other: int | None  # subset: the code of the group "other"

    def codes(self, values: np.ndarray) -> np.ndarray:
        """int8 codes of raw values."""
        if self.kind == "numeric":
            return assign({"kind": "numeric", "edges": self.edges}, values).astype(np.int8)
        unknown = self.groups + 1 if self.other is None else self.other
        return np.fromiter(
            (self.groups if text is None else self.levels.get(text, unknown) for text in map(level_text, values)),
            dtype=np.int8,
            count=len(values),
        )

    def condition(self, left: np.ndarray) -> dict[str, Any]:
        """A split as the model file writes it. `left`: boolean over codes, as `left_codes` makes them."""
        missing = "left" if left[self.groups] else "right"
        if self.kind == "numeric":
            upto = int(left[: self.groups].sum())
            value = self.edges[upto - 1] if upto < self.groups else PRESENT
            return {"input": self.column, "op": "lt", "value": float(value), "missing": missing}
        values = sorted(level for level, code in self.levels.items() if left[code])
        return {"input": self.column, "op": "in", "values": values, "missing": missing}


def make_features(
    columns: Mapping[str, np.ndarray], kinds: Mapping[str, str], bins: int, min_rows: int = 20
) -> list[Feature]:
    """Features of the given fit rows: constant columns give none. `bins` bounds the groups of a feature.

    Missing values of fewer than `min_rows` rows are not offered as a group: no leaf could hold them alone.
    """
    out: list[Feature] = []
    for name, values in columns.items():
        make = _numeric if kinds[name] == "numeric" else _categorical
        out += make(name, values, bins, min_rows)
    return out


def _numeric(name: str, values: np.ndarray, bins: int, min_rows: int) -> list[Feature]:
    edges = fit_bins(values, "numeric", max_bins=min(bins, MAX_CODES), min_share=_share(len(values)))["edges"]
    absent = int(np.isnan(values).sum())
    missing = absent >= min_rows
    if not edges and (not missing or absent == len(values)):
        return []
    return [Feature(name, "numeric", ORDERED, len(edges) + 1, missing, 0 < absent < min_rows, list(edges), {}, None)]


def _categorical(name: str, values: np.ndarray, bins: int, min_rows: int) -> list[Feature]:
    texts = [level_text(value) for value in values]
    counts: dict[str, int] = {}
    for text in texts:
        if text is not None:
            counts[text] = counts.get(text, 0) + 1
    absent = len(texts) - sum(counts.values())
    missing, beyond = absent >= min_rows, 0 < absent < min_rows
    if len(counts) + missing < 2:
        return []
    named = {level: count for level, count in counts.items() if count >= _MIN_LEVEL_ROWS}
    out: list[Feature] = []
    fitted = fit_bins(values, "categorical", max_bins=MAX_LEVELS, min_share=_share(len(values)))
    kept = fitted["levels"]
    groups = len(kept) + bool(fitted["other"])
    if groups + missing >= 2:
        levels = {level: code for code, level in enumerate(kept)}
        out.append(
            Feature(
                name, "categorical", SUBSET, groups, missing, beyond, [], levels, len(kept) if fitted["other"] else None
            )
        )
    numbers = {level: _number(level) for level in named}
    if len(named) > 2 and all(number is not None for number in numbers.values()):
        out += _numbered(name, numbers, counts, bins, missing, beyond)
    return out


def _numbered(
    name: str,
    numbers: Mapping[str, float | None],
    counts: Mapping[str, int],
    bins: int,
    missing: bool,
    beyond: bool,
) -> list[Feature]:
    """The levels of a category in their numeric order, cut into groups of about equal rows."""
    ordered = sorted(numbers, key=lambda level: (numbers[level], level))
    weights = np.array([counts[level] for level in ordered], dtype=float)
    before = np.cumsum(weights) - weights / 2
    slots = np.minimum((before / weights.sum() * bins).astype(int), bins - 1)
    _, dense = np.unique(slots, return_inverse=True)
    groups = int(dense.max()) + 1
    if groups < 2:
        return []
    levels = {level: int(code) for level, code in zip(ordered, dense)}
    unknown = beyond or len(levels) < len(counts)
    return [Feature(name, "categorical", ORDERED, groups, missing, unknown, [], levels, None)]


def _share(rows: int) -> float:
    return min(max(_MIN_SHARE, _MIN_LEVEL_ROWS / max(rows, 1)), 0.5)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def order_map(features: list[Feature], columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """int8 codes, rows × features, C-contiguous."""
    if not features:
        return np.zeros((len(next(iter(columns.values()), [])), 0), dtype=np.int8)
    return np.ascontiguousarray(np.stack([feature.codes(columns[feature.column]) for feature in features], axis=1))


__all__ = ["ORDERED", "PRESENT", "SUBSET", "Feature", "make_features", "order_map"]
