"""One party's input table inside the engine.

Owns reading `table.parquet`, the checks an engine makes before anything runs, and the dropping of rows. It holds
columns as numpy arrays in memory and never writes them anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from models.binning import to_numeric

from .errors import EngineError


@dataclass
class Table:
    """`ids` (text), `columns` name → array of the same length, `kinds` name → numeric|categorical; the bank's own
    table has `label` (0/1) and, when the ticket splits by a column, `split`. `as_of` holds the date of each row as text
    where the ticket names such a column; `dated` the columns that count days after it."""

    ids: np.ndarray
    columns: dict[str, np.ndarray]
    kinds: dict[str, str]
    label: np.ndarray | None = None
    split: np.ndarray | None = None
    as_of: np.ndarray | None = None
    dated: frozenset[str] = frozenset()

    def take(self, rows: np.ndarray) -> Table:
        """The given rows (positions or mask) as a new table."""
        return Table(
            self.ids[rows],
            {name: values[rows] for name, values in self.columns.items()},
            self.kinds,
            None if self.label is None else self.label[rows],
            None if self.split is None else self.split[rows],
            None if self.as_of is None else self.as_of[rows],
            self.dated,
        )

    def dropping(self, names: Collection[str]) -> Table:
        """The table without these columns; names that it does not hold are of no concern."""
        left = [name for name in self.columns if name not in names]
        return replace(
            self,
            columns={name: self.columns[name] for name in left},
            kinds={name: self.kinds[name] for name in left},
        )

    def without(self, ids: Collection[str]) -> Table:
        """The table without these ids."""
        return self if not ids else self.take(~np.isin(self.ids, np.array(sorted(ids), dtype=object)))

    def aligned(self, ids: Sequence[str]) -> Table:
        """The rows of exactly these ids, in their order."""
        position = {value: index for index, value in enumerate(self.ids)}
        return self.take(np.array([position[value] for value in ids], dtype=np.int64))


def load(folder: str, ticket: dict[str, Any], party: str, exclude_columns: Collection[str]) -> Table:
    """Read and check `table.parquet` of this party. Raises EngineError(input_malformed | label_not_binary …).

    Messages name columns, never values: they may end in a log.
    """
    path = os.path.join(folder, "table.parquet")
    dataset = ticket["dataset"]
    declared = [column for column in ticket["parties"][party]["columns"] if column["name"] not in exclude_columns]
    if not declared:
        raise EngineError("no_columns", party)
    split_column = dataset["split"].get("column") if party == "bank" else None
    wanted = [dataset["id"], *(column["name"] for column in declared)]
    if dataset.get("as_of"):
        wanted.append(dataset["as_of"])
    if party == "bank":
        wanted += [dataset["label"]] + ([split_column] if split_column else [])
    present = set(parquet.read_schema(path).names)
    for name in wanted:
        if name not in present:
            raise EngineError("input_malformed", f"column {name!r} is missing", f"缺少列 {name!r}")
    frame = parquet.read_table(path, columns=list(dict.fromkeys(wanted))).to_pandas()
    ids = frame[dataset["id"]].to_numpy(dtype=object)
    if any(not isinstance(value, str) or not value for value in ids):
        raise EngineError(
            "input_malformed", f"{dataset['id']!r}: empty or not text", f"{dataset['id']!r}：为空或不是文本"
        )
    if len(set(ids)) != len(ids):
        raise EngineError("input_malformed", f"{dataset['id']!r}: repeated", f"{dataset['id']!r}：有重复")
    columns: dict[str, np.ndarray] = {}
    for column in declared:
        name = column["name"]
        values = frame[name].to_numpy()
        if column["kind"] == "numeric":
            try:
                values = to_numeric(values)
            except (TypeError, ValueError):
                raise EngineError(
                    "input_malformed", f"{name!r}: text in a numeric column", f"{name!r}：数值列含文本"
                ) from None
        columns[name] = values
    kinds = {column["name"]: column["kind"] for column in declared}
    dated = frozenset(column["name"] for column in declared if column.get("unit") == "days_after_as_of")
    as_of = frame[dataset["as_of"]].astype(str).to_numpy(dtype=object) if dataset.get("as_of") else None
    table = Table(ids, columns, kinds, as_of=as_of, dated=dated)
    if party == "bank":
        label = to_numeric(frame[dataset["label"]].to_numpy())
        if not np.isin(label, (0.0, 1.0)).all():
            raise EngineError("label_not_binary")
        table.label = label.astype(np.int8)
        if split_column:
            table.split = frame[split_column].to_numpy(dtype=object)
    return table
