"""One owner's table, read and found fit for modelling, and the rows that may be taken from it.

Owns `load_side` and `select`. Never returns a table that any rule of `validation` refuses, and never decides
whose rows may be used: the caller names the ids.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from features.contract import Contract, SideName, read_contract
from features.faults import DataRefused
from features.reading import Column, read_table
from features.validation import examine

__all__ = ["Column", "Side", "UnknownColumn", "load_side", "select"]


class UnknownColumn(ValueError):
    """A selection names a column that the side does not offer."""

    code = "unknown_column"

    def __init__(self, name: str, side: Side) -> None:
        self.message = (
            f"{side.file}: column `{name}` is not offered for modelling; offered: "
            f"{', '.join(side.offered)}. Remedy: name offered columns only."
        )
        self.message_zh = (
            f"{side.file}：列 `{name}` 不可用于建模；可用的列：{', '.join(side.offered)}。处理：只选择可用的列。"
        )
        super().__init__(self.message)


@dataclass(frozen=True)
class Side:
    """A table that passed every rule one owner can check alone.

    `data` has the id (string) first, then the model columns (float64 or string; null = missing), the as-of date
    (date32) where the contract names one and, at the bank, the label (int64 0/1) and the split (string) where there
    is one. Ignored columns are not in memory.
    """

    side: SideName
    contract: Contract
    file: str
    party: str | None
    data: pa.Table
    columns: tuple[Column, ...]

    @property
    def id(self) -> str:
        return self.contract.id

    @property
    def rows(self) -> int:
        return int(self.data.num_rows)

    @property
    def ids(self) -> list[str]:
        return list(self.data.column(self.id).to_pylist())

    @property
    def offered(self) -> tuple[str, ...]:
        """Every column that `select` may return besides the id."""
        return tuple(name for name in self.data.column_names if name != self.id)

    def row(self, enterprise: str) -> dict[str, float | str | None] | None:
        """The model columns of one enterprise (None = missing value), or None when it is not in the table."""
        at = pc.index(self.data.column(self.id), enterprise).as_py()
        if at < 0:
            return None
        return {column["name"]: self.data.column(column["name"])[at].as_py() for column in self.columns}

    def describe(self) -> dict[str, object]:
        """What the owner tells the control plane about this table: names and a row count, no data."""
        contract, bank = self.contract, self.contract.bank
        described: dict[str, object] = {
            "name": contract.name,
            "title": contract.title,
            "id": contract.id,
            "as_of": contract.as_of,
            "columns": [dict(column) for column in self.columns],
            "rows": self.rows,
        }
        if self.side == "bank":
            described["label"] = bank.label
            described["split"] = (
                {"column": bank.split, "train": bank.train, "test": bank.test}
                if bank.split
                else {"hash_test_share": 0.3}
            )
            described["party"] = self.party
        return described


def load_side(folder: Path | str, side: SideName, party: str | None = None, *, today: dt.date | None = None) -> Side:
    """One owner's table of the folder, or that bank's rows; raises DataRefused with every fault."""
    contract = read_contract(folder)
    reading = examine(read_table(folder, contract, side, party), today=today)
    if reading.faults or reading.data is None:
        raise DataRefused(reading.faults)
    kept = [contract.id, *(column["name"] for column in reading.columns)]
    data = reading.data
    if contract.as_of:
        kept.append(contract.as_of)
    if side == "bank":
        kept.append(contract.bank.label)
        at = data.column_names.index(contract.bank.label)
        data = data.set_column(at, contract.bank.label, data.column(at).cast(pa.int64()))
        if contract.bank.split:
            kept.append(contract.bank.split)
    return Side(side, contract, reading.file, party, data.select(kept).combine_chunks(), reading.columns)


def select(side: Side, ids: Collection[str], columns: Sequence[str]) -> bytes:
    """A Parquet file with the id and the named columns of exactly those rows whose id is in `ids`.

    Ids that the table does not hold are passed over. Rows keep the table's order; `columns` may name model
    columns, the as-of date and, at the bank, the label and the split. Raises UnknownColumn.
    """
    offered = set(side.offered)
    for name in columns:
        if name not in offered:
            raise UnknownColumn(name, side)
    wanted = pa.array(sorted(ids), pa.string())
    keep = pc.is_in(side.data.column(side.id), value_set=wanted)
    chosen = side.data.filter(keep).select([side.id, *columns])
    sink = io.BytesIO()
    pyarrow.parquet.write_table(chosen, sink, compression="zstd", store_schema=False)
    return sink.getvalue()
