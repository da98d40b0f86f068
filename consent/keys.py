"""Signing keys: Ed25519 behind two small classes. Verification raises, it never returns a bool.

Every signature names its suite and key id, so that a second suite (SM2) can stand beside this one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUITE = "ed25519"


class BadSignature(Exception):
    """A signature is missing, malformed, by the wrong key or over other bytes."""


class VerifyingKey:
    """A public key. `key_id` is the first 16 hex digits of the SHA-256 of the raw key."""

    def __init__(self, raw: bytes) -> None:
        try:
            self._key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError as error:
            raise BadSignature("not an Ed25519 public key (32 bytes expected)") from error
        self.raw = raw
        self.b64 = base64.b64encode(raw).decode()
        self.key_id = hashlib.sha256(raw).hexdigest()[:16]

    @classmethod
    def from_b64(cls, text: str) -> VerifyingKey:
        return _from_b64(text)

    def verify(self, signature: bytes, payload: bytes) -> None:
        """Raises BadSignature unless `signature` (64 bytes) is this key's over `payload`."""
        try:
            self._key.verify(signature, payload)
        except InvalidSignature as error:
            raise BadSignature(f"signature does not verify under key {self.key_id}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyingKey) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)


@lru_cache(maxsize=1024)
def _from_b64(text: str) -> VerifyingKey:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignature("public key is not base64") from error
    return VerifyingKey(raw)


class SigningKey:
    """A private key. Kept by its owner; its PEM is written only to files of mode 0600."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = VerifyingKey(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise BadSignature("the PEM file does not hold an Ed25519 private key")
        return cls(key)

    def to_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, payload: bytes) -> bytes:
        return self._key.sign(payload)
