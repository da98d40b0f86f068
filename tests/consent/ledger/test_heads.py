"""A head is believed only from the log, in one form, in time, and as a continuation of what was seen before."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.canonical import canonical
from consent.keyring import Keyring
from consent.keys import SigningKey
from consent.ledger import (
    FixedKeys,
    Head,
    Ledger,
    MemoryStore,
    NamedKeys,
    ProofRefused,
    check_fresh,
    check_head,
    read_head,
)
from consent.ledger.errors import (
    ClockMovedBack,
    ForgedHead,
    HashMixed,
    MalformedHead,
    NotWitnessed,
    StaleHead,
    UnknownHash,
    UnknownVersion,
    WrongLog,
)
from consent.ledger.heads import sign_head, witness_role
from consent.signed import Document, countersign, sign
from tests.consent.ledger.conftest import KEYS, LOG_KEY, OTHER_KEY, Log, at, made

HEAD = Log(5, heads=[5]).heads[0]
WITNESSES = {name: SigningKey.generate() for name in ("chamber", "court")}


def cosigned(head: Document, *names: str) -> Document:
    for name in names:
        head = countersign(head, WITNESSES[name], witness_role(name))
    return head


def resigned(**changes: object) -> Document:
    body = {name: value for name, value in {**HEAD["body"], **changes}.items() if value is not ...}
    return sign(body, LOG_KEY, "log")


def test_a_head_says_what_it_was_signed_for() -> None:
    log = Log(5, heads=[5])
    head = check_head(log.heads[0], KEYS, log_id="platform", hash_name="sha256")
    assert head == Head("platform", "sha256", 5, log.ledger.root(), at(45))


@pytest.mark.parametrize("name", ["sha256", "sm3"])
def test_the_hash_function_is_named_in_every_head(name: str) -> None:
    """R48: the SM3 variant is named as such, and a reader of the other kind refuses it."""
    head = Log(3, heads=[3], hash_name=name).heads[0]
    assert head["body"]["hash"] == name
    check_head(head, KEYS, hash_name=name)
    with pytest.raises(HashMixed):
        check_head(head, KEYS, hash_name="sm3" if name == "sha256" else "sha256")


def test_a_head_of_another_key_is_forged() -> None:
    forged = sign(HEAD["body"], OTHER_KEY, "log")
    with pytest.raises(ForgedHead):
        check_head(forged, KEYS)
    check_head(forged, NamedKeys())
    check_head(forged, FixedKeys(LOG_KEY.public, OTHER_KEY.public))


def test_a_signature_for_another_purpose_is_not_a_heads() -> None:
    with pytest.raises(MalformedHead):
        check_head(sign(HEAD["body"], LOG_KEY, "platform"), KEYS)
    moved = copy.deepcopy(sign(HEAD["body"], LOG_KEY, "platform"))
    moved["signatures"][0]["role"] = "log"
    with pytest.raises(ForgedHead):
        check_head(moved, KEYS)


def test_a_head_of_another_log_is_refused() -> None:
    with pytest.raises(WrongLog):
        check_head(HEAD, KEYS, log_id="other")


def test_heads_of_successive_keys_verify_with_the_keyring() -> None:
    """Key rotation: a head counts when its key was valid at the head's time."""
    first, second = SigningKey.generate(), SigningKey.generate(suite="sm2")
    keyring = Keyring.found(first, platform="p", at=at(0), valid_until="2027-01-01T00:00:00Z")
    keyring = keyring.add(first, second.public, at=at(100), valid_from=at(100), valid_until="2027-01-01T00:00:00Z")
    keyring = keyring.retire(first, first.public.key_id, at=at(200))
    for key, second_of_head, valid in (
        (first, 50, True),
        (second, 300, True),
        (first, 300, False),
        (second, 50, False),
    ):
        log = Ledger(MemoryStore("platform"))
        head = log.sign_head(key, at(second_of_head))
        if valid:
            check_head(head, keyring)
        else:
            with pytest.raises(ForgedHead, match="valid"):
                check_head(head, keyring)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"extra": 1}, MalformedHead),
        ({"root": ...}, MalformedHead),
        ({"type": "head"}, MalformedHead),
        ({"version": 2}, UnknownVersion),
        ({"version": True}, UnknownVersion),
        ({"hash": "md5"}, UnknownHash),
        ({"hash": None}, UnknownHash),
        ({"log_id": "Platform"}, MalformedHead),
        ({"log_id": ""}, MalformedHead),
        ({"size": -1}, MalformedHead),
        ({"size": 1.0}, MalformedHead),
        ({"size": True}, MalformedHead),
        ({"size": 1 << 60}, MalformedHead),
        ({"root": "AB" * 32}, MalformedHead),
        ({"at": "2026-3-1T8:0:0Z"}, MalformedHead),
        ({"at": None}, MalformedHead),
    ],
)
def test_a_head_of_another_form_is_refused_though_signed(changes: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_head(resigned(**changes) if changes.get("size") != 1 << 60 else _huge(), KEYS)


def _huge() -> Document:
    head = copy.deepcopy(HEAD)
    head["body"]["size"] = 1 << 60
    return head


@pytest.mark.parametrize("junk", [None, [], "x", {}, {"body": {}}, {"body": {}, "signatures": []}, 5])
def test_what_is_not_a_signed_document_is_refused(junk: object) -> None:
    with pytest.raises(MalformedHead):
        check_head(junk, KEYS)


@pytest.mark.parametrize("signatures", [None, {}, [None], [{}], [{"role": 5}], ["x"]])
def test_signatures_of_another_form_are_refused(signatures: object) -> None:
    with pytest.raises(MalformedHead):
        check_head({"body": HEAD["body"], "signatures": signatures}, KEYS)


RAW = canonical(cosigned(HEAD, "chamber", "court"))
NAMED = {name: key.public for name, key in WITNESSES.items()}


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_any_changed_byte_of_a_cosigned_head_is_refused(position: int, change: int) -> None:
    raw = bytearray(RAW)
    raw[position] ^= change
    with pytest.raises(ProofRefused):
        check_head(read_head(bytes(raw)), KEYS, log_id="platform", hash_name="sha256", witnesses=NAMED, quorum=2)


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_a_cosignature_of_a_stranger_has_to_verify_too(position: int, change: int) -> None:
    """Without knowing the witnesses, a changed byte is found all the same, unless it makes another witness's name."""
    raw = bytearray(RAW)
    raw[position] ^= change
    try:
        changed = read_head(bytes(raw))
    except ProofRefused:
        return
    with pytest.raises(ProofRefused):
        check_head(changed, KEYS)


def test_only_named_witnesses_count() -> None:
    named = {"chamber": WITNESSES["chamber"].public}
    check_head(cosigned(HEAD, "court", "chamber"), KEYS, witnesses=named, quorum=1)
    with pytest.raises(NotWitnessed):
        check_head(cosigned(HEAD, "court"), KEYS, witnesses=named, quorum=1)
    with pytest.raises(NotWitnessed):
        check_head(HEAD, KEYS, quorum=1)


def test_a_witness_signs_once_and_after_the_log() -> None:
    twice = countersign(cosigned(HEAD, "court"), OTHER_KEY, witness_role("court"))
    alone = sign(HEAD["body"], WITNESSES["court"], witness_role("court"))
    for head in (twice, alone, countersign(alone, LOG_KEY, "log"), countersign(HEAD, OTHER_KEY, "platform")):
        with pytest.raises(MalformedHead):
            check_head(head, KEYS)


def test_a_false_witness_is_refused() -> None:
    forged = countersign(HEAD, OTHER_KEY, witness_role("court"))
    with pytest.raises(ForgedHead):
        check_head(forged, KEYS, witnesses={"court": WITNESSES["court"].public})


@pytest.mark.parametrize("name", ["", "Court", "a/b", "x" * 65])
def test_a_bad_witness_name_is_refused(name: str) -> None:
    with pytest.raises(MalformedHead):
        witness_role(name)


@pytest.mark.parametrize("spaces", [b" ", b"\n", b"\x00"])
def test_a_stored_head_has_one_spelling(spaces: bytes) -> None:
    with pytest.raises(MalformedHead):
        read_head(RAW + spaces)
    with pytest.raises(MalformedHead):
        read_head(json.dumps(HEAD, indent=1).encode())
    with pytest.raises(MalformedHead):
        read_head(b"[]")


def test_freshness() -> None:
    head = check_head(HEAD, KEYS)  # of second 45
    check_fresh(head, at(45), 0)
    check_fresh(head, at(105), 60)
    check_fresh(head, at(0), 60)  # within the minute that two clocks may differ
    with pytest.raises(StaleHead):
        check_fresh(head, at(106), 60)


def test_a_clock_moved_back_is_refused() -> None:
    head = check_head(HEAD, KEYS)
    check_fresh(head, at(50), 60, seen=head)
    with pytest.raises(ClockMovedBack):
        check_fresh(head, at(50), 60, seen=head._replace(at=at(46)))
    with pytest.raises(ClockMovedBack):
        check_fresh(head._replace(at=at(200)), at(100), 60)


def test_a_head_that_is_none_is_not_signed() -> None:
    with pytest.raises(MalformedHead):
        sign_head(Head("platform", "sha256", -1, bytes(32), at(0)), LOG_KEY)
    with pytest.raises(MalformedHead):
        sign_head(Head("platform", "sha256", 1, bytes(31), at(0)), LOG_KEY)


def test_made_entries_differ() -> None:
    assert made(1) != made(2)
