"""Suite `ed25519`: Ed25519 (RFC 8032), AES-256-GCM (NIST SP 800-38D) and SHA-256, all from `cryptography`.

Owns the suite's bytes. It never accepts a public key of small order: under one, a single signature fits many messages.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent.suites.base import PrivateKey, PublicKey, Suite
from consent.suites.errors import BadKey, BadSignature, CannotOpen

_P = 2**255 - 19
# y of the points whose order divides 8 (RFC 8032, 5.1; the two of order 8 solve y^4·d + 2·y^2 = 1)
_Y8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
_SMALL_ORDER = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})


class Ed25519Public:
    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    def verify(self, signature: bytes, payload: bytes) -> None:
        try:
            self._key.verify(signature, payload)
        except InvalidSignature as error:
            raise BadSignature("the Ed25519 signature does not verify", "Ed25519 签名不符") from error

    def to_der(self) -> bytes:
        return self._key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class Ed25519Private:
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    def sign(self, payload: bytes) -> bytes:
        return self._key.sign(payload)

    def to_der(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


class Ed25519Suite(Suite):
    id = "ed25519"
    jws_alg = "EdDSA"
    hash_name = "sha256"
    public_bytes = 32
    signature_bytes = 64
    secret_bytes = 32

    def generate(self) -> PrivateKey:
        return Ed25519Private(Ed25519PrivateKey.generate())

    def private_key(self, der: bytes) -> PrivateKey:
        try:
            key = serialization.load_der_private_key(der, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadKey("not an Ed25519 private key (PKCS #8)", "不是 Ed25519 私钥（PKCS #8）") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadKey("not an Ed25519 private key (PKCS #8)", "不是 Ed25519 私钥（PKCS #8）")
        return Ed25519Private(key)

    def public_key(self, raw: bytes) -> PublicKey:
        if len(raw) != self.public_bytes:
            raise BadKey("not an Ed25519 public key (32 bytes expected)", "不是 Ed25519 公钥（须为 32 字节）")
        y = int.from_bytes(raw, "little") & (2**255 - 1)
        if y >= _P or y in _SMALL_ORDER:
            raise BadKey(
                "an Ed25519 public key of small order or not in its one form", "Ed25519 公钥阶过小或编码不规范"
            )
        try:
            return Ed25519Public(Ed25519PublicKey.from_public_bytes(raw))
        except ValueError as error:
            raise BadKey("not an Ed25519 public key", "不是 Ed25519 公钥") from error

    def raw_public_key(self, der: bytes) -> bytes:
        try:
            key = serialization.load_der_public_key(der)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadKey("not an Ed25519 public key (DER)", "不是 Ed25519 公钥（DER）") from error
        if not isinstance(key, Ed25519PublicKey):
            raise BadKey("not an Ed25519 public key (DER)", "不是 Ed25519 公钥（DER）")
        return key.public_bytes_raw()

    def encrypt_with_nonce(self, secret: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        return AESGCM(secret).encrypt(nonce, plaintext, aad)

    def decrypt_with_nonce(self, secret: bytes, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        try:
            return AESGCM(secret).decrypt(nonce, ciphertext, aad)
        except InvalidTag as error:
            raise CannotOpen(
                "the sealed box was changed, or its context differs", "密封数据被改动或上下文不符"
            ) from error
