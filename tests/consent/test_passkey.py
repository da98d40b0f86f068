"""A passkey's assertion is a signature: bound to one document, one site, one verified user (R20, R48)."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from consent import artefact, passkey, receipt, templates
from consent.book import ConsentBook, verify_event
from consent.canonical import canonical
from consent.evidence import EvidenceMismatch
from consent.keyring import Keyring
from consent.keys import BadKey, BadSignature, SigningKey
from consent.passkey import (
    Assertion,
    ChallengeMismatch,
    CrossOrigin,
    MalformedAssertion,
    PasskeyKey,
    PasskeyRefused,
    UserNotPresent,
    UserNotVerified,
    WrongCeremony,
    WrongRelyingParty,
)
from consent.signed import countersign, enterprise_key, passkey_challenge, sign, sign_with_passkey, signatory, verify
from consent.suites import SUITES
from consent.suites.errors import SuiteNotAllowed
from tests.support.authenticator import EVIDENCE, PRESENT, VERIFIED, Passkey

PLATFORM = SigningKey.generate()
PASSKEY = Passkey()
AT = "2026-06-01T08:00:00Z"


def consent(evidence: dict | None = None, **changes: Any) -> dict:
    return artefact.consent(
        consent_id="c-1",
        enterprise="91350100M000100Y43",
        recipient="bank_a",
        provider="lab",
        valid_from=AT,
        valid_until="2026-12-01T00:00:00Z",
        given_at=AT,
        evidence=evidence or EVIDENCE,
        **{**templates.terms("underwriting_score"), **changes},
    )


DOCUMENT = countersign(PASSKEY.sign(consent()), PLATFORM, "platform")


# ---- what holds


def test_a_passkey_signs_as_the_enterprise_and_is_verified_by_the_same_call() -> None:
    assert verify(DOCUMENT, "enterprise")["consent_id"] == "c-1"
    assert verify(DOCUMENT, "enterprise", PASSKEY.public, {"webauthn-es256"})
    assert verify(DOCUMENT, "platform", PLATFORM.public)
    assert enterprise_key(DOCUMENT) == PASSKEY.public
    assert signatory(DOCUMENT) == PASSKEY.public.raw
    event = {"seq": 1, "kind": "consent", "document": DOCUMENT}
    verify_event(event, PLATFORM.public)
    book = ConsentBook()
    book.apply(event)
    assert book.covered("bank_a", "underwriting_score", AT) == frozenset()  # its uses are not known here
    assert book.by_id("c-1").key == PASSKEY.public.raw


def test_the_challenge_is_the_hash_of_what_a_signing_key_would_have_signed() -> None:
    body = consent()
    payload = b"creditlab/consent/enterprise/1\n" + canonical({"body": body, "signatures": []})
    assert passkey_challenge(body) == hashlib.sha256(payload).digest()


def test_an_assertion_made_by_another_library_of_another_kind_verifies() -> None:
    """The signature base of WebAuthn Level 3, 7.2 step 21, put together by hand."""
    private = ec.generate_private_key(ec.SECP256R1())
    challenge = b"\x01" * 32
    client = b'{"type":"webauthn.get","challenge":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","origin":"https://x.example"}'
    data = hashlib.sha256(b"x.example").digest() + b"\x1d" + b"\x00\x00\x00\x09"
    der = private.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
    point = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    made = Assertion.from_authenticator(data, client, der)
    assert passkey.check(made, PasskeyKey(point), challenge, passkey.rp_id_hash("x.example")) == "https://x.example"
    assert (made.sign_count, made.backed_up) == (9, True)


def test_a_receipt_over_a_passkey_verifies_offline_and_says_so() -> None:
    keyring = Keyring.found(PLATFORM, platform="zone", at="2026-01-01T00:00:00Z", valid_until="2027-01-01T00:00:00Z")
    raw = receipt.issue(DOCUMENT, PLATFORM, receipt_id="r-1", platform="zone", recorded_at=AT, issued_at=AT)
    view = receipt.verify(raw, keyring)
    assert (view.evidence, view.enterprise_key_id) == ("passkey", PASSKEY.public.key_id)
    with pytest.raises(SuiteNotAllowed):
        receipt.verify(raw, keyring, allowed={"ed25519"})


def test_no_suite_has_keys_as_long_as_a_passkeys() -> None:
    """What is told apart by length must differ in length."""
    assert passkey.PUBLIC_BYTES not in {each.public_bytes for each in SUITES.values()}
    assert passkey.SUITE not in SUITES


# ---- what is refused, by name


def signed_with(**changes: Any) -> dict:
    body = consent()
    return sign_with_passkey(body, PASSKEY.public, PASSKEY.assertion(passkey_challenge(body), **changes))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"type": "webauthn.create"}, WrongCeremony),
        ({"type": "payment.get"}, WrongCeremony),
        ({"type": None}, WrongCeremony),
        ({"challenge": base64.urlsafe_b64encode(b"\x00" * 32).decode().rstrip("=")}, ChallengeMismatch),
        ({"challenge": None}, ChallengeMismatch),
        ({"crossOrigin": True}, CrossOrigin),
        ({"topOrigin": "https://elsewhere.example"}, CrossOrigin),
        ({"origin": None}, MalformedAssertion),
        ({"origin": 1}, MalformedAssertion),
        ({"rp_id": "elsewhere.example"}, WrongRelyingParty),
        ({"flags": VERIFIED}, UserNotPresent),
        ({"flags": PRESENT}, UserNotVerified),
        ({"flags": 0}, UserNotPresent),
        ({"flags": PRESENT | VERIFIED | 0x10}, MalformedAssertion),  # backed up, yet not able to be
        ({"flags": PRESENT | VERIFIED | 0x40}, MalformedAssertion),  # an attested key has no place here
        ({"flags": PRESENT | VERIFIED | 0x80, "trailing": b"\xa0"}, MalformedAssertion),
        ({"trailing": b"\x00"}, MalformedAssertion),
        ({"raw_client_data": b"[]"}, MalformedAssertion),
        ({"raw_client_data": b"{"}, MalformedAssertion),
        ({"raw_client_data": b'{"type":"webauthn.create","type":"webauthn.get"}'}, MalformedAssertion),
        ({"raw_client_data": b" " * 5000}, MalformedAssertion),
    ],
    ids=str,
)
def test_each_fault_of_an_assertion_has_a_name(changes: dict, error: type[PasskeyRefused]) -> None:
    with pytest.raises(error) as caught:
        signed_with(**changes)
    assert caught.value.code.startswith("passkey_")
    assert caught.value.message_zh


def test_an_assertion_for_another_document_is_refused() -> None:
    """Another purpose, term or number makes another challenge (R14)."""
    moved = copy.deepcopy(DOCUMENT)
    moved["body"] = consent(
        purpose="joint_training", **{k: v for k, v in templates.terms("joint_training").items() if k != "purpose"}
    )
    with pytest.raises(ChallengeMismatch):
        verify(moved, "enterprise")


def test_a_signature_by_another_passkey_is_refused() -> None:
    body = consent()
    with pytest.raises(BadSignature, match="does not verify"):
        sign_with_passkey(body, Passkey().public, PASSKEY.assertion(passkey_challenge(body)))


def test_the_site_is_the_one_that_the_evidence_names() -> None:
    body = consent({"kind": "passkey", "reference": passkey.rp_id_hash("elsewhere.example")})
    with pytest.raises(WrongRelyingParty):
        PASSKEY.sign(body)


def test_a_passkey_and_the_stated_evidence_go_together_or_not_at_all() -> None:
    by_key = sign(consent(), SigningKey.generate(), "enterprise")
    with pytest.raises(EvidenceMismatch):
        verify(by_key, "enterprise")
    for kind in ("import", "paper"):
        body = consent({"kind": kind, "reference": EVIDENCE["reference"]})
        with pytest.raises(EvidenceMismatch) as caught:
            PASSKEY.sign(body)
        assert caught.value.code == "evidence_mismatch"
    withdrawal = artefact.withdrawal(consent_id="c-1", enterprise="e", at=AT)
    with pytest.raises(EvidenceMismatch):
        PASSKEY.sign(withdrawal)  # a passkey without evidence: nobody could tell for which site
    proved = artefact.withdrawal(consent_id="c-1", enterprise="e", at=AT, evidence=EVIDENCE)
    assert verify(PASSKEY.sign(proved), "enterprise") == proved


def test_a_passkey_is_nobody_but_the_enterprise() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["signatures"][0]["role"] = "operator"
    with pytest.raises(BadSignature):
        verify(document, "operator")


def test_a_second_spelling_of_a_signature_is_refused() -> None:
    """(r, n − s) verifies wherever (r, s) does: only the lower half counts."""
    document = copy.deepcopy(DOCUMENT)
    raw = base64.b64decode(document["signatures"][0]["signature"])
    s = int.from_bytes(raw[32:], "big")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    document["signatures"][0]["signature"] = base64.b64encode(raw[:32] + (order - s).to_bytes(32, "big")).decode()
    with pytest.raises(MalformedAssertion, match="lower half"):
        verify(document, "enterprise")


def test_whichever_half_an_authenticator_gives_one_form_is_kept() -> None:
    made = PASSKEY.assertion(b"\x02" * 32)
    r, s = (int.from_bytes(half, "big") for half in (made.signature[:32], made.signature[32:]))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for each in (s, order - s):
        again = Assertion.from_authenticator(made.authenticator_data, made.client_data, encode_dss_signature(r, each))
        assert again.signature == made.signature
    assert decode_dss_signature(encode_dss_signature(r, s)) == (r, s)


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"\x00" * 64, encode_dss_signature(2**300, 1)])
def test_a_signature_that_is_not_der_is_refused(der: bytes) -> None:
    with pytest.raises(MalformedAssertion):
        Assertion.from_authenticator(b"", b"", der)


@pytest.mark.parametrize(
    "raw", [b"", b"\x02" + b"\xff" * 32, b"\x04" + b"\x01" * 32, b"\x02" * 32, b"\x02" + b"\x00" * 31]
)
def test_bytes_that_are_no_key_are_refused(raw: bytes) -> None:
    with pytest.raises(BadKey):
        PasskeyKey(raw)


def test_a_key_of_another_curve_is_refused() -> None:
    with pytest.raises(BadKey, match="P-256"):
        PasskeyKey.from_public_key(ec.generate_private_key(ec.SECP384R1()).public_key())


def test_fields_too_many_or_too_few_are_refused() -> None:
    for name in passkey.FIELDS:
        changed = copy.deepcopy(DOCUMENT)
        del changed["signatures"][0][name]
        with pytest.raises(BadSignature, match="too many or too few"):
            verify(changed, "enterprise")
        plain = copy.deepcopy(DOCUMENT)
        plain["signatures"][1][name] = ""
        with pytest.raises(BadSignature, match="too many or too few"):
            verify(plain, "platform")


RAW = canonical(DOCUMENT)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_any_changed_byte_of_a_document_is_refused(position: int, flip: int) -> None:
    changed = bytearray(RAW)
    changed[position] ^= flip
    try:
        document = json.loads(bytes(changed))
        for role, key in (("enterprise", PASSKEY.public), ("platform", PLATFORM.public)):
            verify(document, role, key)
    except (BadSignature, ValueError, TypeError, KeyError, AttributeError):
        return
    assert document == DOCUMENT  # the same value spelled otherwise, as `read_canonical` refuses it


FIELDS = ("authenticator_data", "client_data_json", "signature", "public_key", "key_id")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FIELDS[:4]), st.data())
def test_any_changed_byte_of_an_assertion_is_refused(name: str, data: st.DataObject) -> None:
    """Without the platform's signature, which would catch it too."""
    document = {"body": DOCUMENT["body"], "signatures": [copy.deepcopy(DOCUMENT["signatures"][0])]}
    raw = bytearray(base64.b64decode(document["signatures"][0][name]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    document["signatures"][0][name] = base64.b64encode(bytes(raw)).decode()
    with pytest.raises(BadSignature):
        verify(document, "enterprise")
