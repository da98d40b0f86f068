"""A witness: somebody outside who remembers the last head of a log and cosigns only what extends it.

Owns the decision. What it remembers is `last`: the caller keeps it on disk before the cosigned head is given away, for
a witness that forgets can be shown two histories.
"""

from __future__ import annotations

from collections.abc import Sequence

from consent.keys import SigningKey
from consent.ledger.errors import MalformedHead
from consent.ledger.heads import HeadKeys, check_extends, check_fresh, check_head, witness_role
from consent.signed import Document, countersign


class Witness:
    """Witness `name` of log `log_id`. `last` is the last head it cosigned, None when it has seen none."""

    def __init__(
        self,
        name: str,
        key: SigningKey,
        log_id: str,
        keys: HeadKeys,
        *,
        max_age_seconds: int,
        last: Document | None = None,
    ) -> None:
        self._role = witness_role(name)
        self._key, self._log_id, self._keys = key, log_id, keys
        self._max_age_seconds = max_age_seconds
        self.last = last

    def cosign(self, head: Document, path: Sequence[bytes], now: str) -> Document:
        """The head with this witness's signature; `path` shows that it extends `last` (empty for the first head).

        The first head is believed as it is: compare it with another witness's. Raises ForgedHead, WrongLog, HashMixed,
        LogShrunk, LogForked, ClockMovedBack, StaleHead or MalformedProof; `last` then stays what it was.
        """
        seen = None
        if self.last is not None:
            seen = check_head(self.last, self._keys, log_id=self._log_id)
        found = check_head(head, self._keys, log_id=self._log_id)
        if seen is not None:
            check_extends(seen, found, path)
        check_fresh(found, now, self._max_age_seconds, seen)
        if any(one["role"] == self._role for one in head["signatures"]):
            raise MalformedHead(f"{self._role} cosigned this tree head already", f"{self._role} 已副署该树头")
        cosigned = countersign(head, self._key, self._role)
        self.last = cosigned
        return cosigned
