"""The gate at a million consents, from a node's local snapshot: reading it, one decision, one round, one check.

Owns the cases. The snapshot is what a node's journal keeps; its rows are made here without signatures, because a node
verifies each document once, when it hears it, and never again. All cases run in a process of their own, so that its
memory is the gate's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bars import GATE_SECONDS, gate_bar
from benchmarks.data import PROJECT
from benchmarks.results import BenchmarkFailed, Row, Section, say
from consent import templates
from consent.book import ConsentBook
from consent.feed import START, Head, sign_head
from consent.keys import SigningKey
from consent.lifecycle import Action, ended
from consent.policy import check
from enclave.gate import Consents, JobGate, Moment, News
from enclave.journal import Heard, Journal
from enclave.platform_keys import PlatformKeys

ENTERPRISES = 1_000_000
CHECKS = 100_000
SCORED = 20_000
AT = "2026-05-01T00:00:00Z"
TICKET: dict[str, Any] = {
    "purpose": "joint_training",
    "mode": "zone",
    "recipe": {"name": "boosting", "params": {}},
    "issued_at": AT,
    "expires_at": "2026-05-01T01:00:00Z",
    "parties": {"bank": {"institution": "bank_a"}, "lab": {"institution": "lab"}},
}
READ, DECIDE, ROUND, CHECK, HEAR = (
    "snapshot of 1,000,000 consents read at a node's start",
    "gate decision for a cohort of 1,000,000",
    "the same at a round, one consent withdrawn",
    "100,000 single checks among 1,000,000 consents",
    "news of one withdrawal taken by a running job",
)


def run(enterprises: int = ENTERPRISES, checks: int = CHECKS) -> Section:
    """One run of each case; fewer `enterprises` and `checks` in a test."""
    tell = say("consent_gate")
    section = Section("consent_gate", "Gate of a node, from its local snapshot, one thread", "nothing is compared")
    section.note = (
        "Peak memory is of the whole process, with the snapshot's book, the ids of the node's own table and Python. A "
        "node reads the snapshot once, when it starts; decisions are then made in memory."
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        snapshot(path, enterprises)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.consent_gate", str(path), str(enterprises), str(checks)],
            capture_output=True, text=True, cwd=PROJECT, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise BenchmarkFailed(f"the gate's process failed: {done.stderr[-500:]}")
    for case, cpu, wall, peak in json.loads(done.stdout):
        section.rows.append(Row(case, cpu, wall, peak, bar=gate_bar(case) if case in GATE_SECONDS else None))
        tell(f"{case}: {cpu:.3f} s CPU, {peak:.0f} MB")
    return section


def rows(enterprises: int) -> Iterator[list[Any]]:
    """A book as `ConsentBook.dump` writes it: so many consents to training, and some to being scored besides."""
    training, scoring = (_plain(purpose) for purpose in ("joint_training", "underwriting_score"))
    yield [2, enterprises + SCORED, {}]
    for number in range(enterprises + SCORED):
        who, terms = (number, training) if number < enterprises else (number - enterprises, scoring)
        yield [
            f"c-{number:08x}", _name(who), terms, f"{number:064x}", "active", 0, f"{number:064x}",
            f"2026-01-{1 + number % 28:02d}T00:00:00Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", number + 1,
            None, [], True,
        ]  # fmt: skip


def _name(number: int) -> str:
    return f"9135010{number:011d}"


def _plain(purpose: str) -> list[Any]:
    proposed = templates.terms(purpose)
    limits = proposed["limits"]
    return [
        "bank_a", "lab", purpose, [str(mode) for mode in proposed["modes"]], sorted(proposed["data"].items()),
        proposed["window_months"], limits["total"], limits["count"], limits["period_days"], "passkey",
    ]  # fmt: skip


def snapshot(path: Path, enterprises: int) -> None:
    """A node's journal that holds a book and no documents."""
    book = ConsentBook.load(rows(enterprises))
    journal = Journal(path)
    head = Head(book.head, START, book.head, AT)
    journal.keep(book, head.chain)
    journal.hear(Heard(head, AT), sign_head(SigningKey.generate(), head))
    journal.close()


def _measure(path: Path, enterprises: int, checks: int) -> list[tuple[str, float, float, float]]:
    out = []

    def measured(case: str, work: Callable[[], Any]) -> Any:
        wall, cpu = time.monotonic(), time.process_time()
        result = work()
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        out.append((case, cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
        return result

    async def nothing(_after: int) -> dict[str, Any]:
        raise AssertionError("the gate decides from what it has")

    key = SigningKey.generate().public
    consents = measured(READ, lambda: Consents(Journal(path), PlatformKeys(key), nothing, clock=lambda: AT))
    table = frozenset(map(_name, range(enterprises)))
    gate, moment = JobGate(consents, TICKET, table), Moment(consents.book.head, AT)
    assert len(measured(DECIDE, lambda: gate.admit(moment))) == enterprises
    book = consents.book
    names = [_name(number * 7919 % min(SCORED, enterprises)) for number in range(checks)]

    def single() -> None:
        for name in names:
            check("score", book.facts(name, "bank_a", "underwriting_score", AT, provider="lab", used={}))

    measured(CHECK, single)
    gone = names[0]
    entry = book.entry(gone, "bank_a", "joint_training")
    assert entry is not None
    entry.move(ended(entry.life, Action.WITHDRAW, AT, entry.head), book.head)
    assert measured(HEAR, lambda: gate.heard(News(frozenset({gone}), frozenset()), AT))
    assert measured(ROUND, lambda: gate.exclude(moment)) == [gone]
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("enterprises", type=int)
    parser.add_argument("checks", type=int)
    given = parser.parse_args()
    print(json.dumps(_measure(given.path, given.enterprises, given.checks)))
