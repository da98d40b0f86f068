"""The serving view: the state of every enterprise at one date, kept up day by day, read one enterprise at a time.

A view is a pointer to sorted, memory-mapped files, one whole one per category and one more for each refresh. Files are
never written again; a pointer is moved in one step, so a reader always has a whole view and a killed refresh leaves
nothing behind that counts. An enterprise about which something was learned after the view was made is computed from the
store at once, by the same plans, so that a repair or a dispute bites without waiting for the next refresh (R59).
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from features.derive import day, kept
from features.derive.build import build
from features.derive.compiler import Plan, months_since, plans
from features.derive.refresh import learned
from features.derive.view import Moment
from features.store import rows
from features.store.engine import MEMORY, THREADS, connect
from features.store.manifest import Snapshot
from features.store.rows import Rows
from features.store.store import EventStore

_POINTER = "current.json"
#: Of the names of a view's files; each is a table (see `features.store.rows`) and the names in its order.
_ENDING = ".view"
#: One name in so many is in memory.
_STRETCH = 256
#: Files of a category beyond which those of the refreshes are merged.
_MERGE_AFTER = 30
#: They are merged with the whole one too once their rows are this share of its own: no ordinary day pays for that.
_MERGE_WHOLE = 0.5

Value = float | str | None


class ViewRefused(ValueError):
    """The serving view cannot be used as it is. `code` says why."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        self.code = code
        self.message = message
        self.message_zh = message_zh
        super().__init__(message)


class ServingView:
    """The view in `folder` over a store. Threads and processes may share it for reading; one writes at a time."""

    def __init__(self, folder: Path | str, store: EventStore, *, threads: int = THREADS, memory: str = MEMORY) -> None:
        self.folder = Path(folder)
        self.store = store
        self._kept = kept.load(self.folder, store.catalogue)
        self._plans = plans(store.catalogue, compiled=self._kept)
        self._threads = threads
        self._memory = memory
        self._lock = threading.Lock()
        self._open: _Open | None = None

    # ---- making --------------------------------------------------------------------------------------------------

    def rebuild(self, as_of: dt.date) -> None:
        """Computes the state of every enterprise as of a date and publishes it. Raises ExpressionRefused."""
        snapshot = self.store.snapshot()
        self.folder.mkdir(parents=True, exist_ok=True)
        files = {}
        with self._tidied():
            with TemporaryDirectory(dir=self.folder) as spill, self._connect(spill) as db:
                for plan in self._plans:
                    files[plan.category.id], _ = self._whole(db, plan, snapshot, as_of)
            self._publish(as_of, snapshot, files)

    def refresh(self, as_of: dt.date) -> dict[str, int]:
        """Brings the view forward to a date and to what the store has learned; touches only what can have changed.

        Returns the number of enterprises computed anew, by category. Raises ViewRefused when there is no view, when
        the date lies before the view's, or when the catalogue is another than the view was made with.
        """
        pointer = self._pointer()
        first = dt.date.fromisoformat(pointer["as_of"])
        if as_of < first:
            raise ViewRefused(
                "view_backwards",
                f"the view is of {first}, later than {as_of}; rebuild it for the earlier date",
                f"视图的时点 {first} 晚于 {as_of}，请按较早的日期重建",
            )
        snapshot = self.store.snapshot()
        seq: int = pointer["seq"]
        files: dict[str, list[str]] = pointer["files"]
        # of whom the dropped records were, nothing says any more
        dropped = [plan for plan in self._plans if snapshot.expired.get(plan.category.id, 0) > seq]
        others = [plan for plan in self._plans if plan not in dropped]
        with self._tidied():
            with TemporaryDirectory(dir=self.folder) as spill, self._connect(spill) as db:
                jobs = day.find(db, snapshot, others, (seq, first), as_of, self._threads)
                counts = {job.plan.category.id: job.count for job in jobs}
                for name, file in day.compute(db, snapshot, jobs, as_of, self._write, self._threads).items():
                    files[name].append(file)
                for plan in dropped:
                    name = plan.category.id
                    files[name], counts[name] = self._whole(db, plan, snapshot, as_of)
                for name, (whole, *later) in files.items():
                    if len(later) < _MERGE_AFTER:
                        continue
                    if sum(map(self._count, later)) >= _MERGE_WHOLE * self._count(whole):
                        files[name] = [self._merge(db, files[name])]
                    else:
                        files[name] = [whole, self._merge(db, later)]
            self._publish(as_of, snapshot, files)
        return {plan.category.id: counts[plan.category.id] for plan in self._plans}

    def _whole(
        self, db: duckdb.DuckDBPyConnection, plan: Plan, snapshot: Snapshot, as_of: dt.date
    ) -> tuple[list[str], int]:
        """The file of every enterprise with records, and how many these are."""
        name = self._write(
            db, f"SELECT uscc, {plan.values(None)} FROM ({plan.state(snapshot, Moment(as_of))}) ORDER BY uscc"
        )
        return [name], self._count(name)

    def _count(self, name: str) -> int:
        """Rows of one of the view's files."""
        return Rows(self.folder / name).count

    def _connect(self, spill: str) -> duckdb.DuckDBPyConnection:
        return connect(threads=self._threads, memory=self._memory, spill=Path(spill))

    def _write(self, db: duckdb.DuckDBPyConnection, query: str) -> str:
        path = self.folder / f"{secrets.token_hex(8)}{_ENDING}"
        with db.sql(query).to_arrow_reader(100_000) as reader:
            _Sorted.write(path, reader)
        return path.name

    def _merge(self, db: duckdb.DuckDBPyConnection, names: list[str]) -> str:
        """One file from several: of each enterprise the row of the newest."""
        parts = []
        for number, name in enumerate(names):
            db.register(f"part_{number}", _Sorted(self.folder / name).table())
            parts.append(f"SELECT *, {number} AS part FROM part_{number}")
        newest = "row_number() OVER (PARTITION BY uscc ORDER BY part DESC) = 1"
        kept = f"SELECT * FROM ({' UNION ALL '.join(parts)}) QUALIFY {newest}"
        return self._write(db, f"SELECT * EXCLUDE (part) FROM ({kept}) ORDER BY uscc")

    def _publish(self, as_of: dt.date, snapshot: Snapshot, files: dict[str, list[str]]) -> None:
        pointer = {
            "as_of": as_of.isoformat(),
            "seq": snapshot.seq,
            "catalogue": self.store.catalogue.version,
            "files": files,
        }
        draft = self.folder / f".{secrets.token_hex(8)}.draft"
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(pointer, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.folder / _POINTER)
        if self._kept is None:
            self._kept = {name: one for plan in self._plans for name, one in plan.expressions.items()}
            kept.keep(self.folder, self.store.catalogue, self._kept)
        self._tidy(files)

    @contextmanager
    def _tidied(self) -> Iterator[None]:
        """What is made inside and then fails is taken off the disk again."""
        try:
            yield
        except BaseException:
            pointer = self.folder / _POINTER
            self._tidy(json.loads(pointer.read_text(encoding="utf-8"))["files"] if pointer.exists() else {})
            raise

    def _tidy(self, files: dict[str, list[str]]) -> None:
        """Takes the files that do not count, because others do, off the disk."""
        current = {name for names in files.values() for name in names}
        for old in self.folder.glob(f"*{_ENDING}.*"):
            if old.name.partition(_ENDING)[0] + _ENDING not in current:
                old.unlink()  # a reader that has it mapped keeps it

    # ---- reading -------------------------------------------------------------------------------------------------

    @property
    def as_of(self) -> dt.date:
        """The view's date. Raises ViewRefused."""
        return self._current().as_of

    def features(self, uscc: str) -> dict[str, Value]:
        """Every feature of one enterprise as of the view's date, by all that the store knows now.

        None = missing. An enterprise of which nothing is known has the catalogue's values for that case.
        Raises ViewRefused.
        """
        view = self._current()
        found = view.features(uscc)
        stale = view.stale(self.store, uscc)
        if stale:
            names = [feature.name for plan in stale for feature in plan.features]
            spine = pa.table({"uscc": [uscc], "as_of": pa.array([view.as_of], pa.date32())})
            [row] = build(self.store.snapshot(), self.store.catalogue, spine, names, threads=1).to_pylist()
            found |= {name: row[name] for name in names}
        return found

    def _pointer(self) -> dict[str, Any]:
        try:
            pointer: dict[str, Any] = json.loads((self.folder / _POINTER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ViewRefused(
                "view_missing", "there is no serving view yet; build it first", "尚无服务视图，请先构建"
            ) from None
        if pointer["catalogue"] != self.store.catalogue.version:
            raise ViewRefused(
                "view_catalogue",
                "the serving view was made with another catalogue; rebuild it",
                "服务视图由另一版本的目录生成，请重建",
            )
        return pointer

    def _current(self) -> _Open:
        for _ in range(3):  # a refresh may retire files between the two readings
            pointer = self._pointer()
            with self._lock:
                if self._open is not None and self._open.pointer == pointer:
                    return self._open
                try:
                    self._open = _Open(self.folder, pointer, self._plans)
                except FileNotFoundError:
                    continue
                return self._open
        raise ViewRefused("view_damaged", "a file of the serving view is gone; rebuild it", "服务视图缺少文件，请重建")


class _Sorted:
    """One file of rows sorted by `uscc`, mapped into memory: a lookup reads a stretch of names and one row."""

    def __init__(self, path: Path) -> None:
        self.rows = Rows(path)
        # as a plain array: the class of the mapping costs more than a lookup
        self._names = np.load(_names(path), mmap_mode="r").view(np.ndarray) if self.rows.count else np.empty(0, "S1")
        self._marks = np.load(_marks(path))

    @staticmethod
    def write(path: Path, reader: pa.RecordBatchReader) -> None:
        """Writes the rows of a query whose first column is `uscc`, ordered by it."""
        kept: list[pa.Array] = []

        def passing() -> Iterator[pa.RecordBatch]:
            for batch in reader:
                kept.append(batch.column(0))
                yield batch.drop_columns(["uscc"])

        rows.write(path, pa.schema([one for one in reader.schema if one.name != "uscc"]), passing(), {})
        names = rows.padded(pa.concat_arrays(kept) if kept else pa.array([], pa.string()))
        np.save(_names(path), names)
        np.save(_marks(path), names[::_STRETCH])

    def table(self) -> pa.Table:
        names = pa.array([name.decode() for name in self._names.tolist()], pa.string())
        return self.rows.take(slice(None)).add_column(0, "uscc", names)

    def row(self, uscc: str) -> dict[str, Any] | None:
        name = uscc.encode()
        at = (int(np.searchsorted(self._marks, name, "right")) - 1) * _STRETCH
        if at < 0 or "\0" in uscc:
            return None
        stretch = self._names[at : at + _STRETCH]
        place = int(np.searchsorted(stretch, name))
        if place == len(stretch) or stretch[place] != name:
            return None
        return self.rows.row(at + place)


def _names(path: Path) -> Path:
    return path.with_name(f"{path.name}.names.npy")


def _marks(path: Path) -> Path:
    """One in `_STRETCH` of the names."""
    return path.with_name(f"{path.name}.marks.npy")


class _Open:
    """One published view, open for reading."""

    def __init__(self, folder: Path, pointer: dict[str, Any], wanted: list[Plan]) -> None:
        self.pointer = pointer
        self.as_of = dt.date.fromisoformat(pointer["as_of"])
        self._plans = wanted
        self._files = {
            name: [_Sorted(folder / one) for one in reversed(names)] for name, names in pointer["files"].items()
        }
        self._db = connect(threads=1, memory="256MB")
        self._nothing = {
            plan.category.id: self._db.sql(f"SELECT {plan.values(None)} FROM ({plan.nothing()})")
            .to_arrow_table()
            .to_pylist()[0]
            for plan in wanted
        }
        self._dates = [one.name for plan in wanted for one in plan.features if one.kind == "months_since"]
        months = months_since("day", f"DATE '{self.as_of}'")
        self._since = f"SELECT {months} FROM (SELECT unnest(?::DATE[]) AS day)"
        self._months: dict[dt.date | None, float | None] = {None: None}
        self._lock = threading.Lock()
        self._seen = pointer["seq"]
        self._learned: dict[str, set[str]] = {plan.category.id: set() for plan in wanted}

    def features(self, uscc: str) -> dict[str, Value]:
        found: dict[str, Any] = {}
        for name, nothing in self._nothing.items():
            asked = (one.row(uscc) for one in self._files[name])
            found |= next((row for row in asked if row is not None), nothing)
        return found | self._counted({name: found[name] for name in self._dates})

    def _counted(self, days: dict[str, dt.date | None]) -> dict[str, float | None]:
        """Dates as months up to the view's; each day is asked of the database once."""
        fresh = list({day for day in days.values() if day not in self._months})
        if fresh:
            answers = self._db.cursor().execute(self._since, [fresh]).fetchall()
            self._months |= {day: months for day, (months,) in zip(fresh, answers, strict=True)}
        return {name: self._months[day] for name, day in days.items()}

    def stale(self, store: EventStore, uscc: str) -> list[Plan]:
        """The plans for whose category the store has learned something about the enterprise since the view was made."""
        with self._lock:
            if store.latest() > self._seen:
                snapshot = store.snapshot()
                for plan in self._plans:
                    query = learned(snapshot, plan, self._seen, self.as_of, self.as_of)
                    if query:
                        self._learned[plan.category.id] |= {one for (one,) in self._db.execute(query).fetchall()}
                self._seen = snapshot.seq
            return [plan for plan in self._plans if uscc in self._learned[plan.category.id]]
