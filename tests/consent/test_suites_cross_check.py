"""SM2, SM3 and SM4 against a second implementation that shares no code with the first (R48)."""

from __future__ import annotations

import gmalg  # pure Python, for tests only: not constant in time
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.hashing import HASHES
from consent.suites import SUITES
from consent.suites.errors import BadSignature

SM = SUITES["sm2"]
OURS = SM.generate()
IDENTITY = b"1234567812345678"
THEIR_SECRET, THEIR_PUBLIC = gmalg.SM2().generate_keypair()


def _joined(r: bytes, s: bytes) -> bytes:
    return r.rjust(32, b"\0") + s.rjust(32, b"\0")  # it leaves leading zeros out


@settings(max_examples=12, deadline=None)
@given(st.binary(max_size=300))
def test_the_second_implementation_accepts_our_signatures(message: bytes) -> None:
    signature = OURS.sign(message)
    other = gmalg.SM2(uid=IDENTITY, pk=OURS.public)
    assert other.verify(message, signature[:32], signature[32:])
    assert not other.verify(message + b"\0", signature[:32], signature[32:])


@settings(max_examples=12, deadline=None)
@given(st.binary(max_size=300))
def test_we_accept_the_second_implementations_signatures(message: bytes) -> None:
    theirs = gmalg.SM2(THEIR_SECRET, IDENTITY, THEIR_PUBLIC)
    r, s = theirs.sign(message)
    SM.public_key(THEIR_PUBLIC).verify(_joined(r, s), message)
    with pytest.raises(BadSignature):
        SM.public_key(THEIR_PUBLIC).verify(_joined(r, s), message + b"\0")


def test_a_signature_under_another_identity_is_refused() -> None:
    r, s = gmalg.SM2(THEIR_SECRET, b"ALICE123@YAHOO.COM", THEIR_PUBLIC).sign(b"message")
    with pytest.raises(BadSignature):
        SM.public_key(THEIR_PUBLIC).verify(_joined(r, s), b"message")


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=300))
def test_both_compute_the_same_sm3(message: bytes) -> None:
    digest = gmalg.SM3()
    digest.update(message)
    assert digest.value() == HASHES["sm3"](message)
