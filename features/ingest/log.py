"""Everything that ingestion did, in order: an append-only log in the store's folder (R37).

Owns the entries, the files that belong to them and the moment at which both begin to count. An entry names each file
with its hash and carries the hash of the entry before, so that nothing can be changed, removed or slipped in without
being noticed. A file that no entry names does not exist for a reader.

An entry that brings events into the store counts from the store's own commit: it is laid down as pending first, and is
in force as soon as the manifest names its batch. So a killed writer leaves either all of a batch or nothing.
"""

# ruff: noqa: S608 - the SQL names files of our own, never what a user types

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from features.ingest.delivery import Delivery
from features.ingest.reading import Raw
from features.ingest.refused import IngestRefused
from features.store import manifest
from features.store.engine import connect, parquet
from features.store.store import Receipt

FORMAT = "creditlab.ingest/1"
#: What an entry is about.
KINDS = ("collection", "correction", "release", "confirmation", "rejection", "reconciliation", "crosscheck", "ticket")
_FIRST = "0" * 64


@dataclass(frozen=True)
class Kept:
    """A file of an entry. `path` is relative to the store."""

    role: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One act of ingestion. For a collection these are the items of R37: time, object, method, source, submitter.

    `received_at`: the clock's time, from which its records count as known; `sha256`: of what was delivered; `counts`:
    rows by what became of them; `details`: what only one kind has. `store_seq`: the store's commit after it.
    """

    kind: str
    batch: str
    received_at: str
    submitter: str
    source: str = ""
    category: str = ""
    object: str = ""
    method: str = ""
    collected_at: str = ""
    backfill: bool = False
    file: str = ""
    sha256: str = ""
    catalogue: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Kept, ...] = ()
    store_seq: int = 0
    seq: int = 0
    previous: str = _FIRST
    format: str = FORMAT

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    @classmethod
    def of(
        cls, kind: str, number: int, delivery: Delivery, raw: Raw, received: dt.datetime, catalogue: str, **more: Any
    ) -> Entry:
        """The entry of what was delivered: R37's items from the delivery; `number` is the log's next."""
        return cls(
            kind=kind,
            batch=f"{delivery.source}.{delivery.category}.{number:08d}",
            received_at=received.isoformat(),
            submitter=delivery.submitter,
            source=delivery.source,
            category=delivery.category,
            object=delivery.object,
            method=delivery.method,
            collected_at=(delivery.collected_at or received).isoformat(),
            file=raw.name,
            sha256=raw.sha256,
            catalogue=catalogue,
            **more,
        )


class Log:
    """The log below the store folder `root`. One writer at a time, inside `alone`; any number of readers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "ingest"
        self._log = self.folder / "log"
        self._pending = self.folder / "pending.json"
        self._known: dict[str, Entry] = {}

    def entries(self, *kinds: str) -> list[Entry]:
        """What is in force, in order. Raises IngestRefused on a gap or a strange format."""
        # pending before log: an entry that is just being settled is then seen in one of the two
        try:
            pending = self._read(self._pending)
        except FileNotFoundError:
            pending = None
        found = []
        for place, path in enumerate(self._paths(), start=1):
            # an entry never changes, so it is read once; `verify` looks at the files themselves
            entry = self._known.get(path.name) or self._read(path)
            if entry.seq != place:
                raise _damaged(path.name)
            self._known[path.name] = entry
            found.append(entry)
        if pending and pending.seq == len(found) + 1:
            settled = self._settled(pending)
            found += [settled] if settled else []
        return [entry for entry in found if not kinds or entry.kind in kinds]

    def entry(self, seq: int) -> Entry:
        """The entry of that number, which is in force. Raises IngestRefused."""
        path = self._log / f"{seq:010d}.json"
        try:
            return self._read(path)
        except FileNotFoundError:
            raise _damaged(path.name) from None

    def files(self, role: str) -> list[Path]:
        """The files of that role that count, in order."""
        return [self.root / one.path for entry in self.entries() for one in entry.files if one.role == role]

    def next(self) -> int:
        return len(self._paths()) + 1

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other writers out and first settles what a killed one left behind."""
        self._log.mkdir(parents=True, exist_ok=True)
        with (self.folder / "writer.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._pending.exists():
                pending = self._read(self._pending)
                settled = self._settled(pending) if pending.seq == self.next() else None
                if settled:
                    self._append(settled)
                self._pending.unlink()
            yield

    def put(self, entry: Entry, role: str, table: pa.Table) -> Entry:
        """Lays down a Parquet file of an entry that is yet to be published; returns the entry naming it.

        `<role>/<category>/<month>/<batch>.parquet`, so that each category's and month's lie apart.
        """
        path = self.folder / role / (entry.category or "all") / entry.received_at[:7] / f"{entry.batch}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        pyarrow.parquet.write_table(table, draft, compression="zstd")
        return self._kept(entry, role, draft, path)

    def put_text(self, entry: Entry, role: str, ending: str, text: str | bytes) -> Entry:
        """The same for a text."""
        path = self.folder / role / (entry.category or "all") / entry.received_at[:7] / f"{entry.batch}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_bytes(text.encode() if isinstance(text, str) else text)
        return self._kept(entry, role, draft, path)

    def publish(self, entry: Entry, write: Callable[[], Receipt] | None = None) -> Entry:
        """Makes the entry count, together with what `write` brings into the store under `entry.batch`."""
        entry = replace(entry, seq=self.next(), store_seq=manifest.latest(self.root))
        if write:
            self._replace(self._pending, entry.to_json())
            receipt = write()
            entry = _outcome(entry, receipt.written, receipt.seq)
        entry = self._append(entry)
        self._pending.unlink(missing_ok=True)
        return entry

    def verify(self) -> None:
        """Every entry follows from the one before and every file is as written. Raises IngestRefused naming the first
        that is not."""
        before = _FIRST
        for path in self._paths():
            entry = self._read(path)
            if entry.previous != before:
                raise _damaged(path.name)
            before = _sha256(path)
            for one in entry.files:
                kept = self.root / one.path
                if not kept.is_file() or _sha256(kept) != one.sha256:
                    raise _damaged(one.path)
        self.entries()

    # ---- parts ---------------------------------------------------------------------------------------------------

    def _paths(self) -> list[Path]:
        return sorted(self._log.glob("[0-9]*.json"))

    def _read(self, path: Path) -> Entry:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said.get("format") != FORMAT:
            raise _damaged(path.name)
        return Entry(**{**said, "files": tuple(Kept(**one) for one in said["files"])})

    def _settled(self, pending: Entry) -> Entry | None:
        """The pending entry with its outcome, if the store has its batch."""
        for path in sorted((self.root / "manifest").glob("[0-9]*.json")):
            if int(path.stem) <= pending.store_seq:
                continue
            commit = json.loads(path.read_text(encoding="utf-8"))
            if commit["batch"] == pending.batch:
                files = parquet([self.root / one["path"] for one in commit["add"]], union=True)
                with connect() as db:
                    db.execute(f"SELECT count(*) FROM {files} WHERE batch = ?", [pending.batch])
                    [(written,)] = db.fetchall()
                return replace(_outcome(pending, int(written), commit["seq"]), previous=self._last())
        return None

    def _append(self, entry: Entry) -> Entry:
        entry = replace(entry, previous=self._last())
        path = self._log / f"{entry.seq:010d}.json"
        draft = self._log / f".{entry.seq:010d}.draft"
        _write(draft, entry.to_json())
        os.link(draft, path)  # fails where a rename would overwrite
        draft.unlink()
        manifest.settle(self._log)
        return entry

    def _last(self) -> str:
        paths = self._paths()
        return _sha256(paths[-1]) if paths else _FIRST

    def _kept(self, entry: Entry, role: str, draft: Path, path: Path) -> Entry:
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
        manifest.settle(path.parent)
        kept = Kept(role, path.relative_to(self.root).as_posix(), _sha256(path))
        return replace(entry, files=(*entry.files, kept))

    def _replace(self, path: Path, text: str) -> None:
        draft = path.with_suffix(".draft")
        _write(draft, text)
        draft.replace(path)
        manifest.settle(path.parent)


def decisions(entries: Sequence[Entry], source: str) -> dict[tuple[str, str], str]:
    """What persons decided about names of a source: (normal name, enterprise) → `confirmed` or `rejected`."""
    words = {"confirmation": "confirmed", "rejection": "rejected"}
    return {
        (entry.details["name"], entry.details["uscc"]): words[entry.kind]
        for entry in entries
        if entry.kind in words and entry.source == source
    }


def _outcome(entry: Entry, written: int, store_seq: int) -> Entry:
    counts = {**entry.counts, "written": written, "redelivered": entry.counts["accepted"] - written}
    return replace(entry, counts=counts, store_seq=store_seq)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damaged(name: str) -> IngestRefused:
    return IngestRefused(
        "ingest_log_damaged",
        f"{name}: missing or not as written; restore the folder `ingest` from its backup",
        f"{name}：缺失或与写入时不一致，请从备份恢复 ingest 文件夹",
    )
