"""The transparency ledger at a million entries, in memory, one thread: appending, proofs, the whole audit.

Owns the cases. An append takes what the service would hand over (a made entry) to the stored hashes: form, canonical
bytes, leaf hash, inner nodes. Hashing a consent with its salt is a case of its own, because it is paid once where the
document is made. No bytes reach a disk or a database here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.bars import LEDGER_SECONDS, ledger_bar
from benchmarks.results import Row, Section, say
from consent.keys import SigningKey
from consent.ledger import (
    Entry,
    FixedKeys,
    Kind,
    Ledger,
    MemoryStore,
    check_inclusion,
    entry,
    fsck,
    new_salt,
    prove_consistency,
    prove_inclusion,
)

ENTRIES = 1_000_000
BATCH = 1_000  # what one group commit might carry
PROOFS = 1_000
DOCUMENTS = 20_000
APPEND = "append 1,000,000 entries, {}"
PROVE = "1,000 inclusion proofs at 1,000,000 entries"


def run(entries: int = ENTRIES) -> Section:
    """One run of each case; `entries` is smaller in a test."""
    tell = say("ledger")
    section = Section("ledger", "Transparency ledger, one thread, in memory", "nothing is compared")
    section.note = (
        "Entries arrive in batches of 1,000. A proof is read, and made into its JSON document; verifying includes the "
        "head's signature. fsck rebuilds every hash from the raw entries."
    )

    def measure(case: str, work: Callable[[], Any]) -> Any:
        wall, cpu = time.monotonic(), time.process_time()
        done = work()
        bar = ledger_bar(case) if case in LEDGER_SECONDS else None
        section.rows.append(Row(case, time.process_time() - cpu, time.monotonic() - wall, bar=bar))
        tell(f"{case}: {section.rows[-1].cpu_seconds:.2f} s CPU")
        return done

    key = SigningKey.generate()
    keys = FixedKeys(key.public)
    measure(APPEND.format("sm3"), lambda: _filled("sm3", entries))
    log = measure(APPEND.format("sha256"), lambda: _filled("sha256", entries))
    store = log.store
    head = log.sign_head(key, _at(entries))
    chosen = [number * 7919 % entries for number in range(PROOFS)]
    proofs = measure(PROVE, lambda: [prove_inclusion(store, index, head) for index in chosen])
    measure("1,000 inclusion proofs verified", lambda: [check_inclusion(proof, keys) for proof in proofs])
    half = {**head, "body": {**head["body"], "size": entries // 2 + 1}}
    measure("1,000 consistency proofs", lambda: [prove_consistency(store, half, head) for _ in chosen])
    measure("fsck of 1,000,000 entries", lambda: fsck(store, keys))
    measure("one entry at a time, 20,000 entries", lambda: _one_by_one(DOCUMENTS))
    measure("20,000 consents hashed with their salts", lambda: _documents(DOCUMENTS))
    return section


def _at(number: int) -> str:
    minutes, second = divmod(number // 100, 60)  # a hundred a second
    hours, minute = divmod(minutes, 60)
    return f"2026-03-{1 + hours // 24:02d}T{hours % 24:02d}:{minute:02d}:{second:02d}Z"


def _filled(hash_name: str, entries: int) -> Ledger:
    log = Ledger(MemoryStore("benchmark", hash_name))
    for start in range(0, entries, BATCH):
        numbers = range(start, min(start + BATCH, entries))
        log.append([Entry("data_use", _at(number), hash_name, f"{number:064x}") for number in numbers])
    return log


def _one_by_one(entries: int) -> None:
    log = Ledger(MemoryStore("benchmark"))
    for number in range(entries):
        log.append([Entry("data_use", _at(number), "sha256", f"{number:064x}")])


def _documents(count: int) -> None:
    salt = new_salt()
    for number in range(count):
        entry(Kind.CONSENT, _at(number), {**_CONSENT, "consent_id": f"c-{number}"}, salt)


_CONSENT = {
    "type": "consent",
    "version": 1,
    "enterprise": "91350100M000100Y43",
    "recipient": "bank_a",
    "provider": "lab",
    "purpose": "joint_training",
    "categories": ["public_credit", "bank_loan"],
    "valid_from": "2026-01-01T00:00:00Z",
    "valid_until": "2027-01-01T00:00:00Z",
    "notice_sha256": "0" * 64,
    "language": "zh",
}
