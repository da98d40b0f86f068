"""Writes events into the store and keeps it tidy.

Owns the split of files: a record that was only ever asserted once lies in a `base` file; as soon as a second event
about it arrives, its whole history lies in `amended` files, copied into the files of that commit. So the view of a date
reads nearly everything without resolving versions, and a commit by itself tells all about the records that it amends.
Never changes a file: a commit adds and retires whole files.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from features.catalogue.model import Catalogue, Category
from features.store import clustered, manifest, schema
from features.store.engine import connect, literal
from features.store.manifest import File, Snapshot
from features.store.schema import StoreRefused

_KEY = "source, record_id"
_ORDER = "uscc, event_date, source, record_id"


@dataclass(frozen=True)
class Receipt:
    """What became of a batch: rows delivered, rows new to the store, rows that it had already."""

    batch: str
    delivered: int
    written: int
    redelivered: int
    seq: int


class EventStore:
    """The store below `root` (made if needed). One writer at a time; any number of readers."""

    def __init__(self, root: Path | str, catalogue: Catalogue) -> None:
        self.root = Path(root)
        self.catalogue = catalogue
        (self.root / "manifest").mkdir(parents=True, exist_ok=True)

    def snapshot(self) -> Snapshot:
        return manifest.read(self.root)

    def latest(self) -> int:
        """The number of the last commit; cheap."""
        return manifest.latest(self.root)

    def write(
        self,
        batch: str,
        tables: Mapping[str, pa.Table],
        *,
        source: str | None = None,
        known_at: dt.datetime | None = None,
    ) -> Receipt:
        """One batch, all of its categories at once or nothing.

        `tables`: category → table with the columns of `schema.columns`; `source` and `known_at` fill in columns
        that a table does not have. An event that the store has already, by source, record id and content, and
        knew no later, is passed over, so a batch may be delivered any number of times and in any order.
        Raises StoreRefused, UnknownName.
        """
        defaults = {"batch": batch, "source": source, "known_at": known_at}
        conformed = {
            name: schema.conform(self.catalogue.category(name), table, defaults) for name, table in tables.items()
        }
        delivered = sum(len(table) for table in conformed.values())
        with self._alone():
            before = self.snapshot()
            added: list[File] = []
            written = 0
            for name, table in conformed.items():
                fresh, files = self._add(before, self.catalogue.category(name), table)
                written += fresh
                added += files
            seq = before.seq
            if added:
                seq = manifest.append(before, batch, self.catalogue.version, added, []).seq
        return Receipt(batch, delivered, written, delivered - written, seq)

    def compact(self, category: str) -> Snapshot:
        """Merges the files of each month into one per kind, and drops base rows whose history lies in `amended`."""
        wanted = self.catalogue.category(category)
        with self._alone():
            before = self.snapshot()
            base, amended = before.of(category, "base"), before.of(category, "amended")
            added: list[File] = []
            removed: list[str] = []
            for kind, files in (("base", base), ("amended", amended)):
                for month in sorted({one.month for one in files}):
                    merged = [one for one in files if one.month == month]
                    if len(merged) == 1:
                        continue
                    with connect() as db:
                        rows = f"SELECT DISTINCT * FROM {before.table(merged)} m"
                        if kind == "base" and amended:
                            rows += f" ANTI JOIN {before.table(amended)} a USING ({_KEY})"
                        db.execute(f"CREATE TEMP TABLE merged AS {rows}")
                        added += self._store(db, wanted, kind, "merged")
                    removed += [one.path for one in merged]
            return manifest.append(before, None, self.catalogue.version, added, removed) if removed else before

    def cluster(self, category: str) -> None:
        """Makes the copy in the order of enterprises that refreshes and single reads fetch from (see `clustered`)."""
        self.catalogue.category(category)
        with self._alone(), TemporaryDirectory(dir=self.root) as spill, connect(spill=Path(spill)) as db:
            clustered.make(db, self.snapshot(), category)

    def sweep(self) -> list[str]:
        """Removes files that no commit names: leftovers of a killed writer, and files that were merged away.

        For a time when nobody reads. Returns the paths.
        """
        with self._alone():
            counted = {one.path for one in self.snapshot().files}
            gone = []
            for path in sorted((*(self.root / "events").rglob("*.*"), *(self.root / "manifest").glob(".*.draft"))):
                name = path.relative_to(self.root).as_posix()
                if name not in counted:
                    path.unlink()
                    gone.append(name)
            return gone

    def verify(self) -> None:
        """Every file that counts is there, byte for byte. Raises StoreRefused naming the first that is not."""
        for one in self.snapshot().files:
            path = self.root / one.path
            if not path.is_file() or _sha256(path) != one.sha256:
                raise StoreRefused(
                    "store_damaged",
                    f"{one.path}: missing or not as written; restore it from the backup",
                    f"{one.path}：缺失或与写入时不一致，请从备份恢复",
                )

    # ---- writing -------------------------------------------------------------------------------------------------

    def _add(self, before: Snapshot, category: Category, table: pa.Table) -> tuple[int, list[File]]:
        """Writes what is new of a table; returns how many rows that is and the files."""
        base, amended = before.of(category.id, "base"), before.of(category.id, "amended")
        with connect() as db:
            db.register("delivered", table)
            db.execute(
                f"CREATE TEMP TABLE incoming AS SELECT *, {_content(category)} AS content FROM delivered "
                f"QUALIFY row_number() OVER (PARTITION BY {_KEY}, content ORDER BY known_at) = 1"
            )
            every = ", ".join((*schema.columns(category), "content"))
            for name, files in (("in_base", base), ("in_amended", amended)):
                found = f"SELECT * FROM {before.table(files)} SEMI JOIN incoming USING ({_KEY})" if files else None
                empty = f"SELECT {every} FROM incoming WHERE false"
                db.execute(f"CREATE TEMP TABLE {name} AS {found or empty}")
            db.execute(f"""
                CREATE TEMP TABLE fresh AS
                SELECT * FROM incoming i WHERE NOT EXISTS (
                    SELECT 1 FROM (
                        SELECT {_KEY}, content, known_at FROM in_base
                        UNION ALL SELECT {_KEY}, content, known_at FROM in_amended
                    ) s
                    WHERE s.source = i.source AND s.record_id = i.record_id AND s.content = i.content
                        AND s.known_at <= i.known_at
                )
            """)
            fresh = _count(db, "fresh")
            if not fresh:
                return 0, []
            db.execute(f"""
                CREATE TEMP TABLE again AS
                SELECT DISTINCT {_KEY} FROM fresh SEMI JOIN in_base USING ({_KEY})
                UNION SELECT DISTINCT {_KEY} FROM fresh SEMI JOIN in_amended USING ({_KEY})
                UNION SELECT {_KEY} FROM fresh GROUP BY ALL HAVING count(*) > 1
                UNION SELECT {_KEY} FROM fresh WHERE op <> 'assert'
            """)
            db.execute(f"CREATE TEMP TABLE new_base AS SELECT * FROM fresh ANTI JOIN again USING ({_KEY})")
            db.execute(f"""
                CREATE TEMP TABLE new_amended AS
                SELECT * FROM fresh SEMI JOIN again USING ({_KEY})
                UNION ALL BY NAME
                SELECT * FROM in_base SEMI JOIN again USING ({_KEY}) ANTI JOIN in_amended USING ({_KEY})
                UNION ALL BY NAME
                SELECT * FROM in_amended SEMI JOIN again USING ({_KEY})
            """)
            files = self._store(db, category, "base", "new_base")
            files += self._store(db, category, "amended", "new_amended")
        return fresh, files

    def _store(self, db: duckdb.DuckDBPyConnection, category: Category, kind: str, table: str) -> list[File]:
        """Writes a table as one file per month of `known_at`, sorted by enterprise."""
        columns = [name for (name,) in db.execute(f"SELECT column_name FROM (DESCRIBE {table})").fetchall()]
        months = db.execute(f"""
            SELECT strftime(known_at, '%Y-%m') AS month, count(*), min(known_at), max(known_at),
                min(event_date), max(event_date) FROM {table} GROUP BY month ORDER BY month
        """).fetchall()
        written = []
        for month, rows, known_first, known_last, event_first, event_last in months:
            folder = self.root / "events" / category.id / month
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{kind}-{secrets.token_hex(8)}.parquet"
            draft = path.with_suffix(".draft")
            db.execute(
                f"COPY (SELECT * FROM {table} WHERE strftime(known_at, '%Y-%m') = ? ORDER BY {_ORDER}) "
                f"TO {literal(str(draft))} (FORMAT parquet, COMPRESSION zstd)",
                [month],
            )
            with draft.open("rb") as stream:
                os.fsync(stream.fileno())
            draft.rename(path)
            manifest.settle(folder)
            written.append(
                File(
                    category=category.id,
                    month=month,
                    kind=kind,
                    path=path.relative_to(self.root).as_posix(),
                    rows=rows,
                    sha256=_sha256(path),
                    known=(known_first.isoformat(), known_last.isoformat()),
                    event=(event_first.isoformat(), event_last.isoformat()),
                    columns=tuple(columns),
                )
            )
        return written

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.root / "writer.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _content(category: Category) -> str:
    """A fingerprint of what an event says, apart from when and in which batch it came: 64 bits of SHA-256.

    It is compared only between events of one record. Each part is written with its name and length, so that no two
    different events give one text; an empty item leaves no trace, so that a new item changes no earlier content.
    """
    names = ["uscc", "event_date", "op", "revision", *(item.name for item in category.items)]
    parts = ", ".join(f"'{name}:' || length({name}::VARCHAR) || ':' || {name}::VARCHAR" for name in names)
    return f"('0x' || left(sha256(concat_ws(',', {parts})), 16))::UBIGINT"


def _count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    [(count,)] = db.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
