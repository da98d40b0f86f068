"""A proof taken away from the log proves one entry, and no changed byte of it goes unnoticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.canonical import canonical
from consent.keyring import Keyring
from consent.ledger import (
    Kind,
    Ledger,
    LedgerError,
    LogForked,
    LogShrunk,
    MemoryStore,
    check_consistency,
    check_inclusion,
    entry,
    leaf_hash,
    matches,
    prove_consistency,
    prove_inclusion,
    records,
)
from consent.ledger.errors import (
    BeyondTree,
    EntryMismatch,
    ForgedHead,
    HashMixed,
    MalformedProof,
    NotWitnessed,
    RootMismatch,
    UnknownVersion,
    WrongLog,
)
from consent.ledger.proofs import load
from consent.signed import sign
from tests.consent.ledger.conftest import KEYS, LOG_KEY, OTHER_KEY, Log, at, made

LOGS = {name: Log(21, heads=[0, 1, 8, 13, 21], hash_name=name) for name in ("sha256", "sm3")}
PROOF = prove_inclusion(LOGS["sha256"].store, 5, LOGS["sha256"].heads[3])
EXTENDS = prove_consistency(LOGS["sha256"].store, LOGS["sha256"].heads[2], LOGS["sha256"].heads[4])


@pytest.mark.parametrize("name", LOGS)
def test_every_entry_is_proved_under_every_later_head(name: str) -> None:
    log = LOGS[name]
    for head in log.heads:
        for index in range(head["body"]["size"]):
            proof = load(canonical(prove_inclusion(log.store, index, head)))
            assert proof["hash"] == name
            proven = check_inclusion(proof, KEYS, log_id="platform")
            assert proven.recorded == (index, made(index, name))
            assert proven.leaf_hash == leaf_hash(log.raws[index], name)
        with pytest.raises(BeyondTree):
            prove_inclusion(log.store, head["body"]["size"], head)


@pytest.mark.parametrize("name", LOGS)
def test_every_head_is_shown_to_extend_every_earlier_one(name: str) -> None:
    log = LOGS[name]
    for position, old in enumerate(log.heads):
        for new in log.heads[position:]:
            proof = load(canonical(prove_consistency(log.store, old, new)))
            heads = check_consistency(proof, KEYS, log_id="platform")
            assert [head.size for head in heads] == [old["body"]["size"], new["body"]["size"]]


def test_an_enterprise_proves_its_own_record() -> None:
    """R46: document, salt and proof together show that this use was logged, at that time; offline."""
    record, salt = {"enterprise": "e-1", "purpose": "underwriting_score"}, bytes(range(32))
    log = Ledger(MemoryStore("platform", "sm3"))
    log.append([made(0, "sm3"), entry(Kind.DATA_USE, at(10), record, salt, "sm3"), made(2, "sm3")])
    head = log.sign_head(LOG_KEY, at(30))
    proof = canonical(prove_inclusion(log.store, 1, head)) + b"\n"
    proven = check_inclusion(load(proof), KEYS)
    matches(proven.recorded.entry, record, salt)
    assert b"e-1" not in proof


def test_the_example_of_the_auditors_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[3] / "docs/ledger.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    record, salt, log = {"enterprise": "e-1"}, bytes(range(32)), Ledger(MemoryStore("platform"))
    log.append([entry(Kind.DATA_USE, at(10), record, salt)])
    keyring = Keyring.found(LOG_KEY, platform="p", at=at(0), valid_until="2027-01-01T00:00:00Z")
    proof = prove_inclusion(log.store, 0, log.sign_head(LOG_KEY, at(20)))
    files = {
        "platform-first.pub": LOG_KEY.public.b64.encode() + b"\n",
        "keys.json": keyring.to_json() + b"\n",
        "record.json": records.make(record, salt, proof),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "ledger.md", "exec"), {})
    assert capsys.readouterr().out == f"data_use {at(10)} entry 0 of 1\n"
    (tmp_path / "record.json").write_bytes(records.make(record, bytes(32), proof))
    with pytest.raises(EntryMismatch):
        exec(compile(example, "ledger.md", "exec"), {})


@settings(max_examples=300)
@given(st.integers(0, 100_000), st.integers(1, 255))
def test_any_changed_byte_of_an_inclusion_proof_is_detected(position: int, change: int) -> None:
    raw = bytearray(canonical(PROOF))
    raw[position % len(raw)] ^= change
    with pytest.raises(LedgerError):
        check_inclusion(load(bytes(raw)), KEYS, log_id="platform")


@settings(max_examples=300)
@given(st.integers(0, 100_000), st.integers(1, 255))
def test_any_changed_byte_of_a_consistency_proof_is_detected(position: int, change: int) -> None:
    raw = bytearray(canonical(EXTENDS))
    raw[position % len(raw)] ^= change
    with pytest.raises(LedgerError):
        check_consistency(load(bytes(raw)), KEYS, log_id="platform")


def test_an_entry_that_is_not_in_the_log_is_not_proved() -> None:
    with pytest.raises(RootMismatch):
        check_inclusion({**PROOF, "entry": {**PROOF["entry"], "kind": "consent"}}, KEYS)
    with pytest.raises(RootMismatch):
        check_inclusion({**PROOF, "entry": {**PROOF["entry"], "sequence": 4}}, KEYS)


def test_a_head_by_another_key_proves_nothing() -> None:
    with pytest.raises(ForgedHead):
        check_inclusion({**PROOF, "head": sign(PROOF["head"]["body"], OTHER_KEY, "log")}, KEYS)
    with pytest.raises(WrongLog):
        check_inclusion(PROOF, KEYS, log_id="other")
    with pytest.raises(NotWitnessed):
        check_inclusion(PROOF, KEYS, quorum=1)


def test_hash_functions_are_not_mixed_in_a_proof() -> None:
    """R48."""
    with pytest.raises(HashMixed):
        check_inclusion({**PROOF, "hash": "sm3"}, KEYS)
    with pytest.raises(HashMixed):
        check_inclusion({**PROOF, "entry": {**PROOF["entry"], "hash": "sm3"}}, KEYS)
    other = LOGS["sm3"].heads
    with pytest.raises(HashMixed):
        check_consistency({**EXTENDS, "new": other[4]}, KEYS)


def test_a_forked_log_is_refused_by_name() -> None:
    fork = Log(13)
    fork.ledger.append([made(50, second=1000), *[made(n, second=1000 + n) for n in range(14, 21)]])
    forged = fork.ledger.sign_head(LOG_KEY, at(2000))
    log = LOGS["sha256"]
    with pytest.raises(LogForked):  # same size, other root
        check_consistency({**EXTENDS, "old": log.heads[4], "new": forged, "path": []}, KEYS)
    proof = prove_consistency(fork.store, log.heads[3], forged)
    check_consistency(proof, KEYS)  # up to entry 13 the histories are one
    rewritten = Log(21)
    rewritten.store._entries[3] = rewritten.raws[4]
    rewritten.renumber()
    rewritten.rehash()
    head = Ledger(rewritten.store).sign_head(LOG_KEY, at(2000))
    with pytest.raises(LogForked):
        check_consistency(prove_consistency(rewritten.store, log.heads[3], head), KEYS)


def test_a_shrunken_log_is_refused_by_name() -> None:
    log = LOGS["sha256"]
    with pytest.raises(LogShrunk):
        check_consistency({**EXTENDS, "old": log.heads[4], "new": log.heads[3], "path": []}, KEYS)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": 2}, UnknownVersion),
        ({"version": True}, UnknownVersion),
        ({"type": "consistency_proof"}, MalformedProof),
        ({"extra": 1}, MalformedProof),
        ({"path": "x"}, MalformedProof),
        ({"path": [5]}, MalformedProof),
        ({"path": ["AB" * 32]}, MalformedProof),
        ({"path": PROOF["path"][:-1]}, MalformedProof),
        ({"path": [*PROOF["path"], "00" * 32]}, MalformedProof),
        ({"entry": {}}, LedgerError),
        ({"entry": float("nan")}, LedgerError),
        ({"head": None}, LedgerError),
        ({"hash": None}, LedgerError),
    ],
)
def test_a_proof_of_another_form_is_refused(changes: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_inclusion({**PROOF, **changes}, KEYS)


@pytest.mark.parametrize("raw", [b"", b"{}x", b"[]", b"5", b"{ }", b"[" * 100_000, b'"\\ud800"'])
def test_bytes_that_are_no_proof_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedProof):
        load(raw)


def test_nothing_else_is_taken_for_a_proof() -> None:
    for junk in (None, [], "x", 5, {}):
        with pytest.raises(MalformedProof):
            check_inclusion(junk, KEYS)
        with pytest.raises(MalformedProof):
            check_consistency(junk, KEYS)
