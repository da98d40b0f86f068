"""The writing side of a log: entries get their positions, hashes are kept, heads are signed, paths are read.

Owns the rule that time never runs backwards in a log. It keeps no clock and no key, and changes nothing once written.
"""

from __future__ import annotations

from collections.abc import Sequence

from consent.canonical import canonical
from consent.keys import SigningKey
from consent.ledger import merkle
from consent.ledger.entries import Entry, check, decode, encode
from consent.ledger.errors import ClockMovedBack, HashMixed
from consent.ledger.heads import Head, check_extends, sign_head, unverified
from consent.ledger.store import Store
from consent.signed import Document


class Ledger:
    """A log in `store`, taken up where it ends. Raises NodeMissing when the stored tree does not reach that far.

    Two writers exclude each other outside (one lock around opening and appending); a store refuses the second one.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        size = store.size()
        self._frontier = merkle.Frontier.read(store, size, store.hash_name)
        self._latest = ""  # the time of the last entry or head
        if size:
            (raw,) = store.entries(size - 1, size)
            self._latest = decode(raw).entry.at
        raw_head = store.last_head()
        self._head = None if raw_head is None else unverified(raw_head)
        if self._head is not None:
            self._latest = max(self._latest, self._head.at)

    @property
    def size(self) -> int:
        return self._frontier.size

    @property
    def latest(self) -> str:
        """The time of the last entry or head: nothing earlier is taken. Empty for a log without any."""
        return self._latest

    def root(self) -> bytes:
        return self._frontier.root()

    def append(self, entries: Sequence[Entry]) -> range:
        """Writes entries and returns their positions. Nothing is written when one of them is refused.

        Raises MalformedEntry, HashMixed (made with another hash function than the log's), ClockMovedBack (before the
        last entry or head), AppendConflict (another writer was faster: open the ledger again).
        """
        latest, hash_name = self._latest, self.store.hash_name
        for made in entries:
            check(made)
            if made.hash != hash_name:
                raise HashMixed(
                    f"the entry is made with {made.hash}, log {self.store.log_id} with {hash_name}",
                    f"记录使用 {made.hash}，而日志 {self.store.log_id} 使用 {hash_name}",
                )
            if made.at < latest:
                raise _moved_back("entry", "记录", made.at, latest)
            latest = made.at
        start = self.size
        raws = [encode(made, sequence) for sequence, made in enumerate(entries, start)]
        # a copy, so that a store which refuses leaves this ledger as it was
        frontier = self._frontier.copy()
        completed = frontier.extend([merkle.leaf_hash(raw, hash_name) for raw in raws])
        self.store.append(start, raws, completed)
        self._frontier, self._latest = frontier, latest
        return range(start, self.size)

    def sign_head(self, key: SigningKey, at: str) -> Document:
        """Signs and keeps the head over all entries.

        Raises ClockMovedBack for a time before the last entry or head, LogShrunk or LogForked when the store does not
        extend the last head: somebody changed it, and nothing is signed over it.
        """
        if at < self._latest:
            raise _moved_back("head", "树头", at, self._latest)
        store = self.store
        head = Head(store.log_id, store.hash_name, self.size, self.root(), at)
        if self._head is not None:
            old = min(self._head.size, self.size)  # a shrunken log is refused whatever the path
            check_extends(self._head, head, merkle.consistency_path(store, old, self.size, store.hash_name))
        document = sign_head(head, key)
        store.append_head(canonical(document))
        self._head, self._latest = head, at
        return document


def _moved_back(what: str, what_zh: str, at: str, latest: str) -> ClockMovedBack:
    return ClockMovedBack(
        f"the {what} is of {at}, the log already holds {latest}: set the clock right; nothing was written",
        f"{what_zh}时间 {at} 早于日志中已有的 {latest}：请校正时钟；未写入任何内容",
    )
