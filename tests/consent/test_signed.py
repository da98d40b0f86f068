"""Signatures cover every byte and bind the kind of document and the role (R48)."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.canonical import canonical
from consent.keys import BadSignature, SigningKey, SuiteMismatch, UnknownSuite, VerifyingKey
from consent.signed import NotCanonical, countersign, read_canonical, sign, signer, verify
from consent.suites import SUITES
from consent.suites.errors import SuiteNotAllowed

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


def _letter_twins(text: str) -> list[str]:
    """Every text that differs from a base64 text in its last letter."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = len(text.rstrip("=")) - 1
    return [text[:last] + each + text[last + 1 :] for each in letters if each != text[last]]


@pytest.mark.parametrize("name", SUITES)
def test_a_signature_has_one_spelling(name: str) -> None:
    """The last letter of base64 has spare bits that no signature covers."""
    key = SigningKey.generate(name)
    document = sign({"type": "consent"}, key, "platform")
    for field in ("signature", "public_key"):
        for twin in _letter_twins(document["signatures"][0][field]):
            changed = copy.deepcopy(document)
            changed["signatures"][0][field] = twin
            with pytest.raises(BadSignature):
                verify(changed, "platform", key.public)


@pytest.mark.parametrize("name", SUITES)
def test_a_document_names_the_suite_and_key_of_each_signature(name: str) -> None:
    enterprise, platform = SigningKey.generate("ed25519"), SigningKey.generate(name)
    document = countersign(sign({"type": "consent"}, enterprise, "enterprise"), platform, "platform")
    assert [s["suite"] for s in document["signatures"]] == ["ed25519", name]
    assert document["signatures"][1]["key_id"] == platform.public.key_id
    assert verify(document, "platform", platform.public) == verify(document, "enterprise", enterprise.public)


@pytest.mark.parametrize(("suite", "error"), [("rsa", UnknownSuite), ("sm2", SuiteMismatch), ("", UnknownSuite)])
def test_a_signature_whose_suite_is_not_its_keys_is_refused(suite: str, error: type[BadSignature]) -> None:
    changed = copy.deepcopy(DOCUMENT)
    changed["signatures"][1]["suite"] = suite
    with pytest.raises(error):
        verify(changed, "platform", PLATFORM.public)
    with pytest.raises(error):
        verify(changed, "platform")


def test_a_verifier_refuses_a_suite_that_it_does_not_allow() -> None:
    """A valid signature of the wrong suite is a downgrade, and refused as such."""
    assert verify(DOCUMENT, "platform", PLATFORM.public, {"ed25519"})
    with pytest.raises(SuiteNotAllowed, match="accepted here: sm2"):
        verify(DOCUMENT, "platform", PLATFORM.public, {"sm2"})
    with pytest.raises(SuiteNotAllowed):
        verify(DOCUMENT, "platform", allowed=frozenset())


def test_a_field_too_many_is_refused() -> None:
    for where in (lambda d: d, lambda d: d["signatures"][1]):
        changed = copy.deepcopy(DOCUMENT)
        where(changed)["note"] = "x"
        with pytest.raises(BadSignature, match="too many"):
            verify(changed, "platform", PLATFORM.public)


@pytest.mark.parametrize("field", ["role", "suite", "key_id", "public_key", "signature"])
@pytest.mark.parametrize("value", [None, 1, [], {}])
def test_a_signature_field_of_another_type_is_refused(field: str, value: object) -> None:
    changed = copy.deepcopy(DOCUMENT)
    changed["signatures"][1][field] = value
    with pytest.raises(BadSignature):
        verify(changed, "platform", PLATFORM.public)


@pytest.mark.parametrize("value", [None, 1, ["a"]])
def test_a_signature_that_names_no_key_is_refused_by_name(value: object) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["signatures"][1]["public_key"] = value
    with pytest.raises(BadSignature, match="names no key"):
        signer(document, "platform")
    del document["signatures"][1]["public_key"]
    with pytest.raises(BadSignature, match="names no key"):
        signer(document, "platform")


def test_only_canonical_bytes_are_read() -> None:
    raw = canonical(DOCUMENT)
    assert read_canonical(raw) == DOCUMENT
    doubled = raw.replace(b'{"body":', b'{"body":{},"body":')
    for changed in (raw + b"\n", b" " + raw, doubled, raw.replace(b"1", b"1.0"), b"", b"[" * 100_000, b"NaN"):
        with pytest.raises(NotCanonical) as caught:
            read_canonical(changed)
        assert caught.value.code == "not_canonical"


BY_SUITE = {}
for _name in SUITES:
    _keys = SigningKey.generate(_name), SigningKey.generate(_name)
    _body = {"type": "consent", "a": 1, "b": ["x", "ü"], "c": None, "d": 1.5, "e": True}
    BY_SUITE[_name] = (countersign(sign(_body, _keys[0], "enterprise"), _keys[1], "platform"), *_keys)


def _read_and_verify(raw: bytes, enterprise: VerifyingKey, platform: VerifyingKey) -> None:
    document = read_canonical(raw)
    verify(document, "enterprise", enterprise)
    verify(document, "platform", platform)


def test_the_unchanged_document_is_accepted() -> None:
    for document, enterprise, platform in BY_SUITE.values():
        _read_and_verify(canonical(document), enterprise.public, platform.public)


@pytest.mark.parametrize("name", SUITES)
@settings(max_examples=250, deadline=None)
@given(position=st.integers(0, 10_000), change=st.integers(1, 255))
def test_any_changed_byte_is_detected(name: str, position: int, change: int) -> None:
    """Whatever byte of the document changes, it is not canonical JSON any more or one of the signatures fails."""
    document, enterprise, platform = BY_SUITE[name]
    raw = bytearray(canonical(document))
    raw[position % len(raw)] ^= change
    with pytest.raises(BadSignature):
        _read_and_verify(bytes(raw), enterprise.public, platform.public)
