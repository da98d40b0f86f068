"""A copy of a category's records in the order of enterprises, to fetch a few enterprises' rows at once.

The store's files are cut by month, so the records of one enterprise lie in as many files as there are months; this
copy has them side by side and is mapped into memory. Owns the copy and its index. It is made by upkeep, says nothing
that the store does not say, and is passed over when the files it was made from are no longer the ones that count.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import bisect
import datetime as dt
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from features.store import manifest
from features.store.manifest import Snapshot

_BATCH = 65_536
#: Columns that the view of a date never reads from a record of one version.
_LEFT_OUT = "batch, op, revision"


@dataclass(frozen=True)
class Part:
    """Rows side by side by `owner`, in batches of `_BATCH`, and an index of where each owner's rows begin."""

    rows: Path
    index: Path

    def fetch(self, owners: Iterable[str]) -> pa.Table:
        """All rows of these owners."""
        names, ends = self._ends()
        wanted = [np.empty(0, np.int64)]
        for one in sorted(set(owners)):
            at = bisect.bisect_left(range(len(names)), one, key=lambda place: names[place].as_py())
            if at < len(names) and names[at].as_py() == one:
                wanted.append(np.arange(ends[at - 1] if at else 0, ends[at]))
        rows = np.concatenate(wanted)
        reader = pa.ipc.open_file(pa.memory_map(str(self.rows)))
        batches = []
        for number in np.unique(rows // _BATCH):
            inside = rows[rows // _BATCH == number] - number * _BATCH
            batches.append(reader.get_batch(int(number)).take(pa.array(inside)))
        return pa.Table.from_batches(batches, reader.schema)

    def dated(self, column: str, ranges: Sequence[tuple[dt.date, dt.date]]) -> pa.Array:
        """The owners of rows whose date `column` lies in one of the ranges (first, last]."""
        names, ends = self._ends()
        reader = pa.ipc.open_file(pa.memory_map(str(self.rows)))
        epoch = dt.date(1970, 1, 1)
        found = [np.empty(0, np.int64)]
        if column in reader.schema.names:
            for number in range(reader.num_record_batches):
                days = reader.get_batch(number).column(column)
                # null dates stand for the first day of the calendar, which no range holds
                values = days.cast(pa.int32()).fill_null(-(2**31)).to_numpy()
                inside = np.zeros(len(values), bool)
                for first, last in ranges:
                    inside |= (values > (first - epoch).days) & (values <= (last - epoch).days)
                found.append(np.flatnonzero(inside) + number * _BATCH)
        owners = np.unique(np.searchsorted(ends, np.concatenate(found), side="right"))
        return names.take(pa.array(owners))

    def _ends(self) -> tuple[pa.StringArray, np.ndarray]:
        index = pa.ipc.open_file(pa.memory_map(str(self.index))).read_all().combine_chunks()
        if not len(index):
            return pa.array([], pa.string()), np.empty(0, np.int64)
        return index.column("owner").chunk(0), np.cumsum(index.column("rows").to_numpy())


@dataclass(frozen=True)
class Clustered:
    """The copy of one category. `covers`: paths of the files whose rows it holds.

    The part `base` has the records of one version, by their enterprise, without batch, op and revision; `amended` has
    every version of the others, once under each enterprise that any version names. A part without rows is left out.
    """

    covers: frozenset[str]
    parts: Mapping[str, Part]


def make(db: duckdb.DuckDBPyConnection, snapshot: Snapshot, category: str) -> None:
    """Writes the copy of a category and puts it in the place of the one before."""
    folder = snapshot.root / "clustered" / category
    folder.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    made = []
    for name, rows in (("base", _single), ("amended", _several)):
        files = snapshot.of(category, name)
        if files:
            made.append(name)
            db.execute(f"CREATE OR REPLACE TEMP VIEW part AS {rows(snapshot.table(files))}")
            part = _part(folder, token, name)
            _write(db.sql("SELECT * EXCLUDE (owner) FROM part ORDER BY owner"), part.rows)
            _write(db.sql("SELECT owner, count(*) AS rows FROM part GROUP BY owner ORDER BY owner"), part.index)
    covers = [one.path for one in snapshot.of(category)]
    draft = folder / f".{token}.json"
    draft.write_text(json.dumps({"token": token, "parts": made, "covers": covers}), encoding="utf-8")
    draft.replace(folder / "current.json")
    manifest.settle(folder)
    for old in folder.glob("*.arrow"):
        if not old.name.startswith(token):
            old.unlink()  # who has it mapped keeps it


def find(snapshot: Snapshot, category: str) -> Clustered | None:
    """The copy of a category, if there is one and every file that it was made from still counts."""
    folder = snapshot.root / "clustered" / category
    try:
        pointer = json.loads((folder / "current.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    covers = frozenset(pointer["covers"])
    if not covers <= {one.path for one in snapshot.of(category)}:
        return None
    return Clustered(covers, {name: _part(folder, pointer["token"], name) for name in pointer["parts"]})


def _single(events: str) -> str:
    return f"SELECT * EXCLUDE ({_LEFT_OUT}), uscc AS owner FROM {events}"


def _several(events: str) -> str:
    owners = f"SELECT DISTINCT source, record_id, uscc AS owner FROM {events}"
    return f"SELECT DISTINCT e.*, o.owner FROM {events} e JOIN ({owners}) o USING (source, record_id)"


def _part(folder: Path, token: str, name: str) -> Part:
    return Part(folder / f"{token}.{name}.arrow", folder / f"{token}.{name}-index.arrow")


def _write(rows: duckdb.DuckDBPyRelation, path: Path) -> None:
    """A file of batches of exactly `_BATCH` rows, the last one apart."""
    with rows.to_arrow_reader(_BATCH) as reader, pa.ipc.new_file(str(path), reader.schema) as writer:
        kept: list[pa.RecordBatch] = []
        for batch in reader:
            kept.append(batch)
            while sum(one.num_rows for one in kept) >= _BATCH:
                whole = pa.Table.from_batches(kept).combine_chunks()
                writer.write_table(whole.slice(0, _BATCH), max_chunksize=_BATCH)
                kept = whole.slice(_BATCH).to_batches()
        if kept:
            writer.write_table(pa.Table.from_batches(kept).combine_chunks(), max_chunksize=_BATCH)
