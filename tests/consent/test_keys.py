"""Keys of both suites: their forms, and that a key stands for one suite only (R48)."""

from __future__ import annotations

import base64

import pytest

from consent.keys import BadKey, BadSignature, SigningKey, SuiteMismatch, UnknownSuite, VerifyingKey, decode_base64
from consent.suites import SUITES

# openssl genpkey -algorithm SM2, and openssl ecparam -name SM2 -genkey: keys that another program wrote
PKCS8 = b"""-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqBHM9VAYItBG0wawIBAQQgWHEY1jQZsEj68Pke
OYSqkXClAgpAmBKBqnetoYNGXOWhRANCAAQtB3AzMA8ftw38tNbL/NCmAolDHSDi
kDSI6J9o6r9tcy9KpUDeBjn3Wtk6rlm8OwACbCCNa51VJj/mxDfzRod7
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize("name", SUITES)
def test_a_key_survives_pem_der_and_base64(name: str) -> None:
    key = SigningKey.generate(name)
    assert key.suite == key.public.suite == name
    for again in (SigningKey.from_pem(key.to_pem()), SigningKey.from_der(key.to_der())):
        assert again.public == key.public and again.suite == name
        key.public.verify(again.sign(b"x"), b"x")
    public = key.public
    for form in (
        VerifyingKey.from_pem(public.to_pem()),
        VerifyingKey.from_der(public.to_der()),
        VerifyingKey.from_b64(public.b64),
        VerifyingKey.from_b64(public.b64, name),
        VerifyingKey(public.raw),
    ):
        assert form == public and form.key_id == public.key_id and form.suite == name
    assert public.key_id == SUITES[name].digest(public.raw).hex()[:16]


def test_a_new_key_is_ed25519_unless_a_suite_is_named() -> None:
    assert SigningKey.generate().suite == "ed25519"
    with pytest.raises(UnknownSuite):
        SigningKey.generate("rsa")


def test_an_sm2_key_written_by_another_program_is_read() -> None:
    key = SigningKey.from_pem(PKCS8)
    assert key.suite == "sm2"
    assert key.public.key_id == "8159906cc67c71fc"
    key.public.verify(key.sign(b"x"), b"x")


def test_a_key_named_under_another_suite_is_refused() -> None:
    ed, sm = SigningKey.generate().public, SigningKey.generate("sm2").public
    with pytest.raises(SuiteMismatch):
        VerifyingKey.from_b64(ed.b64, "sm2")
    with pytest.raises(SuiteMismatch):
        VerifyingKey.from_b64(sm.b64, "ed25519")
    with pytest.raises(UnknownSuite):
        VerifyingKey.from_b64(ed.b64, "rsa")


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"junk",
        SigningKey.generate().public.to_pem(),
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nA===A\n-----END PRIVATE KEY-----\n",
        PKCS8.replace(b"PRIVATE", b"ENCRYPTED PRIVATE"),
        PKCS8.replace(b"od7", b"od8"),  # another public half
    ],
    ids=["empty", "junk", "public key", "short", "not base64", "encrypted", "halves differ"],
)
def test_a_pem_that_holds_no_usable_private_key_is_refused(pem: bytes) -> None:
    with pytest.raises(BadKey) as caught:
        SigningKey.from_pem(pem)
    assert caught.value.code == "bad_key" and caught.value.message_zh


@pytest.mark.parametrize("raw", [b"", b"x" * 31, b"x" * 33, b"x" * 64, b"\x02" + b"x" * 64])
def test_bytes_that_are_no_public_key_are_refused(raw: bytes) -> None:
    with pytest.raises(BadKey):
        VerifyingKey(raw)


def test_base64_has_one_spelling() -> None:
    """32 bytes leave spare bits in the last letter: another letter would decode to the same key."""
    text = SigningKey.generate().public.b64
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = text[:-2] + letters[letters.index(text[-2]) | 1] + "="
    assert twin != text and base64.b64decode(twin) == base64.b64decode(text)
    with pytest.raises(BadSignature, match="canonical"):
        VerifyingKey.from_b64(twin)
    for bad in ("", "????", text + "\n", " " + text, None, 7):
        with pytest.raises(BadSignature):
            VerifyingKey(decode_base64(bad, "key"))
