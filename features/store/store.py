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
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from features.catalogue.model import Catalogue, Category
from features.store import clustered, manifest, retention, schema
from features.store.engine import connect, literal
from features.store.fingerprint import fingerprints
from features.store.manifest import File, Snapshot
from features.store.schema import StoreRefused

_KEY = "source, record_id"
_ORDER = "uscc, event_date, source, record_id"
#: Rows of amended records up to which they are written as one file.
_TOGETHER = 100_000


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
                        news = max(one.told for one in merged)
                        added += [replace(one, news=news) for one in self._store(db, wanted, kind, "merged")]
                    removed += [one.path for one in merged]
            return manifest.append(before, None, self.catalogue.version, added, removed) if removed else before

    def cluster(self, category: str) -> None:
        """Makes the copy in the order of enterprises that refreshes and single reads fetch from (see `clustered`)."""
        self.catalogue.category(category)
        with self._alone(), TemporaryDirectory(dir=self.root) as spill, connect(spill=Path(spill)) as db:
            clustered.make(db, self.snapshot(), category)

    def expire(self, category: str, today: dt.date) -> int:
        """Drops the records whose time of retention is over (see `retention`), for good; returns how many.

        Their files and the copy by enterprise leave the disk, so this is for a time when nobody reads.
        """
        wanted = self.catalogue.category(category)
        with self._alone():
            before = self.snapshot()
            files = before.of(category)
            query = retention.expired(before, wanted, today)
            if not query:
                return 0
            with connect() as db:
                db.execute(f"CREATE TEMP TABLE over AS {query}")
                gone = _count(db, "over")
                if not gone:
                    return 0
                added: list[File] = []
                removed: list[str] = []
                for one in files:
                    rows = before.table([one])
                    db.execute(
                        f"CREATE OR REPLACE TEMP TABLE kept AS SELECT * FROM {rows} ANTI JOIN over USING ({_KEY})"
                    )
                    if _count(db, "kept") == one.rows:
                        continue
                    added += self._store(db, wanted, one.kind, "kept")
                    removed.append(one.path)
            manifest.append(before, None, self.catalogue.version, added, removed, (category,))
            for path in removed:
                (self.root / path).unlink()
            clustered.remove(before, category)
            return gone

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
        if not len(table):
            return 0, []
        with connect() as db:
            db.register("delivered", table.append_column("content", fingerprints(category, table)))
            db.execute(f"CREATE TEMP TABLE repeated AS SELECT {_KEY} FROM delivered GROUP BY ALL HAVING count(*) > 1")
            self._known(db, before, category)
            incoming = "delivered"
            if _count(db, "repeated"):
                # the same event twice in a batch counts once, from the first time it was known
                db.execute(f"""
                    CREATE TEMP TABLE incoming AS
                    SELECT * FROM delivered ANTI JOIN repeated USING ({_KEY})
                    UNION ALL
                    SELECT * FROM delivered SEMI JOIN repeated USING ({_KEY})
                    QUALIFY row_number() OVER (PARTITION BY {_KEY}, content ORDER BY known_at) = 1
                """)
                incoming = "incoming"
            if _count(db, "in_store"):
                # what the store has of these records: few, or a delivery that it has had before
                db.execute(f"""
                    CREATE TEMP TABLE fresh AS
                    SELECT * FROM {incoming} i WHERE NOT EXISTS (
                        SELECT 1 FROM in_store s
                        WHERE s.source = i.source AND s.record_id = i.record_id AND s.content = i.content
                            AND s.known_at <= i.known_at
                    )
                """)
                incoming = "fresh"
            fresh = _count(db, incoming)
            if not fresh:
                return 0, []
            db.execute(f"""
                CREATE TEMP TABLE again AS
                SELECT DISTINCT {_KEY} FROM {incoming} SEMI JOIN in_store USING ({_KEY})
                UNION SELECT {_KEY} FROM {incoming} SEMI JOIN repeated USING ({_KEY})
                    GROUP BY ALL HAVING count(*) > 1
                UNION SELECT {_KEY} FROM {incoming} WHERE op <> 'assert'
            """)
            if not _count(db, "again"):
                return fresh, self._store(db, category, "base", incoming)
            base, amended = before.of(category.id, "base"), before.of(category.id, "amended")
            every = ", ".join((*schema.columns(category), "content"))
            for name, files in (("in_base", base), ("in_amended", amended)):
                found = f"SELECT * FROM {before.table(files)} SEMI JOIN again USING ({_KEY})" if files else None
                db.execute(f"CREATE TEMP TABLE {name} AS {found or f'SELECT {every} FROM {incoming} WHERE false'}")
            db.execute(f"CREATE TEMP TABLE new_base AS SELECT * FROM {incoming} ANTI JOIN again USING ({_KEY})")
            db.execute(f"""
                CREATE TEMP TABLE new_amended AS
                SELECT * FROM {incoming} SEMI JOIN again USING ({_KEY})
                UNION ALL BY NAME
                SELECT * FROM in_base ANTI JOIN in_amended USING ({_KEY})
                UNION ALL BY NAME
                SELECT * FROM in_amended
            """)
            files = self._store(db, category, "base", "new_base")
            files += self._store(db, category, "amended", "new_amended")
        return fresh, files

    def _known(self, db: duckdb.DuckDBPyConnection, before: Snapshot, category: Category) -> None:
        """Keeps as the table `in_store` which events the store has of the records in `delivered`."""
        files = before.of(category.id)
        columns = f"{_KEY}, content, known_at"
        found = f"SELECT {columns} FROM {before.table(files)} SEMI JOIN delivered USING ({_KEY})" if files else None
        db.execute(f"CREATE TEMP TABLE in_store AS {found or f'SELECT {columns} FROM delivered WHERE false'}")

    def _store(self, db: duckdb.DuckDBPyConnection, category: Category, kind: str, table: str) -> list[File]:
        """Writes a table as one file per month of `known_at`, sorted by enterprise.

        A few amended records are one file, of the month last known: their histories reach over years, and what a
        reader pays for is the number of files.
        """
        columns = [name for (name,) in db.execute(f"SELECT column_name FROM (DESCRIBE {table})").fetchall()]
        whole = kind == "amended" and _count(db, table) <= _TOGETHER
        month_of = f"(SELECT strftime(max(known_at), '%Y-%m') FROM {table})" if whole else "strftime(known_at, '%Y-%m')"
        months = db.execute(f"""
            SELECT {month_of} AS month, count(*), min(known_at), max(known_at),
                min(event_date), max(event_date) FROM {table} GROUP BY month ORDER BY month
        """).fetchall()
        written = []
        for month, rows, known_first, known_last, event_first, event_last in months:
            folder = self.root / "events" / category.id / month
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{kind}-{secrets.token_hex(8)}.parquet"
            draft = path.with_suffix(".draft")
            some = f"WHERE strftime(known_at, '%Y-%m') = {literal(month)}" if len(months) > 1 else ""
            db.execute(
                f"COPY (SELECT * FROM {table} {some} ORDER BY {_ORDER}) "
                f"TO {literal(str(draft))} (FORMAT parquet, COMPRESSION zstd)"
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


def _count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    [(count,)] = db.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
