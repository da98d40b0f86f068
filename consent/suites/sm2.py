"""Suite `sm2`: SM2 signatures (GB/T 32918.2, identity 1234567812345678), SM4-GCM (RFC 8998) and SM3 (GB/T 32905).

Owns the suite's bytes: public keys are the 65 bytes 04 ‖ x ‖ y, signatures the 64 bytes r ‖ s, so each has one form.
SM2 is the system's libcrypto, SM4 and SM3 are those of `cryptography`. It never uses SM2 to encrypt.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from consent.suites import openssl
from consent.suites.base import TAG_BYTES, PrivateKey, PublicKey, Suite
from consent.suites.errors import BadKey, BadSignature, CannotOpen

_HALF = 32
# SubjectPublicKeyInfo of an uncompressed point on sm2p256v1 (1.2.156.10197.1.301) up to the point itself
_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
CURVE_OID = bytes.fromhex("06082a811ccf5501822d")


class Sm2Public:
    def __init__(self, key: openssl.Key) -> None:
        self._key = key

    def verify(self, signature: bytes, payload: bytes) -> None:
        if len(signature) != 2 * _HALF:
            raise BadSignature("an SM2 signature has 64 bytes (r ‖ s)", "SM2 签名须为 64 字节（r ‖ s）")
        r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
        self._key.verify(encode_dss_signature(r, s), payload)

    def to_der(self) -> bytes:
        return self._key.public_der()


class Sm2Private:
    def __init__(self, key: openssl.Key) -> None:
        self._key = key
        self.public = _point(key.public_der())

    def sign(self, payload: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(payload))
        return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")

    def to_der(self) -> bytes:
        return self._key.private_der()


def _point(der: bytes) -> bytes:
    raw = der[len(_SPKI) :]
    if not der.startswith(_SPKI) or len(raw) != Sm2Suite.public_bytes:
        raise BadKey("an SM2 public key in uncompressed form is needed", "须为未压缩形式的 SM2 公钥")
    return raw


class Sm2Suite(Suite):
    id = "sm2"
    jws_alg = "SM2-SM3"
    hash_name = "sm3"
    public_bytes = 65
    signature_bytes = 64
    secret_bytes = 16

    def generate(self) -> PrivateKey:
        return Sm2Private(openssl.Key.generate())

    def private_key(self, der: bytes) -> PrivateKey:
        return Sm2Private(openssl.Key.private(der))

    def public_key(self, raw: bytes) -> PublicKey:
        if len(raw) != self.public_bytes or raw[0] != 4:
            raise BadKey(
                "not an SM2 public key (65 bytes 04 ‖ x ‖ y expected)", "不是 SM2 公钥（须为 65 字节 04 ‖ x ‖ y）"
            )
        return Sm2Public(openssl.Key.public(_SPKI + raw))

    def raw_public_key(self, der: bytes) -> bytes:
        openssl.Key.public(der)
        return _point(der)

    def encrypt_with_nonce(self, secret: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        encryptor = Cipher(algorithms.SM4(secret), modes.GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(aad)
        return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag

    def decrypt_with_nonce(self, secret: bytes, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        text, tag = ciphertext[:-TAG_BYTES], ciphertext[-TAG_BYTES:]
        decryptor = Cipher(algorithms.SM4(secret), modes.GCM(nonce, tag)).decryptor()
        decryptor.authenticate_additional_data(aad)
        plaintext = decryptor.update(text)
        try:
            decryptor.finalize()  # nothing is returned before the tag is right
        except InvalidTag as error:
            raise CannotOpen(
                "the sealed box was changed, or its context differs", "密封数据被改动或上下文不符"
            ) from error
        return plaintext
