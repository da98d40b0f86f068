"""A record to take away: a document with the salt of its entry and the proof that the ledger holds it.

Owns the form of that file. What it proves needs the platform's keyring and nothing else; verification raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from consent.canonical import canonical
from consent.keys import VerifyingKey
from consent.ledger.entries import matches
from consent.ledger.errors import MalformedProof, UnknownVersion
from consent.ledger.heads import NOBODY, HeadKeys
from consent.ledger.proofs import Proven, check_inclusion
from consent.ledger.proofs import load as load_canonical
from consent.signed import Document

TYPE = "ledger_record"
VERSION = 1
_FIELDS = frozenset({"document", "proof", "salt", "type", "version"})
_HEX = re.compile(r"[0-9a-f]{64}")


def make(document: Any, salt: bytes, proof: Document) -> bytes:
    """The record as canonical JSON."""
    record = {"type": TYPE, "version": VERSION, "document": document, "salt": salt.hex(), "proof": proof}
    return canonical(record)


def load(raw: bytes) -> Document:
    """A record from a file, only in its canonical bytes. Raises MalformedProof or UnknownVersion."""
    record = load_canonical(raw)
    if record.keys() != _FIELDS or record["type"] != TYPE:
        fields = ", ".join(sorted(_FIELDS))
        raise MalformedProof(f"an object of type {TYPE} with {fields} is needed", f"须为 {TYPE}，字段恰为 {fields}")
    if type(record["version"]) is not int or record["version"] != VERSION:
        raise UnknownVersion(
            f"{TYPE} of version {record['version']!r}: {VERSION} is known",
            f"{TYPE} 的版本 {record['version']!r} 未知，已知版本 {VERSION}",
        )
    if not isinstance(record["salt"], str) or not _HEX.fullmatch(record["salt"]):
        raise MalformedProof("salt: 64 lower-case hex digits are needed", "salt：须为 64 位小写十六进制")
    return record


def check(
    record: Document,
    keys: HeadKeys,
    *,
    log_id: str | None = None,
    witnesses: Mapping[str, VerifyingKey] = NOBODY,
    quorum: int = 0,
) -> Proven:
    """What the record proves: that the ledger's entry was made of exactly this document.

    Raises a ProofRefused by name, MalformedEntry, or EntryMismatch for another document or salt.
    """
    proven = check_inclusion(record["proof"], keys, log_id=log_id, witnesses=witnesses, quorum=quorum)
    matches(proven.recorded.entry, record["document"], bytes.fromhex(record["salt"]))
    return proven
