"""The joined sample of a job: both parties' columns side by side, labels and row roles, in memory only.

Owns reading the input Parquet files, the join on the opaque id, and dropping enterprises. It never writes anything
and its errors name columns and counts, never a value.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.learners.base import Column
from models.roles import CAL, FIT, TEST, roles

__all__ = ["LEAST", "Sample", "TaskError", "join", "read_parquet", "single"]

LEAST = {FIT: 20, CAL: 5, TEST: 10}  # goods and bads each that a role needs


class TaskError(Exception):
    """A task that cannot be done, for a reason a person can act on. `code` is stable; no row value is repeated."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        super().__init__(message)
        self.code, self.message, self.message_zh = code, message, message_zh


@dataclass(frozen=True)
class Sample:
    """Aligned rows: ids (str), X (columns named Column.key), y (0/1), role ("fit", "cal", "test", "unused")."""

    ids: np.ndarray
    X: pd.DataFrame
    y: np.ndarray
    role: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, *names: str) -> np.ndarray:
        """Boolean mask of the rows in these roles."""
        return np.isin(self.role, names)

    def without(self, ids: Collection[str]) -> Sample:
        """The sample without these enterprises (itself when none of them is in it)."""
        gone = np.isin(self.ids, np.array(sorted(ids), dtype=object)) if ids else np.zeros(len(self), dtype=bool)
        if not gone.any():
            return self
        keep = ~gone
        return replace(
            self,
            ids=self.ids[keep],
            X=self.X.loc[keep].reset_index(drop=True),
            y=self.y[keep],
            role=self.role[keep],
        )

    def require_outcomes(self) -> None:
        """Raises TaskError when a role has too few goods or bads to fit, calibrate or judge a model."""
        if len(self) == 0:
            raise TaskError(
                "empty_intersection",
                "no enterprise is in both tables with a live consent; check that both sides use the same ids",
                "双方没有共同且授权有效的企业；请确认两方使用同一套企业标识",
            )
        for name, least in LEAST.items():
            bads = int(self.y[self.role == name].sum())
            goods = int((self.role == name).sum()) - bads
            if min(goods, bads) < least:
                raise TaskError(
                    "too_few_outcomes",
                    f"the {name} rows need at least {least} goods and {least} bads each, and have fewer; give more "
                    "rows, or change the split or evaluation.calibration_share",
                    f"{name} 样本中好、坏客户均须至少 {least} 户，目前不足；请增加样本或调整划分与校准比例",
                )


def read_parquet(source: bytes | str, what: str) -> pa.Table:
    """A table from a path or from bytes in memory. Raises TaskError without repeating the content."""
    try:
        return pq.read_table(pa.BufferReader(source) if isinstance(source, bytes) else source)
    except (pa.ArrowException, OSError) as error:
        raise TaskError(
            "input_unreadable",
            f"{what} is not a readable Parquet file ({type(error).__name__})",
            f"{what} 不是可读取的 Parquet 文件（{type(error).__name__}）",
        ) from None


def single(table: pa.Table, ticket: dict[str, Any], party: str, columns: Sequence[Column]) -> pd.DataFrame:
    """One party's columns named by Column.key, indexed by id (str). Raises TaskError for absent columns or ids."""
    own = [column for column in columns if column.party == party]
    frame = pd.DataFrame(index=pd.Index(_ids(table, ticket, party), name="id"))
    data = {column.key: _column(table, column.name, party, column.kind) for column in own}
    return pd.concat([frame, pd.DataFrame(data, index=frame.index)], axis=1)


def join(bank: pa.Table, lab: pa.Table | None, ticket: dict[str, Any], columns: Sequence[Column]) -> Sample:
    """The common enterprises in order of id; with `lab` None the bank's own rows. Raises TaskError."""
    frame = single(bank, ticket, "bank", columns)
    frame["y"] = _labels(bank, ticket)
    split = ticket["dataset"]["split"].get("column")
    if split is not None:
        frame["split"] = _column(bank, split, "bank", "categorical")
    if lab is not None:
        frame = frame.join(single(lab, ticket, "lab", columns), how="inner")
    frame = frame.sort_index()
    ids = frame.index.to_numpy(dtype=object)
    role = roles(ids.tolist(), None if split is None else frame["split"].tolist(), ticket)
    X = frame[[column.key for column in columns if column.key in frame]].reset_index(drop=True)
    return Sample(ids, X, frame["y"].to_numpy(dtype=np.int64), role)


def _ids(table: pa.Table, ticket: dict[str, Any], party: str) -> list[str]:
    name = ticket["dataset"]["id"]
    ids = [str(value) for value in _take(table, name, party).to_pylist()]
    if len(set(ids)) != len(ids):
        raise TaskError(
            "duplicate_id",
            f"{party}.{name}: an id occurs twice; one row per enterprise is needed",
            f"{party}.{name}：存在重复标识；每家企业只能有一行",
        )
    return ids


def _labels(table: pa.Table, ticket: dict[str, Any]) -> np.ndarray:
    name = ticket["dataset"]["label"]
    values = _take(table, name, "bank").to_numpy(zero_copy_only=False)
    if not np.isin(values, (0, 1)).all():
        raise TaskError(
            "label_not_binary",
            f"bank.{name}: the label must be 0 (good) or 1 (bad) in every row",
            f"bank.{name}：标签必须全部为 0（好）或 1（坏）",
        )
    return values.astype(np.int64)


def _column(table: pa.Table, name: str, party: str, kind: str) -> Any:
    values = _take(table, name, party)
    if kind == "categorical":
        return values.to_pandas().to_numpy(dtype=object)  # an index would align by row number, not by id
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        raise TaskError(
            "text_in_numeric_column",
            f"{party}.{name}: declared numeric but holds text; declare it categorical or clean it",
            f"{party}.{name}：声明为数值列但包含文本；请改为类别列或清洗数据",
        )
    return values.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _take(table: pa.Table, name: str, party: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise TaskError(
            "column_absent",
            f"{party}.{name}: the ticket names this column, the table has none",
            f"{party}.{name}：任务书中有此列，数据表中没有",
        )
    return table.column(name)
