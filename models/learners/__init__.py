"""Learners: the two recipes as scikit-learn style estimators over both parties' columns.

Owns which class a recipe name means. It never opens data or writes a model file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.learners.base import Column, Learner, columns_of

__all__ = ["Column", "Learner", "columns_of", "make"]


def make(recipe: dict[str, Any], columns: Sequence[Column], seed: int = 0, n_jobs: int = 1) -> Learner:
    """An unfitted learner for a resolved recipe (see models.recipes.resolve)."""
    params = recipe["params"]
    if recipe["name"] == "boosting":
        from models.learners.boosting import Boosting  # LightGBM takes a second to import: only when wanted

        return Boosting(columns, **params, seed=seed, n_jobs=n_jobs)
    if recipe["name"] == "logistic":
        from models.learners.scorecard import Scorecard

        # `epochs` belongs to the secret-shared training; here the solver runs until it has converged.
        return Scorecard(columns, **{name: value for name, value in params.items() if name != "epochs"})
    raise ValueError(f"no learner for recipe {recipe['name']!r}")
