"""A passkey in software: makes the assertions that an authenticator and its browser would, and false ones on demand."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from consent.passkey import Assertion, PasskeyKey, rp_id_hash
from consent.signed import Document, passkey_challenge, sign_with_passkey

RP_ID = "portal.example"
ORIGIN = "https://portal.example"
EVIDENCE = {"kind": "passkey", "reference": rp_id_hash(RP_ID)}
PRESENT, VERIFIED = 0x01, 0x04


@dataclass
class Passkey:
    """One key of one person. `count` goes up with every use."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    count: int = 0

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
            "challenge": base64.urlsafe_b64encode(expected).decode().rstrip("="),
            "origin": ORIGIN,
            "crossOrigin": False,
            **client_data,
        }
        client = raw_client_data or json.dumps({k: v for k, v in told.items() if v is not None}).encode()
        self.count += 1
        data = hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big") + trailing
        der = self.private.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return Assertion.from_authenticator(data, client, der)

    def sign(self, body: Document) -> Document:
        return sign_with_passkey(body, self.public, self.assertion(passkey_challenge(body)))
