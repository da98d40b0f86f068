"""A small valid pair of tables that each test spoils in one place."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from features.faults import Fault
from features.validation import check_pair

CONTRACT = """
name = "pair"
title = "A pair of tables"
id = "ent_id"
as_of = "as_of"

[bank]
table = "bank.csv"
label = "bad"
split = "window"
train = "train"
test = "oot"
party = "owner"
ignore = ["loan_nr"]
categorical = ["product"]

[lab]
table = "lab.csv"
ignore = []
categorical = ["industry"]
"""


def bank_row(number: int) -> dict[str, Any]:
    return {
        "ent_id": f"E{number:05d}",
        "as_of": f"2023-{1 + number % 12:02d}-15",
        "amount": 1000 + number,
        "ratio": number / 7,
        "product": ("loan", "credit line")[number % 2],
        "loan_nr": f"L-{number}",
        "owner": ("bank_a", "bank_b")[(number // 3) % 2],
        "window": "train" if number % 4 else "oot",
        "bad": int(number % 5 == 0),
    }


def lab_row(number: int) -> dict[str, Any]:
    return {
        "ent_id": f"E{number:05d}",
        "as_of": f"2023-{1 + number % 12:02d}-15",
        "kwh_yoy": round(number * 0.01 - 2, 2),
        "arrears": "" if number % 9 == 0 else number % 4,
        "industry": ("food", "metal", "")[number % 3],
    }


@dataclass
class Pair:
    """Two tables in memory, written as a folder on demand."""

    folder: Path
    bank: list[dict[str, Any]] = field(default_factory=lambda: [bank_row(n) for n in range(300)])
    lab: list[dict[str, Any]] = field(default_factory=lambda: [lab_row(n) for n in range(50, 400)])
    contract: str = CONTRACT

    def change(self, side: str, row: int, column: str, value: Any) -> Pair:
        """Put `value` into the 1-based data row of a table."""
        getattr(self, side)[row - 1][column] = value
        return self

    def every(self, side: str, column: str, value: Callable[[int], Any]) -> Pair:
        for number, row in enumerate(getattr(self, side), start=1):
            row[column] = value(number)
        return self

    def write(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "dataset.toml").write_text(self.contract, encoding="utf-8")
        for side in ("bank", "lab"):
            rows = getattr(self, side)
            with (self.folder / f"{side}.csv").open("w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else ["ent_id"])
                writer.writeheader()
                writer.writerows(rows)
        return self.folder

    def write_parquet(self, side: str, table: pa.Table) -> Path:
        """Write the folder with one table as Parquet."""
        self.contract = self.contract.replace(f"{side}.csv", f"{side}.parquet")
        self.write()
        pyarrow.parquet.write_table(table, self.folder / f"{side}.parquet")
        return self.folder

    def faults(self, party: str | None = None) -> list[Fault]:
        return check_pair(self.write(), party)

    def only(self) -> Fault:
        """The one fault of the folder; every fault must name remedy and file in both languages."""
        faults = self.faults()
        assert len(faults) == 1, [fault.text() for fault in faults]
        return faults[0]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "data")
