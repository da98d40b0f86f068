"""Signatures cover every byte and bind the kind of document and the role (R48)."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.canonical import canonical
from consent.keys import BadSignature, SigningKey, VerifyingKey
from consent.signed import countersign, sign, verify

KEY, PLATFORM = SigningKey.generate(), SigningKey.generate()
DOCUMENT = countersign(sign({"type": "consent", "a": 1, "b": ["x", "ü"]}, KEY, "enterprise"), PLATFORM, "platform")


def test_published_ed25519_vector() -> None:
    """RFC 8032, section 7.1, test 2."""
    key = VerifyingKey(bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"))
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    key.verify(signature, bytes.fromhex("72"))
    with pytest.raises(BadSignature):
        key.verify(signature, bytes.fromhex("73"))


def test_published_canonical_json_vector() -> None:
    """RFC 8785, section 3.2.3: keys sort by UTF-16 code units, numbers as ECMAScript writes them."""
    value = {"numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27], "literals": [None, True, False]}
    expected = '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'
    assert canonical(value).decode() == expected


def test_both_signatures_verify() -> None:
    assert verify(DOCUMENT, "enterprise", KEY.public)["a"] == 1
    assert verify(DOCUMENT, "platform", PLATFORM.public)["a"] == 1


def test_wrong_key_and_missing_role_are_refused() -> None:
    with pytest.raises(BadSignature, match="expected"):
        verify(DOCUMENT, "platform", KEY.public)
    with pytest.raises(BadSignature, match="found 0"):
        verify(DOCUMENT, "auditor")


def test_a_signature_cannot_change_its_role_or_kind() -> None:
    moved = copy.deepcopy(DOCUMENT)
    moved["signatures"][0]["role"] = "operator"
    with pytest.raises(BadSignature):
        verify(moved, "operator")
    renamed = copy.deepcopy(DOCUMENT)
    renamed["body"]["type"] = "refusal"
    with pytest.raises(BadSignature):
        verify(renamed, "enterprise")


def test_the_countersignature_covers_the_enterprises_signature() -> None:
    other = sign(DOCUMENT["body"], SigningKey.generate(), "enterprise")
    forged = {"body": DOCUMENT["body"], "signatures": [other["signatures"][0], DOCUMENT["signatures"][1]]}
    with pytest.raises(BadSignature):
        verify(forged, "platform", PLATFORM.public)


def _verify_both(document: dict) -> None:
    verify(document, "enterprise", KEY.public)
    verify(document, "platform", PLATFORM.public)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_is_detected(position: int, change: int) -> None:
    """Whatever byte of the document changes, one of the two verifications fails (or it is not JSON any more)."""
    import json

    raw = bytearray(canonical(DOCUMENT))
    raw[position % len(raw)] ^= change
    try:
        changed = json.loads(bytes(raw))
    except ValueError:
        return
    if changed == DOCUMENT:
        return
    with pytest.raises(BadSignature):
        _verify_both(changed)
