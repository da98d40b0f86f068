"""Signing keys behind two small classes, each of one crypto suite. Verification raises, it never returns a bool.

Owns the forms of a key: raw, base64, DER, PEM and its key id. It never chooses a suite for a new key: the caller names
one, and a key that is read says itself which it is.
"""

from __future__ import annotations

import base64
import binascii
import re
import textwrap
from functools import lru_cache

from consent import suites
from consent.suites import DEFAULT, SUITES
from consent.suites.base import PrivateKey
from consent.suites.errors import BadKey, BadSignature, SuiteMismatch, UnknownSuite
from consent.suites.sm2 import CURVE_OID, Sm2Suite

__all__ = ["BadKey", "BadSignature", "SigningKey", "SuiteMismatch", "UnknownSuite", "VerifyingKey", "decode_base64"]

_BLOCK = re.compile(rb"-----BEGIN ((?:EC )?PRIVATE KEY|PUBLIC KEY)-----([A-Za-z0-9+/=\s]+)-----END \1-----")


def decode_base64(text: object, what: str) -> bytes:
    """The bytes of a base64 text in its one canonical form (RFC 4648, 3.5). Raises BadSignature naming `what`.

    Padding bits that are not zero would give one signature several spellings.
    """
    try:
        if not isinstance(text, str):
            raise ValueError("not a text")
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignature(f"{what} is not base64", f"{what} 不是 base64") from error
    if base64.b64encode(raw).decode() != text:
        raise BadSignature(f"{what} is not in canonical base64", f"{what} 不是规范的 base64")
    return raw


def _suite_of_der(der: bytes) -> str:
    return Sm2Suite.id if CURVE_OID in der else DEFAULT


def _pem(label: str, der: bytes) -> bytes:
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


def _der(pem: bytes, *labels: bytes) -> bytes:
    for block in _BLOCK.finditer(pem):
        if block[1] in labels:
            try:
                return base64.b64decode(b"".join(block[2].split()), validate=True)
            except binascii.Error as error:
                raise BadKey("the PEM block is not base64", "PEM 内容不是 base64") from error
    wanted = labels[0].decode()
    raise BadKey(f"no PEM block {wanted} was found: an unencrypted one is needed", f"缺少未加密的 PEM 段 {wanted}")


class VerifyingKey:
    """A public key. `key_id` is the first 16 hex digits of its suite's hash of the raw key.

    Raw keys of the suites differ in length, so a raw key belongs to one suite only; with `suite` it must be that one.
    """

    def __init__(self, raw: bytes, suite: str | None = None) -> None:
        found = next((each for each in SUITES.values() if each.public_bytes == len(raw)), None)
        if found is None:
            lengths = ", ".join(f"{each.public_bytes} ({each.id})" for each in SUITES.values())
            raise BadKey(
                f"a public key has {lengths} bytes, found {len(raw)}", f"公钥须为 {lengths} 字节，实为 {len(raw)}"
            )
        if suite is not None and suite != found.id:
            suites.suite(suite)
            raise SuiteMismatch(
                f"a public key of suite {found.id} stands where one of suite {suite} is named",
                f"标明套件 {suite}，公钥却属于套件 {found.id}",
            )
        self._key = found.public_key(raw)
        self.suite = found.id
        self.raw = raw
        self.b64 = base64.b64encode(raw).decode()
        self.key_id = found.digest(raw).hex()[:16]

    @classmethod
    def from_b64(cls, text: str, suite: str | None = None) -> VerifyingKey:
        """Raises BadSignature (BadKey, SuiteMismatch, UnknownSuite)."""
        return _from_b64(text, suite)

    @classmethod
    def from_der(cls, der: bytes) -> VerifyingKey:
        """From SubjectPublicKeyInfo. Raises BadKey."""
        name = _suite_of_der(der)
        return cls(SUITES[name].raw_public_key(der), name)

    @classmethod
    def from_pem(cls, pem: bytes) -> VerifyingKey:
        return cls.from_der(_der(pem, b"PUBLIC KEY"))

    def to_der(self) -> bytes:
        return self._key.to_der()

    def to_pem(self) -> bytes:
        return _pem("PUBLIC KEY", self.to_der())

    def verify(self, signature: bytes, payload: bytes) -> None:
        """Raises BadSignature unless `signature` (64 bytes in either suite) is this key's over `payload`."""
        try:
            self._key.verify(signature, payload)
        except BadSignature as error:
            raise BadSignature(
                f"signature does not verify under key {self.key_id}", f"签名与密钥 {self.key_id} 不符"
            ) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyingKey) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)


@lru_cache(maxsize=1024)
def _from_b64(text: str, suite: str | None) -> VerifyingKey:
    return VerifyingKey(decode_base64(text, "public key"), suite)


class SigningKey:
    """A private key. Kept by its owner; its PEM is written only to files of mode 0600."""

    def __init__(self, key: PrivateKey, suite: str) -> None:
        self._key = key
        self.suite = suite
        self.public = VerifyingKey(key.public, suite)

    @classmethod
    def generate(cls, suite: str = DEFAULT) -> SigningKey:
        """A new key of the suite. Raises UnknownSuite, or SuiteUnavailable where the machine lacks it."""
        return cls(suites.suite(suite).generate(), suite)

    @classmethod
    def from_der(cls, der: bytes) -> SigningKey:
        """From unencrypted PKCS #8. Raises BadKey."""
        name = _suite_of_der(der)
        return cls(SUITES[name].private_key(der), name)

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        return cls.from_der(_der(pem, b"PRIVATE KEY", b"EC PRIVATE KEY"))

    def to_der(self) -> bytes:
        return self._key.to_der()

    def to_pem(self) -> bytes:
        return _pem("PRIVATE KEY", self.to_der())

    def sign(self, payload: bytes) -> bytes:
        return self._key.sign(payload)
