"""The interface of a crypto suite: one signature scheme, one authenticated cipher and one hash that belong together.

Owns the interface, and the one form of a sealed box on top of it. It never chooses a suite and never reads
configuration: callers name the suite they want.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from consent.hashing import HASHES
from consent.suites.errors import CannotOpen

NONCE_BYTES = 12
TAG_BYTES = 16


class PublicKey(Protocol):
    """A public key of one suite."""

    def verify(self, signature: bytes, payload: bytes) -> None:
        """Raises BadSignature unless `signature` is this key's over `payload`."""

    def to_der(self) -> bytes:
        """SubjectPublicKeyInfo (RFC 5280)."""


class PrivateKey(Protocol):
    """A private key of one suite; `public` is the raw public key."""

    public: bytes

    def sign(self, payload: bytes) -> bytes:
        """The signature, of the suite's fixed length."""

    def to_der(self) -> bytes:
        """PKCS #8 PrivateKeyInfo (RFC 5958), not encrypted."""


class Suite(ABC):
    """One suite. Lengths in bytes; `jws_alg` is the name in a JWS header, `hash_name` a name of `consent.hashing`."""

    id: ClassVar[str]
    jws_alg: ClassVar[str]
    hash_name: ClassVar[str]
    public_bytes: ClassVar[int]
    signature_bytes: ClassVar[int]
    secret_bytes: ClassVar[int]

    @abstractmethod
    def generate(self) -> PrivateKey: ...

    @abstractmethod
    def private_key(self, der: bytes) -> PrivateKey:
        """From PKCS #8 DER. Raises BadKey."""

    @abstractmethod
    def public_key(self, raw: bytes) -> PublicKey:
        """From the raw form of `public_bytes` bytes. Raises BadKey."""

    @abstractmethod
    def raw_public_key(self, der: bytes) -> bytes:
        """The raw form of a SubjectPublicKeyInfo. Raises BadKey."""

    @abstractmethod
    def encrypt_with_nonce(self, secret: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """Ciphertext ‖ tag. Hazardous: a nonce used twice under one secret gives both texts away; use `seal`."""

    @abstractmethod
    def decrypt_with_nonce(self, secret: bytes, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        """The plaintext of ciphertext ‖ tag. Raises CannotOpen."""

    def digest(self, data: bytes) -> bytes:
        """The suite's hash of `data`, 32 bytes."""
        return HASHES[self.hash_name](data)

    def new_secret(self) -> bytes:
        """A random key for `seal`."""
        return os.urandom(self.secret_bytes)

    def secret_id(self, secret: bytes) -> str:
        """16 hex digits that name a secret and say nothing more about a random one."""
        return self.digest(b"creditlab/secret-id/1\n" + secret).hex()[:16]

    def seal(self, secret: bytes, plaintext: bytes, aad: bytes = b"") -> bytes:
        """A sealed box: one line naming format, suite and secret, then nonce ‖ ciphertext ‖ tag.

        The line and `aad` are authenticated. The nonce is random: keep below 2^32 boxes a secret (NIST SP 800-38D,
        section 8.3). Raises CannotOpen for a secret of the wrong length.
        """
        header = self._header(secret)
        nonce = os.urandom(NONCE_BYTES)
        return header + nonce + self.encrypt_with_nonce(secret, nonce, plaintext, header + aad)

    def open(self, secret: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
        """The plaintext. Raises CannotOpen for another suite, secret or `aad`, or any changed byte."""
        header = self._header(secret)
        if not sealed.startswith(header):
            raise CannotOpen(
                f"not a box sealed with suite {self.id} and secret {self.secret_id(secret)}",
                f"不是用套件 {self.id} 与密钥 {self.secret_id(secret)} 密封的数据",
            )
        nonce, ciphertext = sealed[len(header) :][:NONCE_BYTES], sealed[len(header) + NONCE_BYTES :]
        if len(ciphertext) < TAG_BYTES:
            raise CannotOpen("the sealed box is cut short", "密封数据不完整")
        return self.decrypt_with_nonce(secret, nonce, ciphertext, header + aad)

    def _header(self, secret: bytes) -> bytes:
        if len(secret) != self.secret_bytes:
            raise CannotOpen(
                f"a secret of suite {self.id} has {self.secret_bytes} bytes, found {len(secret)}",
                f"套件 {self.id} 的密钥为 {self.secret_bytes} 字节，实为 {len(secret)} 字节",
            )
        return f"creditlab/sealed/1/{self.id}/{self.secret_id(secret)}\n".encode()
