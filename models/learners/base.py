"""What every learner has in common.

Owns the naming of columns across two parties ("bank.x0" and "lab.x0" are different columns) and the interface that
the contract test runs over each learner. It never fits anything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from models.formats import PARTIES

__all__ = ["Column", "Learner", "columns_of", "used_inputs"]


@dataclass(frozen=True, order=True)
class Column:
    """One input: whose it is, its name in that owner's table, "numeric" or "categorical".

    dated: the numbers are days after the date at which the row's features were known.
    """

    party: str
    name: str
    kind: str
    dated: bool = False

    @property
    def key(self) -> str:
        """Name in a joined table; the parties' own names may collide."""
        return f"{self.party}.{self.name}"


class Learner(Protocol):
    """A scikit-learn style binary classifier. `__init__` stores; what `fit` learns ends in an underscore."""

    columns: Any

    def fit(self, X: pd.DataFrame, y: np.ndarray, each_round: Callable[[], None] | None = None) -> Learner:
        """Learn from rows X (one column per `Column.key`) and labels y (1 = bad). Deterministic given its seed.

        `each_round` is called between rounds; what it raises ends the fit.
        """
        ...

    def margin(self, X: pd.DataFrame) -> np.ndarray:
        """Uncalibrated log odds of bad, float64 (rows,). Missing values and unseen levels are allowed."""
        ...

    def body(self) -> dict[str, Any]:
        """The learner's share of a creditlab.model/1 document: kind, inputs and the trees or features."""
        ...

    def importance(self) -> dict[str, float]:
        """Column key → importance ≥ 0, not normalised."""
        ...


def columns_of(ticket: dict[str, Any], exclude: Iterable[tuple[str, str]] = ()) -> list[Column]:
    """The columns a ticket lists, bank first, without the (party, name) pairs in `exclude`."""
    dropped = set(exclude)
    return [
        Column(party, column["name"], column["kind"], column.get("unit") == "days_after_as_of")
        for party in PARTIES
        for column in ticket["parties"][party]["columns"]
        if (party, column["name"]) not in dropped
    ]


def used_inputs(columns: Iterable[Column], used: set[str]) -> dict[str, list[dict[str, str]]]:
    """The `inputs` object of a model document: only columns the model really reads."""
    out: dict[str, list[dict[str, str]]] = {party: [] for party in PARTIES}
    for column in columns:
        if column.key in used:
            out[column.party].append({"name": column.name, "kind": column.kind})
    return out
