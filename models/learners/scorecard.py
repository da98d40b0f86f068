"""The WOE scorecard: quantile bins, weight of evidence, logistic regression.

Owns the plaintext form of the `logistic` recipe: same bins, same WOE, same penalty as the secret-shared one. It
never sees ids, roles or consents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted

from models.binning import assign, bin_count, fit_recipe_bins, woe_from_counts
from models.learners.base import Column, used_inputs

__all__ = ["Scorecard"]


class Scorecard(ClassifierMixin, BaseEstimator):
    """Logistic regression on the weight of evidence of binned columns.

    Fitted: bins_ and woe_ (column key → bins, WOE per code with the missing code last), coefficients_ (column key →
    coefficient; on WOE = ln(%good/%bad) a sound characteristic has a negative one), intercept_ (log odds of bad at
    WOE 0), spread_ (column key → standard deviation of coefficient · WOE over the training rows).
    """

    def __init__(
        self,
        columns: Sequence[Column] = (),
        *,
        max_bins: int = 8,
        min_share: float = 0.02,
        max_levels: int = 50,
        level_share: float = 0.005,
        l2: float = 1.0,
    ) -> None:
        self.columns = columns
        self.max_bins = max_bins
        self.min_share = min_share
        self.max_levels = max_levels
        self.level_share = level_share
        self.l2 = l2

    def fit(self, X: pd.DataFrame, y: np.ndarray, each_round: Callable[[], None] | None = None) -> Scorecard:
        """Train on X (rows × Column.key) and y in {0, 1}. `each_round` is called once the bins are made and may raise.

        The solver itself is one round: at these sizes it takes less than a second.
        """
        y = np.asarray(y, dtype=np.int64)
        self.classes_ = np.array([0, 1])
        self.n_features_in_ = len(self.columns)
        self.bins_, self.woe_ = {}, {}
        woe_columns = {}
        for column in self.columns:
            bins = fit_recipe_bins(X[column.key], column.kind, self.get_params(deep=False))
            codes = assign(bins, X[column.key])
            bads = np.bincount(codes, weights=y, minlength=bin_count(bins))
            rows = np.bincount(codes, minlength=bin_count(bins))
            if (rows > 0).sum() < 2:
                continue  # constant: says nothing
            self.bins_[column.key] = bins
            self.woe_[column.key] = woe_from_counts(rows - bads, bads)
            woe_columns[column.key] = self.woe_[column.key][codes]
        matrix = np.column_stack(list(woe_columns.values())) if woe_columns else np.zeros((len(y), 1))
        if each_round is not None:
            each_round()
        penalty = 1 / self.l2 if self.l2 > 0 else np.inf
        regression = LogisticRegression(C=penalty, tol=1e-8, max_iter=1000).fit(matrix, y)
        self.coefficients_ = dict(zip(woe_columns, regression.coef_[0].tolist(), strict=False))
        self.intercept_ = float(regression.intercept_[0])
        self.spread_ = {key: float(np.std(woe) * abs(self.coefficients_[key])) for key, woe in woe_columns.items()}
        return self

    def woe(self, X: pd.DataFrame) -> np.ndarray:
        """WOE matrix (rows × kept columns), in the order of coefficients_."""
        check_is_fitted(self)
        if not self.coefficients_:
            return np.zeros((len(X), 0))
        return np.column_stack([self.woe_[key][assign(self.bins_[key], X[key])] for key in self.coefficients_])

    def margin(self, X: pd.DataFrame) -> np.ndarray:
        """intercept + Σ coefficient · WOE, the log odds of bad: float64 (rows,)."""
        woe = self.woe(X)
        return self.intercept_ + woe @ np.array(list(self.coefficients_.values()))

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Probabilities (rows, 2): good, bad."""
        bad = 1 / (1 + np.exp(-self.margin(X)))
        return np.column_stack([1 - bad, bad])

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return (self.margin(X) > 0).astype(int)

    def body(self) -> dict[str, Any]:
        """kind, inputs, intercept and features of the model document."""
        check_is_fitted(self)
        columns = {column.key: column for column in self.columns}
        return {
            "kind": "scorecard",
            "inputs": used_inputs(self.columns, set(self.coefficients_)),
            "intercept": self.intercept_,
            "features": [
                {
                    "party": columns[key].party,
                    "input": columns[key].name,
                    "kind": columns[key].kind,
                    "coefficient": coefficient,
                    "bins": document_bins(self.bins_[key], self.woe_[key]),
                }
                for key, coefficient in self.coefficients_.items()
            ],
        }

    def importance(self) -> dict[str, float]:
        """Column key → standard deviation of its contribution to the margin."""
        check_is_fitted(self)
        return {column.key: self.spread_.get(column.key, 0.0) for column in self.columns}


def document_bins(bins: dict[str, Any], woe: Sequence[float]) -> dict[str, Any]:
    """Bins and WOE (missing last) as the model document writes them."""
    values = [round(float(value), 12) for value in woe]
    if bins["kind"] == "numeric":
        return {"edges": list(bins["edges"]), "woe": values[:-1], "missing_woe": values[-1]}
    levels = dict(zip(bins["levels"], values, strict=False))
    return {"levels": levels, "other_woe": values[-2], "missing_woe": values[-1]}


def contributions(feature: dict[str, Any], values: Any) -> np.ndarray:
    """coefficient · WOE of one document feature over many rows (float64)."""
    bins = feature["bins"]
    if feature["kind"] == "numeric":
        woe = [*bins["woe"], bins["missing_woe"]]
        codes = assign({"kind": "numeric", "edges": bins["edges"]}, values)
    else:
        levels = sorted(bins["levels"])
        woe = [*(bins["levels"][level] for level in levels), bins["other_woe"], bins["missing_woe"]]
        codes = assign({"kind": "categorical", "levels": levels}, values)
    return feature["coefficient"] * np.asarray(woe, dtype=np.float64)[codes]
