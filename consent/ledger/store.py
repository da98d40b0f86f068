"""Where a log is kept: the protocol of a store, one in memory, and copying a log from one store into another.

A store keeps bytes: entries, the hashes of complete subtrees, and heads. It never interprets, changes or removes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from consent.ledger.errors import AppendConflict
from consent.ledger.heads import check_log_id
from consent.ledger.merkle import HASH_BYTES, Frontier, Key, hash_function, leaf_hash

COPY_BATCH = 4096


class Store(Protocol):
    """One log. Appending is atomic: everything of one call is kept, or nothing."""

    @property
    def log_id(self) -> str: ...

    @property
    def hash_name(self) -> str: ...

    def size(self) -> int:
        """How many entries there are: the position of the next one."""
        ...

    def append(self, start: int, entries: Sequence[bytes], completed: Sequence[Sequence[bytes]]) -> None:
        """Adds entries from position `start`, and per level the hashes they complete (as `Frontier.extend` gives them).

        Raises AppendConflict when `start` is not the size.
        """
        ...

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The entries of these positions, in order; to the end without `stop`."""
        ...

    def nodes(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        """The stored hash of each complete subtree (level, position), None where there is none. One read for all."""
        ...

    def append_head(self, head: bytes) -> None: ...

    def heads(self) -> Iterator[bytes]:
        """Every signed head in the order in which it was added."""
        ...

    def last_head(self) -> bytes | None: ...


class MemoryStore:
    """A log in memory: 32 bytes a hash, and the entries."""

    def __init__(self, log_id: str, hash_name: str = "sha256") -> None:
        hash_function(hash_name)
        self.log_id, self.hash_name = check_log_id(log_id), hash_name
        self._entries: list[bytes] = []
        self._levels: list[bytearray] = []
        self._heads: list[bytes] = []

    def size(self) -> int:
        return len(self._entries)

    def append(self, start: int, entries: Sequence[bytes], completed: Sequence[Sequence[bytes]]) -> None:
        if start != len(self._entries):
            raise conflict(start, len(self._entries))
        self._entries.extend(entries)
        for level, hashes in enumerate(completed):
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += b"".join(hashes)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return iter(self._entries[start:stop])

    def nodes(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        out: list[bytes | None] = []
        for level, position in keys:
            row = self._levels[level] if level < len(self._levels) else b""
            out.append(bytes(row[position * HASH_BYTES : (position + 1) * HASH_BYTES]) or None)
        return out

    def append_head(self, head: bytes) -> None:
        self._heads.append(head)

    def heads(self) -> Iterator[bytes]:
        return iter(self._heads)

    def last_head(self) -> bytes | None:
        return self._heads[-1] if self._heads else None


def conflict(start: int, size: int) -> AppendConflict:
    return AppendConflict(
        f"the log holds {size} entries, not {start}: somebody appended in between, read its end again",
        f"日志已有 {size} 条记录而非 {start} 条：期间有他人写入，请重新读取末尾",
    )


def copy(source: Store, target: Store) -> None:
    """Every entry and head of `source` into an empty `target`, whose hashes are made anew from the entries.

    Raises AppendConflict when `target` is not empty.
    """
    if target.size():
        raise conflict(0, target.size())
    frontier = Frontier(target.hash_name)
    entries = source.entries()
    while batch := list(islice(entries, COPY_BATCH)):
        start = frontier.size
        target.append(start, batch, frontier.extend([leaf_hash(raw, target.hash_name) for raw in batch]))
    for head in source.heads():
        target.append_head(head)
