"""A copy of a category's records in the order of enterprises, to fetch a few enterprises' rows at once.

The store's files are cut by month, so the records of one enterprise lie in as many files as there are months; this
copy has them side by side and is mapped into memory. Owns the copy and its index. It is made by upkeep, says nothing
that the store does not say, and is passed over when the files it was made from are no longer the ones that count.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from features.store import manifest, rows
from features.store.manifest import Snapshot
from features.store.rows import Rows

_EPOCH = dt.date(1970, 1, 1)
#: Rows that are written at once.
_BATCH = 1 << 17
#: Told in `current.json`; a copy of another form is passed over and made anew by upkeep.
_FORM = 3
#: Columns that the view of a date never reads from a record of one version.
_LEFT_OUT = "batch, op, revision"


@dataclass(frozen=True)
class Places:
    """Where the rows of some owners begin and end, in the order of owners."""

    first: np.ndarray
    last: np.ndarray

    @property
    def rows(self) -> int:
        return int((self.last - self.first).sum())


@dataclass(frozen=True)
class Part:
    """Rows side by side by `owner`, and where to find an owner or a day among them.

    `stem`: path of the files without their endings. `dates`: the date columns of which a day can be looked up.
    """

    stem: Path
    dates: frozenset[str]

    def fetch(self, places: Places) -> pa.Table:
        """The rows of owners that `find` found, and no others but of a name that differs in NUL bytes at its end."""
        return Rows(self.stem).take(_spread(places.first, places.last))

    def dated(self, column: str, ranges: Iterable[tuple[dt.date, dt.date]]) -> list[str]:
        """The owners of rows whose date `column` lies in one of the ranges (first, last]."""
        if column not in self.dates:
            return []
        days, owners = np.load(_days(self.stem, column), mmap_mode="r")
        found = [np.empty(0, np.int32)]
        for first, last in ranges:
            # of the same type, or numpy makes a copy of all the days in another
            ends = np.array([(first - _EPOCH).days, (last - _EPOCH).days], days.dtype)
            low, high = np.searchsorted(days, ends, "right")
            found.append(owners[low:high])
        return [name.decode() for name in self._owners[np.unique(np.concatenate(found))].tolist()]

    def find(self, owners: Iterable[str]) -> Places:
        """Where the rows of these owners are."""
        names = self._owners
        coded = [owner.encode() for owner in set(owners)]
        wanted = np.sort(np.array([one for one in coded if len(one) <= names.itemsize], names.dtype))
        # `_ends[n]`: where the rows of owner n begin, and those of the one before end
        bounds = (np.searchsorted(names, wanted, side) for side in ("left", "right"))
        return Places(*(self._ends[places] for places in bounds))

    @cached_property
    def _owners(self) -> np.ndarray:
        return np.load(_names(self.stem), mmap_mode="r")

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.load(_bounds(self.stem), mmap_mode="r")


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
    made = {}
    for name, chosen in (("base", _single), ("amended", _several)):
        files = snapshot.of(category, name)
        if files:
            db.execute(f"CREATE OR REPLACE TEMP VIEW part AS {chosen(snapshot.table(files))}")
            made[name] = _make(db, folder / f"{token}.{name}")
    covers = [one.path for one in snapshot.of(category)]
    draft = folder / f".{token}.json"
    draft.write_text(json.dumps({"form": _FORM, "token": token, "parts": made, "covers": covers}), encoding="utf-8")
    draft.replace(folder / "current.json")
    manifest.settle(folder)
    for old in _files(folder):
        if not old.name.startswith(token):
            old.unlink()  # who has it mapped keeps it


def remove(snapshot: Snapshot, category: str) -> None:
    """Takes the copy of a category off the disk."""
    folder = snapshot.root / "clustered" / category
    for path in (folder / "current.json", *_files(folder)):
        path.unlink(missing_ok=True)


def find(snapshot: Snapshot, category: str) -> Clustered | None:
    """The copy of a category, if there is one and every file that it was made from still counts."""
    folder = snapshot.root / "clustered" / category
    try:
        pointer = json.loads((folder / "current.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if pointer.get("form") != _FORM:
        return None
    covers = frozenset(pointer["covers"])
    if not covers <= {one.path for one in snapshot.of(category)}:
        return None
    parts = {
        name: Part(folder / f"{pointer['token']}.{name}", frozenset(dates)) for name, dates in pointer["parts"].items()
    }
    return Clustered(covers, parts)


def _single(events: str) -> str:
    return f"SELECT * EXCLUDE ({_LEFT_OUT}), uscc AS owner FROM {events}"


def _several(events: str) -> str:
    owners = f"SELECT DISTINCT source, record_id, uscc AS owner FROM {events}"
    return f"SELECT DISTINCT e.*, o.owner FROM {events} e JOIN ({owners}) o USING (source, record_id)"


def _make(db: duckdb.DuckDBPyConnection, stem: Path) -> list[str]:
    """Writes the files of a part from the view `part`; returns its date columns."""
    kept = _write(db, stem)
    counted = db.sql("SELECT owner, count(*) AS rows FROM part GROUP BY owner ORDER BY owner").to_arrow_table()
    counted = counted.combine_chunks()
    names, counts = counted.column("owner").chunk(0), counted.column("rows").to_numpy()
    np.save(_names(stem), rows.padded(names))
    np.save(_bounds(stem), np.concatenate(([0], np.cumsum(counts))).astype(np.int64))
    for column, values in kept.items():
        _index(values, counts, _days(stem, column))
    return list(kept)


def _index(values: list[pa.Array], counts: np.ndarray, path: Path) -> None:
    """A file of the days of a column, in their order, and the number of an owner of each; a pair is there once."""
    owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    given = np.concatenate([one.is_valid().to_numpy(zero_copy_only=False) for one in values])
    days = np.concatenate([one.cast(pa.int32()).fill_null(0).to_numpy() for one in values])[given]
    owners = owners[given]
    if len(days):
        first, last = days.min(), days.max()
        # of 16 bits numpy sorts by counting, in a fraction of the time
        near = (days - first).astype(np.uint16) if int(last) - int(first) < 1 << 16 else days
        order = np.argsort(near, kind="stable")
        days, owners = days[order], owners[order]
        new = np.ones(len(days), bool)
        new[1:] = (days[1:] != days[:-1]) | (owners[1:] != owners[:-1])
        days, owners = days[new], owners[new]
    np.save(path, np.stack((days, owners)))


def _spread(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """All the numbers of the ranges [first, last), in their order."""
    lengths = last - first
    before = np.cumsum(lengths) - lengths
    return np.repeat(first - before, lengths) + np.arange(lengths.sum())


def _names(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.owners.npy")


def _bounds(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.ends.npy")


def _days(stem: Path, column: str) -> Path:
    return stem.with_name(f"{stem.name}.{column}.days.npy")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("[!.]*") if path.name != "current.json"]


def _write(db: duckdb.DuckDBPyConnection, stem: Path) -> dict[str, list[pa.Array]]:
    """Writes the rows of the view `part` in the order of owners; returns its date columns."""
    kept: dict[str, list[pa.Array]] = {}

    def passing(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            for name in dates:
                kept[name].append(batch.column(name))
            yield batch

    texts = _texts(db)
    with db.sql("SELECT * EXCLUDE (owner) FROM part ORDER BY owner").to_arrow_reader(_BATCH) as reader:
        dates = [one.name for one in reader.schema if pa.types.is_date(one.type)]
        kept |= {name: [] for name in dates}
        rows.write(stem, reader.schema, passing(reader), texts)
    return kept


def _texts(db: duckdb.DuckDBPyConnection) -> dict[str, tuple[int, int]]:
    """Of each text column of the view `part`: about how many different texts it has, and the bytes of the longest."""
    kinds = db.execute("SELECT column_name FROM (DESCRIBE part) WHERE column_type = 'VARCHAR'").fetchall()
    names = [name for (name,) in kinds if name != "owner"]
    asked = ", ".join(f"approx_count_distinct({one}), coalesce(max(strlen({one})), 0)" for one in names)
    [told] = db.execute(f"SELECT {asked} FROM part").fetchall()
    return {name: (told[2 * place], told[2 * place + 1]) for place, name in enumerate(names)}
