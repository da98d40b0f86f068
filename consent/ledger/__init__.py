"""The transparency ledger: an append-only log (RFC 6962) of consents and uses that anybody can check.

Pure: entries, hashes, heads, proofs, witnesses and the audit; a store keeps the bytes. It holds no business data, and
has no database, clock or key of its own.
"""

from consent.ledger.audit import Checked, fsck
from consent.ledger.entries import Entry, Kind, Recorded, decode, encode, entry, matches, new_salt
from consent.ledger.errors import ClockMovedBack, LedgerError, LogForked, LogShrunk, ProofRefused
from consent.ledger.faults import Fault, LedgerDamaged
from consent.ledger.folder import FolderStore, export
from consent.ledger.heads import FixedKeys, Head, HeadKeys, NamedKeys, check_fresh, check_head, read_head
from consent.ledger.log import Ledger
from consent.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from consent.ledger.proofs import Proven, check_consistency, check_inclusion, prove_consistency, prove_inclusion
from consent.ledger.store import MemoryStore, Store, copy
from consent.ledger.vouched import vouched
from consent.ledger.witness import Witness

__all__ = [
    "Checked",
    "ClockMovedBack",
    "Entry",
    "Fault",
    "FixedKeys",
    "FolderStore",
    "Head",
    "HeadKeys",
    "Kind",
    "Ledger",
    "LedgerDamaged",
    "LedgerError",
    "LogForked",
    "LogShrunk",
    "MemoryStore",
    "NamedKeys",
    "ProofRefused",
    "Proven",
    "Recorded",
    "Store",
    "Witness",
    "check_consistency",
    "check_fresh",
    "check_head",
    "check_inclusion",
    "copy",
    "decode",
    "encode",
    "entry",
    "export",
    "fsck",
    "leaf_hash",
    "matches",
    "new_salt",
    "prove_consistency",
    "prove_inclusion",
    "read_head",
    "verify_consistency",
    "verify_inclusion",
    "vouched",
]
