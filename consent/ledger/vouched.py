"""Heads by a key that was compromised later: which of them still count when a whole log is read.

Whoever holds a stolen key can write any date, so by itself nothing signed with it counts. In a log, a later head by
another key vouches for the heads before it: they are compared with the same entries. Owns that rule alone.
"""

from __future__ import annotations

from consent.keyring import KeyNotValid, Keyring
from consent.keys import BadSignature
from consent.ledger.errors import LedgerError
from consent.ledger.heads import ROLE, HeadKeys, read_head
from consent.ledger.store import Store
from consent.signed import Document


class _Vouched:
    """A keyring, and the time up to which a head by a good key vouches for the ones before it."""

    def __init__(self, keyring: Keyring, until: str) -> None:
        self._keyring, self._until = keyring, until

    def verify(self, document: Document, role: str, at: str) -> Document:
        try:
            return self._keyring.verify(document, role, at)
        except KeyNotValid:
            if at > self._until:
                raise
            return self._keyring.verify(document, role, at, witnessed=True)


def vouched(keyring: Keyring, store: Store) -> HeadKeys:
    """Who may have signed the heads of `store`, for `fsck`. Reads the heads only when a key is compromised."""
    if all(key.compromised_at is None for key in keyring.keys):
        return keyring
    until = ""
    for raw in store.heads():
        try:
            document = read_head(raw)
            at = str(document["body"]["at"])
            keyring.verify(document, ROLE, at)
        except (BadSignature, LedgerError, KeyError, TypeError, ValueError):
            continue  # fsck names it
        until = max(until, at)
    return _Vouched(keyring, until)
