"""The file that proves one use of an enterprise's row in a job, through the node's log and the platform's ledger."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent import node_log
from consent.canonical import canonical
from consent.errors import Refused
from consent.keys import SigningKey
from consent.ledger import FixedKeys, Kind, Ledger, MemoryStore, entry, prove_inclusion, records
from consent.ledger.errors import (
    EntryMismatch,
    ForgedHead,
    MalformedHead,
    MalformedProof,
    NotWitnessed,
    RootMismatch,
    UnknownVersion,
    WrongLog,
)
from consent.purposes import Purpose
from consent.signed import Document
from consent.templates import PUBLISHED
from consent.usage import usage

PLATFORM, NODE, OTHER = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
KEYS = FixedKeys(PLATFORM.public)
JOB, AT = "j-000000000001", "2026-05-01T08:00:00Z"


def body(number: int = 0, **changes: Any) -> dict[str, Any]:
    fields = {
        "usage_id": f"{node_log.log_id(NODE.public)}/{number}", "at": AT, "user": "lab-node", "institution": "bank_a",
        "reason": f"joint training job {JOB}", "use": "joint_training", "purpose": "joint_training",
        "object_kind": "enterprise", "object_id": f"e{number}", "data": {"tax": "*"}, "consent_id": f"c-{number}",
        "job_id": JOB,
    }  # fmt: skip
    return usage(**{**fields, **changes})


def of_job(**changes: Any) -> dict[str, Any]:
    data = PUBLISHED[Purpose.JOINT_TRAINING].data
    fields = {"user": "risk", "object_kind": "job", "object_id": JOB, "consent_id": None, "data": data}
    return body(0, **{**fields, **changes})


class Logs:
    """A node's log of nine uses and a platform's ledger; `changes` are of the fifth use."""

    def __init__(self, node_hash: str = "sha256", **changes: Any) -> None:
        self.node = Ledger(MemoryStore(node_log.log_id(NODE.public), node_hash))
        self.bodies = [body(n, **(changes if n == 4 else {})) for n in range(9)]
        salts = [bytes([n]) * 32 for n in range(9)]
        self.node.append(
            [entry(Kind.DATA_USE, AT, one, salt, node_hash) for one, salt in zip(self.bodies, salts, strict=True)]
        )
        self.head = self.node.sign_head(NODE, AT)
        self.salts = salts
        self.platform = Ledger(MemoryStore("platform"))

    def use(self, head: Document | None = None) -> Document:
        proof = prove_inclusion(self.node.store, 4, head or self.head)
        return json.loads(records.make(self.bodies[4], self.salts[4], proof))

    def entered(self, document: Document, kind: Kind = Kind.HEAD, key: SigningKey = PLATFORM) -> Document:
        """A document's record in the platform's ledger, under a head of that moment."""
        salt = bytes(range(32))
        (position,) = self.platform.append([entry(kind, AT, document, salt)])
        head = self.platform.sign_head(key, AT)
        return json.loads(records.make(document, salt, prove_inclusion(self.platform.store, position, head)))

    def head_record(self, head: Document | None = None, node: str = "lab-node", job: str = JOB) -> Document:
        return self.entered(node_log.head_document(node, job, head or self.head))

    def file(self, **parts: Document) -> Document:
        given = {"use": self.use(), "head": self.head_record(), "job": self.entered(of_job(), Kind.DATA_USE)}
        return node_log.make(**{**given, **parts})


FILE = Logs().file()


@pytest.mark.parametrize("node_hash", ["sha256", "sm3"])
def test_one_file_proves_the_use_its_job_and_who_asked(node_hash: str) -> None:
    """R46: that this row was in that job, checkable offline by whoever has the platform's keys."""
    logs = Logs(node_hash)
    (file,) = node_log.load(canonical(logs.file()))
    found = node_log.check(file, KEYS, platform_log="platform")
    assert found.use == logs.bodies[4]
    assert (found.by.node, found.by.job_id, found.by.key) == ("lab-node", JOB, NODE.public)
    assert (found.in_node.recorded.sequence, found.in_node.head.size) == (4, 9)
    assert found.in_platform.head.log_id == "platform"
    assert node_log.told(found.use, found.job)["user"] == "risk"


def test_several_uses_come_in_one_file() -> None:
    assert node_log.load(node_log.bundle([FILE, FILE])) == [FILE, FILE]
    assert node_log.load(node_log.bundle([])) == []
    for parts in (FILE, json.loads(node_log.bundle([FILE]))):
        assert node_log.is_file(parts)
    assert not node_log.is_file(FILE["use"])


@settings(max_examples=400)
@given(st.integers(0, 1_000_000), st.integers(1, 255))
def test_any_changed_byte_is_refused_by_name(position: int, change: int) -> None:
    raw = bytearray(canonical(FILE))
    raw[position % len(raw)] ^= change
    with pytest.raises(Refused) as refused:
        node_log.check(*node_log.load(bytes(raw)), KEYS)
    assert refused.value.code


def test_no_byte_of_it_is_without_meaning() -> None:
    """Every place, and not only those that a search comes upon."""
    raw = canonical(FILE)
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(Refused):
            node_log.check(*node_log.load(changed), KEYS)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in [*leaves(inner, (*path, key))]] or [path]


@pytest.mark.parametrize("place", leaves(FILE), ids=lambda place: ".".join(map(str, place)))
def test_any_changed_value_is_refused_by_name(place: tuple[Any, ...]) -> None:
    changed = copy.deepcopy(FILE)
    inner: Any = changed
    for key in place[:-1]:
        inner = inner[key]
    before = inner[place[-1]]
    inner[place[-1]] = {int: lambda: before + 1, str: lambda: "x" + before[1:]}.get(type(before), lambda: "x")()
    with pytest.raises(Refused):
        node_log.check(changed, KEYS)


def another_head(logs: Logs) -> Document:
    """A later head of the same log: true, and not the one that the ledger holds."""
    logs.node.append([entry(Kind.DATA_USE, AT, body(9), bytes(32))])
    return logs.node.sign_head(NODE, AT)


CASES: dict[str, tuple[Callable[[Logs], Document], type[Refused]]] = {
    "another head of the node": (lambda logs: logs.file(use=logs.use(another_head(logs))), node_log.HeadMismatch),
    "a head by another key": (lambda logs: logs.file(head=forged(logs)), MalformedHead),
    "a head of another job": (lambda logs: logs.file(head=logs.head_record(job="j-2")), node_log.UseMismatch),
    "a head of another node": (lambda logs: logs.file(head=logs.head_record(node="bank-node")), node_log.UseMismatch),
    "the record of another job": (
        lambda logs: logs.file(job=logs.entered(of_job(object_id="j-2", job_id="j-2"), Kind.DATA_USE)),
        node_log.UseMismatch,
    ),
    "the job of another bank": (
        lambda logs: logs.file(job=logs.entered(of_job(institution="bank_b"), Kind.DATA_USE)),
        node_log.UseMismatch,
    ),
    "a head entered as something else": (
        lambda logs: logs.file(head=logs.entered(node_log.head_document("lab-node", JOB, logs.head), Kind.TICKET)),
        node_log.UseMismatch,
    ),
    "a document that is no head": (lambda logs: logs.file(head=logs.entered({"type": "x"})), MalformedHead),
    "another use's proof": (
        lambda logs: logs.file(use={**logs.use(), "proof": prove_inclusion(logs.node.store, 3, logs.head)}),
        EntryMismatch,
    ),
    "a path of another use": (
        lambda logs: logs.file(
            use={**(use := logs.use()), "proof": {**use["proof"], "path": use["proof"]["path"][::-1]}}
        ),
        RootMismatch,
    ),
    "a ledger that another key signs": (
        lambda logs: logs.file(head=logs.entered(node_log.head_document("lab-node", JOB, logs.head), key=OTHER)),
        ForgedHead,
    ),
    "a part that is no record": (lambda logs: logs.file(use={}), MalformedProof),
}


def forged(logs: Logs) -> Document:
    """The node's log, signed by somebody else."""
    head = Ledger(logs.node.store).sign_head(OTHER, AT)
    return logs.entered({"type": "node_head", "version": 1, "node": "lab-node", "job_id": JOB, "head": head})


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_belong_together_proves_nothing(case: str) -> None:
    make, error = CASES[case]
    with pytest.raises(error):
        node_log.check(make(Logs()), KEYS)


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "scoring", "purpose": "underwriting_score"},
        {"object_kind": "job", "object_id": JOB},
        {"user": "bank-node"},
        {"job_id": "j-000000000002"},
    ],
)
def test_another_kind_of_use_is_not_taken_for_one_in_joint_training(changes: dict[str, Any]) -> None:
    with pytest.raises(node_log.UseMismatch):
        node_log.check(Logs(**changes).file(), KEYS)


def test_the_platforms_log_and_its_witnesses_may_be_asked_for() -> None:
    with pytest.raises(WrongLog):
        node_log.check(FILE, KEYS, platform_log="another")
    with pytest.raises(NotWitnessed):
        node_log.check(FILE, KEYS, witnesses={"court": OTHER.public}, quorum=1)


@pytest.mark.parametrize("wrong", [{"version": 2}, {"more": 1}, {"type": "x"}, {"head": None}])
def test_another_form_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((MalformedProof, UnknownVersion)):
        node_log.load(canonical({**FILE, **wrong}))
    with pytest.raises((MalformedHead, UnknownVersion)):
        node_log.read_head({**FILE["head"]["document"], **wrong})
