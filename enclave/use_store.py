"""The store of this node's log of uses: tables of the journal, kept in the transactions that use them.

Owns the tables and their reading and writing (`consent.ledger.Store`). It hashes and signs nothing, and the database
refuses to change what it holds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from consent.ledger.merkle import Key
from consent.ledger.store import conflict

_TABLES = """
CREATE TABLE IF NOT EXISTS log (one INTEGER PRIMARY KEY CHECK (one = 1), log_id TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS log_entry (position INTEGER PRIMARY KEY, entry BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS log_node (
  level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_head (number INTEGER PRIMARY KEY, head BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS log_form (number INTEGER PRIMARY KEY, form TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS log_use (
  use INTEGER PRIMARY KEY, position INTEGER NOT NULL UNIQUE, form INTEGER NOT NULL, salt BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS log_job (job_id TEXT PRIMARY KEY, head BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS log_entered (job_id TEXT PRIMARY KEY, head BLOB NOT NULL, job BLOB NOT NULL);
"""
_KEPT = ("log", "log_entry", "log_node", "log_head", "log_form", "log_use", "log_job", "log_entered")
SCHEMA = _TABLES + "".join(
    f"CREATE TRIGGER IF NOT EXISTS {table}_{what.lower()} BEFORE {what} ON {table}"
    " BEGIN SELECT RAISE(ABORT, 'append only'); END;\n"
    for table in _KEPT
    for what in ("UPDATE", "DELETE")
)


class SqliteStore:
    """The log over one connection; the caller holds the journal's lock and ends the transaction."""

    def __init__(self, db: sqlite3.Connection, log_id: str, hash_name: str) -> None:
        self._db = db
        self.log_id = log_id
        self.hash_name = hash_name

    def size(self) -> int:
        found: int = self._db.execute("SELECT coalesce(max(position) + 1, 0) FROM log_entry").fetchone()[0]
        return found

    def append(self, start: int, entries: Sequence[bytes], completed: Sequence[Sequence[bytes]]) -> None:
        if start != (size := self.size()):
            raise conflict(start, size)
        self._db.executemany("INSERT INTO log_entry VALUES (?, ?)", list(enumerate(entries, start)))
        for level, hashes in enumerate(completed):
            begin = start >> level  # the first subtree of this level that was not complete
            self._db.executemany(
                "INSERT INTO log_node VALUES (?, ?, ?)",
                [(level, position, found) for position, found in enumerate(hashes, begin)],
            )

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        found = self._db.execute(
            "SELECT entry FROM log_entry WHERE position >= ? AND (?2 IS NULL OR position < ?2) ORDER BY position",
            (start, stop),
        )
        for (raw,) in found:
            yield bytes(raw)

    def nodes(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        out: list[bytes | None] = []
        for key in keys:
            row = self._db.execute("SELECT hash FROM log_node WHERE level = ? AND position = ?", key).fetchone()
            out.append(None if row is None else bytes(row[0]))
        return out

    def append_head(self, head: bytes) -> None:
        self._db.execute("INSERT INTO log_head (head) VALUES (?)", (head,))

    def heads(self) -> Iterator[bytes]:
        for (raw,) in self._db.execute("SELECT head FROM log_head ORDER BY number"):
            yield bytes(raw)

    def last_head(self) -> bytes | None:
        row = self._db.execute("SELECT head FROM log_head ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else bytes(row[0])
