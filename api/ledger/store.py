"""The log in PostgreSQL: `consent.ledger.Store` over the tables of the ledger, in the caller's transaction.

Owns the statements, and turns a clash of two writers into AppendConflict. It takes no lock (the service does), and
never changes or removes a row: the database would refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from consent.ledger.errors import AppendConflict
from consent.ledger.heads import unverified
from consent.ledger.merkle import Key
from consent.ledger.store import conflict

_BATCH = 4096

_SIZE = sa.text("SELECT coalesce(max(position) + 1, 0) FROM ledger_entry WHERE log_id = :log")
_ENTRIES = sa.text(
    "SELECT position, entry FROM ledger_entry "
    "WHERE log_id = :log AND position >= :start AND position < :stop ORDER BY position LIMIT :most"
)
_NODES = sa.text(
    "SELECT n.hash FROM unnest(CAST(:levels AS smallint[]), CAST(:positions AS bigint[])) WITH ORDINALITY "
    "AS k(level, position, number) LEFT JOIN ledger_node n "
    "ON n.log_id = :log AND n.level = k.level AND n.position = k.position ORDER BY k.number"
)
_ADD_ENTRIES = sa.text(
    "INSERT INTO ledger_entry (log_id, position, entry) SELECT :log, :start + k.number - 1, k.entry "
    "FROM unnest(CAST(:entries AS bytea[])) WITH ORDINALITY AS k(entry, number)"
)
_ADD_NODES = sa.text(
    "INSERT INTO ledger_node (log_id, level, position, hash) SELECT :log, k.level, k.position, k.hash FROM "
    "unnest(CAST(:levels AS smallint[]), CAST(:positions AS bigint[]), CAST(:hashes AS bytea[])) "
    "AS k(level, position, hash)"
)
_HEADS = sa.text(
    "SELECT number, head FROM ledger_head WHERE log_id = :log AND number > :after ORDER BY number LIMIT :most"
)
_LAST_HEAD = sa.text("SELECT head FROM ledger_head WHERE log_id = :log ORDER BY number DESC LIMIT 1")
_ADD_HEAD = sa.text(
    "INSERT INTO ledger_head (log_id, number, size, head) "
    "SELECT :log, coalesce(max(number) + 1, 0), :size, :head FROM ledger_head WHERE log_id = :log"
)
_END = 2**62


class PostgresStore:
    """Log `log_id` as the transaction of `session` sees it."""

    def __init__(self, session: Session | sa.Connection, log_id: str, hash_name: str) -> None:
        self._session = session
        self.log_id, self.hash_name = log_id, hash_name

    def size(self) -> int:
        return int(self._session.execute(_SIZE, {"log": self.log_id}).scalar_one())

    def append(self, start: int, entries: Sequence[bytes], completed: Sequence[Sequence[bytes]]) -> None:
        if (size := self.size()) != start:
            raise conflict(start, size)
        nodes = [
            (level, (start >> level) + offset, found)
            for level, hashes in enumerate(completed)
            for offset, found in enumerate(hashes)
        ]
        try:
            self._session.execute(_ADD_ENTRIES, {"log": self.log_id, "start": start, "entries": list(entries)})
            self._session.execute(
                _ADD_NODES,
                {
                    "log": self.log_id,
                    "levels": [level for level, _, _ in nodes],
                    "positions": [position for _, position, _ in nodes],
                    "hashes": [found for _, _, found in nodes],
                },
            )
        except IntegrityError as error:
            raise AppendConflict(
                f"the log of {start} entries has one or its hash at that place already: another writer was faster, or "
                "the tables were changed by hand (creditlab ledger fsck tells)",
                f"日志第 {start} 条处已有记录或杂凑值：有他人先行写入，或数据表被改动（请运行 creditlab ledger fsck）",
            ) from error

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """A batch at a time and without a cursor on the server: reading has no transaction around it."""
        last = _END if stop is None else stop
        while start < last:
            where = {"log": self.log_id, "start": start, "stop": last, "most": _BATCH}
            rows = self._session.execute(_ENTRIES, where).all()
            for row in rows:
                yield bytes(row.entry)
            if len(rows) < _BATCH:
                return
            start = rows[-1].position + 1

    def nodes(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        if not keys:
            return []
        values = {
            "log": self.log_id,
            "levels": [level for level, _ in keys],
            "positions": [position for _, position in keys],
        }
        return [None if row[0] is None else bytes(row[0]) for row in self._session.execute(_NODES, values)]

    def append_head(self, head: bytes) -> None:
        values = {"log": self.log_id, "size": unverified(head).size, "head": head}
        try:
            self._session.execute(_ADD_HEAD, values)
        except IntegrityError as error:
            raise AppendConflict(
                "another head was signed in between: read the end again", "期间已有新的树头：请重新读取末尾"
            ) from error

    def heads(self) -> Iterator[bytes]:
        """Read as `entries` are."""
        after = -1
        while True:
            rows = self._session.execute(_HEADS, {"log": self.log_id, "after": after, "most": _BATCH}).all()
            for row in rows:
                yield bytes(row.head)
            if len(rows) < _BATCH:
                return
            after = rows[-1].number

    def last_head(self) -> bytes | None:
        found = self._session.execute(_LAST_HEAD, {"log": self.log_id}).scalar_one_or_none()
        return None if found is None else bytes(found)
