"""The zone's key, and samples sealed to it.

Envelope encryption: a fresh AES-256-GCM key seals the sample, HPKE (RFC 9180: X25519, HKDF-SHA256, AES-256-GCM) seals
that key to the zone. Both are bound to the digest of the job's ticket, so a sealed sample opens for no other job. The
node unwraps only the one-job data key and hands it to that job's sandbox: the zone key itself never enters one, and
the node never sees the sample in the clear.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from enclave.pki import write_private

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_INFO = b"creditlab/sealed-sample/1\n"


class CannotOpen(Exception):
    """The sealed sample was made for another zone key or another job, or was changed on the way."""


def load_zone_key(state_dir: Path) -> X25519PrivateKey:
    """The zone's key; made once, kept with mode 0600."""
    path = state_dir / "vault" / "zone.pem"
    if not path.exists():
        key = X25519PrivateKey.generate()
        write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    loaded = load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(loaded, X25519PrivateKey)
    return loaded


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def public_b64(key: X25519PrivateKey) -> str:
    return b64(key.public_key().public_bytes_raw())


def seal(sample: bytes, zone_key_b64: str, ticket_digest: str) -> tuple[bytes, bytes]:
    """(wrapped data key, sealed sample = 12-byte nonce + ciphertext), both bound to the ticket."""
    data_key = AESGCM.generate_key(256)
    nonce = os.urandom(12)
    sealed = nonce + AESGCM(data_key).encrypt(nonce, sample, ticket_digest.encode())
    zone = X25519PublicKey.from_public_bytes(base64.b64decode(zone_key_b64))
    return _SUITE.encrypt(data_key, zone, _INFO + ticket_digest.encode()), sealed


def unwrap(wrapped: bytes, key: X25519PrivateKey, ticket_digest: str) -> bytes:
    """The one-job data key. Raises CannotOpen."""
    try:
        return _SUITE.decrypt(wrapped, key, _INFO + ticket_digest.encode())
    except (InvalidTag, ValueError) as error:
        raise CannotOpen("the sealed sample is not for this zone key and this job") from error
