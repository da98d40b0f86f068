"""Gradient boosting with LightGBM, releasable by construction.

Owns the encoding of categories, the training call, and the safe form of the result (see lightgbm_text). It never
sees ids, roles or consents, and never keeps a training row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from models.binning import level_text, to_numeric
from models.learners.base import Column, used_inputs
from models.learners.lightgbm_text import NativeModel

__all__ = ["Boosting"]


LEVELS_PER_SPLIT = 8


class Boosting(ClassifierMixin, BaseEstimator):
    """Binary gradient boosting over numeric and categorical columns of both parties.

    Numeric: `bins` histogram bins; missing values take the better side of each split. Categorical: native subset
    splits over levels with at least `min_leaf` training rows; rarer, unseen and missing levels go right.
    With `bags` > 1, as many models on 80 % row samples are averaged into one ensemble.

    Fitted: booster_ (lightgbm.Booster without private statistics), native_ (its parsed form), levels_ (column key →
    levels in code order).
    """

    def __init__(
        self,
        columns: Sequence[Column] = (),
        *,
        rounds: int = 30,
        max_depth: int = 4,
        learning_rate: float = 0.15,
        bins: int = 24,
        l2: float = 1.0,
        colsample: float = 1.0,
        min_leaf: int = 20,
        bags: int = 1,
        seed: int = 0,
        n_jobs: int = 1,
    ) -> None:
        self.columns = columns
        self.rounds = rounds
        self.max_depth = max_depth
        self.learning_rate = learning_rate
        self.bins = bins
        self.l2 = l2
        self.colsample = colsample
        self.min_leaf = min_leaf
        self.bags = bags
        self.seed = seed
        self.n_jobs = n_jobs

    def fit(self, X: pd.DataFrame, y: np.ndarray, each_round: Callable[[], None] | None = None) -> Boosting:
        """Train on X (rows × Column.key) and y in {0, 1}. `each_round` is called between two trees and may raise."""
        y = np.asarray(y, dtype=np.float64)
        self.classes_ = np.array([0, 1])
        self.n_features_in_ = len(self.columns)
        self.levels_ = {
            column.key: _frequent_levels(X[column.key], self.min_leaf)
            for column in self.columns
            if column.kind == "categorical"
        }
        matrix = self._matrix(X)
        params = self._params()
        data = lgb.Dataset(
            matrix,
            y,
            categorical_feature=[i for i, column in enumerate(self.columns) if column.kind == "categorical"],
            params=params,
            free_raw_data=True,
        )
        models = []
        for bag in range(self.bags):
            booster = lgb.train(
                params | {"seed": self.seed + bag},
                data,
                num_boost_round=self.rounds,
                callbacks=None if each_round is None else [lambda _: each_round()],
                keep_training_booster=True,  # else LightGBM writes and reads its text once more
            )
            models.append(NativeModel.parse(booster.model_to_string()))
        self.native_ = models[0]
        self.native_.names = [_text_name(column) for column in self.columns]
        self.native_.trees = [tree for model in models for tree in model.trees]
        if self.bags > 1:
            self.native_.scale_outputs(1.0 / self.bags)
        if self.rounds and self.native_.smallest_leaf() < min(self.min_leaf, len(y)):
            raise RuntimeError(f"a leaf holds fewer than {self.min_leaf} rows: this model must not be released")
        self.native_.round_thresholds(matrix)
        self.__dict__.pop("booster_", None)  # of an earlier fit
        return self

    @cached_property
    def booster_(self) -> lgb.Booster:
        """LightGBM's own form of the released text, made when first needed."""
        check_is_fitted(self, "native_")
        return lgb.Booster(model_str=self.text())

    def margin(self, X: pd.DataFrame) -> np.ndarray:
        """Sum of leaf values, the uncalibrated log odds of bad: float64 (rows,)."""
        check_is_fitted(self, "native_")
        return np.asarray(self.booster_.predict(self._matrix(X), raw_score=True, num_threads=self.n_jobs))

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Uncalibrated probabilities (rows, 2): good, bad."""
        bad = 1 / (1 + np.exp(-self.margin(X)))
        return np.column_stack([1 - bad, bad])

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return (self.margin(X) > 0).astype(int)

    def text(self) -> str:
        """LightGBM's native text, safe to release."""
        return self.native_.to_text(self._levels_by_feature())

    def body(self) -> dict[str, Any]:
        """kind, inputs, base_margin and trees of the model document."""
        check_is_fitted(self, "native_")
        columns = list(self.columns)
        used = {columns[node.feature].key for tree in self.native_.trees for node in tree.walk() if not node.is_leaf}
        return {
            "kind": "tree_ensemble",
            "inputs": used_inputs(columns, used),
            "base_margin": 0.0,  # LightGBM folds its start value into the first tree
            "trees": self.native_.to_nodes(
                lambda feature: (columns[feature].party, columns[feature].name), self._levels_by_feature()
            ),
        }

    def importance(self) -> dict[str, float]:
        """Column key → total gain of its splits."""
        check_is_fitted(self, "native_")
        out = {column.key: 0.0 for column in self.columns}
        keys = list(out)
        for tree in self.native_.trees:
            for node in tree.walk():
                if not node.is_leaf:
                    out[keys[node.feature]] += node.gain
        return out

    def _params(self) -> dict[str, Any]:
        return {
            "objective": "binary",
            "num_threads": self.n_jobs,
            "deterministic": True,
            "force_row_wise": True,  # choosing by a timing run would make results depend on the machine's mood
            "verbose": -1,
            "max_depth": self.max_depth,
            "num_leaves": 2**self.max_depth,
            "learning_rate": self.learning_rate,
            "max_bin": self.bins,
            "lambda_l2": self.l2,
            "feature_fraction": self.colsample,
            # A split that names dozens of levels learns them by heart, and no reason code could be read from it.
            "max_cat_threshold": LEVELS_PER_SPLIT,
            "min_data_in_leaf": self.min_leaf,
            # LightGBM estimates leaf sizes from Hessians, so min_data_in_leaf alone lets far smaller leaves pass when
            # the label is rare. A row's Hessian p(1 − p) is at most 1/4: this sum cannot be reached by fewer rows.
            "min_sum_hessian_in_leaf": self.min_leaf / 4,
            "bagging_fraction": 0.8 if self.bags > 1 else 1.0,
            "bagging_freq": 1 if self.bags > 1 else 0,
        }

    def _levels_by_feature(self) -> dict[int, list[str]]:
        return {i: self.levels_[column.key] for i, column in enumerate(self.columns) if column.kind == "categorical"}

    def _matrix(self, X: pd.DataFrame) -> np.ndarray:
        out = np.empty((len(X), len(self.columns)), dtype=np.float64)
        for index, column in enumerate(self.columns):
            if column.kind == "numeric":
                out[:, index] = to_numeric(X[column.key])
            else:
                codes = {level: float(code) for code, level in enumerate(self.levels_[column.key])}
                position, distinct = pd.factorize(X[column.key].to_numpy(), use_na_sentinel=True)
                values = np.array([codes.get(level_text(value) or "", np.nan) for value in distinct] + [np.nan])
                out[:, index] = values[position]  # position -1 is missing and takes the last entry
        return out


def _frequent_levels(values: pd.Series, least: int) -> list[str]:
    position, distinct = pd.factorize(values.to_numpy(), use_na_sentinel=True)
    counts: dict[str, int] = {}
    for value, count in zip(distinct, np.bincount(position[position >= 0], minlength=len(distinct)), strict=True):
        text = level_text(value)
        if text is not None:
            counts[text] = counts.get(text, 0) + int(count)
    return sorted(level for level, count in counts.items() if count >= least)


def _text_name(column: Column) -> str:
    """Feature names in the native text may hold neither spaces nor JSON's special characters."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in column.key)
