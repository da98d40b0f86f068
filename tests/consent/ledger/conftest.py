"""A small log with everything that belongs to it, and ways to change what it stores behind its back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consent.canonical import canonical
from consent.keys import SigningKey
from consent.ledger import Entry, FixedKeys, Ledger, MemoryStore, encode
from consent.ledger.merkle import Frontier, leaf_hash
from consent.signed import Document

LOG_KEY, OTHER_KEY = SigningKey.generate(), SigningKey.generate()
KEYS = FixedKeys(LOG_KEY.public)


def at(second: int) -> str:
    return f"2026-03-01T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"


def made(number: int, hash_name: str = "sha256", second: int | None = None) -> Entry:
    """A different entry for every number, at second 10 · number."""
    return Entry("data_use", at(10 * number if second is None else second), hash_name, f"{number:064x}")


class Log:
    """`size` entries; a signed head after each of `heads` entries."""

    def __init__(
        self, size: int, heads: Sequence[int] = (), hash_name: str = "sha256", log_id: str = "platform"
    ) -> None:
        self.store = MemoryStore(log_id, hash_name)
        self.ledger = Ledger(self.store)
        self.heads: list[Document] = []
        for number in range(size + 1):
            for _ in range(list(heads).count(number)):
                self.head()
            if number < size:
                self.ledger.append([made(number, hash_name)])

    def head(self, second: int | None = None) -> Document:
        # after the last entry, before the next
        time = 10 * self.ledger.size - 5 if second is None else second
        self.heads.append(self.ledger.sign_head(LOG_KEY, at(max(time, 0))))
        return self.heads[-1]

    # ---- what only somebody with access to the store can do

    @property
    def raws(self) -> list[bytes]:
        return self.store._entries

    def rehash(self) -> None:
        """All stored hashes made anew from the entries, so that they agree."""
        frontier = Frontier(self.store.hash_name)
        completed = frontier.extend([leaf_hash(raw, self.store.hash_name) for raw in self.raws])
        self.store._levels = [bytearray(b"".join(row)) for row in completed]

    def flip(self, level: int, position: int) -> None:
        self.store._levels[level][32 * position + 7] ^= 1

    def renumber(self) -> None:
        """Numbers in a row, so that nothing but the hashes tells."""
        from consent.ledger import decode

        self.store._entries = [encode(decode(raw).entry, number) for number, raw in enumerate(self.raws)]

    def put_head(self, number: int, head: Document) -> None:
        self.store._heads[number] = canonical(head)


@pytest.fixture
def log() -> type[Log]:
    return Log
