"""A passkey in software: makes the assertions that an authenticator and its browser would, and false ones on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from consent.passkey import Assertion, PasskeyKey, rp_id_hash
from consent.signed import Document, passkey_challenge, sign_with_passkey

RP_ID = "portal.example"
ORIGIN = "https://portal.example"
EVIDENCE = {"kind": "passkey", "reference": rp_id_hash(RP_ID)}
PRESENT, VERIFIED = 0x01, 0x04


def b64u(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unb64u(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Passkey:
    """One key of one person. `count` goes up with every use."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    count: int = 0
    id: str = field(default_factory=lambda: b64u(secrets.token_bytes(24)))

    @property
    def public(self) -> PasskeyKey:
        return PasskeyKey.from_public_key(self.private.public_key())

    def assertion(
        self,
        expected: bytes,
        *,
        rp_id: str = RP_ID,
        flags: int = PRESENT | VERIFIED,
        trailing: bytes = b"",
        raw_client_data: bytes | None = None,
        **client_data: object,
    ) -> Assertion:
        """An assertion over `expected`; `client_data` replaces what the browser would say (None leaves it out)."""
        told = {
            "type": "webauthn.get",
            "challenge": b64u(expected),
            "origin": ORIGIN,
            "crossOrigin": False,
            **client_data,
        }
        client = raw_client_data or json.dumps({k: v for k, v in told.items() if v is not None}).encode()
        self.count += 1
        data = hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big") + trailing
        der = self.private.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return Assertion.from_authenticator(data, client, der)

    def credential(self, challenge: bytes, user: str | None = None, **changes: Any) -> dict[str, Any]:
        """An assertion as a browser's JSON; `changes` as for `assertion`."""
        made = self.assertion(challenge, **changes)
        r, s = (int.from_bytes(half, "big") for half in (made.signature[:32], made.signature[32:]))
        response = {
            "clientDataJSON": b64u(made.client_data),
            "authenticatorData": b64u(made.authenticator_data),
            "signature": b64u(encode_dss_signature(r, s)),
            "userHandle": None if user is None else b64u(user.encode()),
        }
        return {"id": self.id, "type": "public-key", "response": response}

    def registration(
        self, challenge: bytes, *, rp_id: str = RP_ID, origin: str = ORIGIN, flags: int = PRESENT | VERIFIED
    ) -> dict[str, Any]:
        """A new credential as a browser's JSON, without attestation (WebAuthn Level 3, 8.7)."""
        told = {"type": "webauthn.create", "challenge": b64u(challenge), "origin": origin, "crossOrigin": False}
        numbers = self.private.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        raw_id = unb64u(self.id)
        data = (
            hashlib.sha256(rp_id.encode()).digest()
            + bytes([flags | 0x40])
            + bytes(4 + 16)
            + len(raw_id).to_bytes(2, "big")
            + raw_id
            + cbor2.dumps(cose)
        )
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        response = {"clientDataJSON": b64u(json.dumps(told).encode()), "attestationObject": b64u(attestation)}
        return {"id": self.id, "rawId": self.id, "type": "public-key", "response": response}

    def sign(self, body: Document) -> Document:
        return sign_with_passkey(body, self.public, self.assertion(passkey_challenge(body)))
