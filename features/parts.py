"""One owner's own folder out of a folder that holds both tables.

Owns the splitting of an example so that each node can be given its own data and nothing else. In operation nobody
needs it: no folder there ever holds both tables.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from features.contract import FILE, SideName, read_contract
from features.faults import DataRefused, Fault


def write_part(folder: Path | str, out: Path | str, side: SideName, party: str | None = None) -> Path:
    """Write dataset.toml and one side's table into `out`; with `party`, only the rows of that bank.

    The rows are copied as they are, unchecked. Returns the table's path; raises DataRefused when the contract, the
    table or the party column is missing.
    """
    contract = read_contract(folder)
    spec = contract.side(side)
    source, target = Path(folder) / spec.table, Path(out) / spec.table
    if not source.is_file():
        raise DataRefused([Fault("file_missing", spec.table, params={"key": f"{side}.table"})])
    target.parent.mkdir(parents=True, exist_ok=True)
    if side == "lab" or party is None:
        shutil.copyfile(source, target)
    elif contract.bank.party is None:
        raise DataRefused([Fault("party_absent", FILE, "bank.party", params={"party": party})])
    elif source.suffix.lower() == ".csv":
        _filter_csv(source, target, contract.bank.party, party)
    else:
        _filter_parquet(source, target, contract.bank.party, party)
    shutil.copyfile(Path(folder) / FILE, Path(out) / FILE)
    return target


def _filter_parquet(source: Path, target: Path, column: str, party: str) -> None:
    table = pyarrow.parquet.read_table(source)
    if column not in table.column_names:
        raise DataRefused([_no_column(source, column)])
    owner = table.column(column).cast(pa.string())
    pyarrow.parquet.write_table(table.filter(pc.equal(owner, party)), target)


def _filter_csv(source: Path, target: Path, column: str, party: str) -> None:
    with (
        source.open(encoding="utf-8-sig", newline="") as stream,
        target.open("w", encoding="utf-8", newline="") as sink,
    ):
        rows, writer = csv.reader(stream), csv.writer(sink)
        header = next(rows, [])
        if column not in header:
            raise DataRefused([_no_column(source, column)])
        place = header.index(column)
        writer.writerow(header)
        writer.writerows(row for row in rows if len(row) > place and row[place] == party)


def _no_column(source: Path, column: str) -> Fault:
    return Fault("column_missing", source.name, column, params={"role": "bank.party", "hint": "", "hint_zh": ""})
