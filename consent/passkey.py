"""Passkeys: a WebAuthn assertion (W3C Web Authentication Level 3) as a signature over a signed document's payload.

Owns the suite `webauthn-es256`: the one byte form of its keys and signatures, and the check of an assertion. Pure, so
that nodes, receipts and an offline verifier judge alike. It never asks a browser, keeps no challenge and no counter,
and never decides whose passkey it is: the platform attests that by its countersignature.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from consent.keys import decode_base64
from consent.suites.errors import BadKey, BadSignature

SUITE = "webauthn-es256"
FIELDS = frozenset({"authenticator_data", "client_data_json"})  # besides those of every signature
PUBLIC_BYTES = 33
SIGNATURE_BYTES = 64

_HALF = 32
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # n of P-256 (FIPS 186-5)
_AUTHENTICATOR_DATA_BYTES = 37  # rpIdHash 32, flags 1, signCount 4: no attested key, no extension in an assertion
_MAX_CLIENT_DATA = 4096
_PRESENT, _VERIFIED, _ELIGIBLE, _BACKED_UP = 0x01, 0x04, 0x08, 0x10
_RESERVED = 0xFF ^ (_PRESENT | _VERIFIED | _ELIGIBLE | _BACKED_UP)


class PasskeyRefused(BadSignature):
    """An assertion that proves nothing. Each reason is a subclass."""

    code = "passkey_refused"
    text_zh = "通行密钥签名无效"


class MalformedAssertion(PasskeyRefused):
    """Bytes that are not an assertion in its one form."""

    code = "passkey_malformed"
    text_zh = "通行密钥签名格式不符"


class WrongCeremony(PasskeyRefused):
    """Made to register a key or for something else, not to sign."""

    code = "passkey_wrong_ceremony"
    text_zh = "该通行密钥操作不是签署"


class ChallengeMismatch(PasskeyRefused):
    """Made over another document, or for another sign-in."""

    code = "passkey_challenge_mismatch"
    text_zh = "通行密钥签署的是另一份内容"


class WrongRelyingParty(PasskeyRefused):
    """Made for another site than the one that is accepted."""

    code = "passkey_wrong_relying_party"
    text_zh = "通行密钥签名属于另一网站"


class CrossOrigin(PasskeyRefused):
    """Made inside a page of another site."""

    code = "passkey_cross_origin"
    text_zh = "通行密钥签名在其他网站的页面内产生"


class UserNotPresent(PasskeyRefused):
    """Nobody touched the authenticator."""

    code = "passkey_user_not_present"
    text_zh = "未确认本人在场"


class UserNotVerified(PasskeyRefused):
    """The authenticator did not check who touched it."""

    code = "passkey_user_not_verified"
    text_zh = "未核验本人身份（指纹、面容或密码）"


class PasskeyKey:
    """The public half of a passkey: a P-256 point, `raw` in compressed form (SEC 1, 2.3.3), so that it has one form.

    Raises BadKey for bytes that are not such a point.
    """

    suite = SUITE

    def __init__(self, raw: bytes) -> None:
        if len(raw) != PUBLIC_BYTES or raw[0] not in (2, 3):
            raise BadKey(
                f"a passkey's public key is a compressed P-256 point of {PUBLIC_BYTES} bytes, found {len(raw)}",
                f"通行密钥公钥须为 {PUBLIC_BYTES} 字节的压缩 P-256 点，实为 {len(raw)}",
            )
        try:
            self._key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
        except ValueError as error:
            raise BadKey("a passkey's public key is not a point of P-256", "通行密钥公钥不是 P-256 上的点") from error
        self.raw = raw
        self.b64 = base64.b64encode(raw).decode()
        self.key_id = hashlib.sha256(raw).hexdigest()[:16]

    @classmethod
    def from_b64(cls, text: str) -> PasskeyKey:
        return _from_b64(text)

    @classmethod
    def from_public_key(cls, key: ec.EllipticCurvePublicKey) -> PasskeyKey:
        """Raises BadKey for a key of another curve."""
        if not isinstance(key.curve, ec.SECP256R1):
            raise BadKey(
                f"a passkey of curve P-256 is needed, found {key.curve.name}",
                f"须为 P-256 曲线的通行密钥，实为 {key.curve.name}",
            )
        return cls(key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))

    def verify(self, signature: bytes, payload: bytes) -> None:
        """Raises BadSignature unless `signature` (r ‖ s, s in the lower half) is this key's over `payload`."""
        if len(signature) != SIGNATURE_BYTES:
            raise MalformedAssertion(f"a passkey's signature has {SIGNATURE_BYTES} bytes (r ‖ s)")
        r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
        if s > _ORDER // 2:
            raise MalformedAssertion("a passkey's signature has s in the lower half: the other is a second spelling")
        try:
            self._key.verify(encode_dss_signature(r, s), payload, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise BadSignature(
                f"signature does not verify under passkey {self.key_id}", f"签名与通行密钥 {self.key_id} 不符"
            ) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PasskeyKey) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)


@lru_cache(maxsize=1024)
def _from_b64(text: str) -> PasskeyKey:
    return PasskeyKey(decode_base64(text, "public key"))


@dataclass(frozen=True, slots=True)
class Assertion:
    """What an authenticator gave: its data, the browser's client data, and the signature as r ‖ s with a low s."""

    authenticator_data: bytes
    client_data: bytes
    signature: bytes

    @classmethod
    def from_authenticator(cls, authenticator_data: bytes, client_data: bytes, der: bytes) -> Assertion:
        """From a browser's answer, whose signature is DER. Raises MalformedAssertion."""
        try:
            r, s = decode_dss_signature(der)
            low = min(s, _ORDER - s)
            signature = r.to_bytes(_HALF, "big") + low.to_bytes(_HALF, "big")
        except (ValueError, OverflowError) as error:
            raise MalformedAssertion("the signature is not a DER sequence of two P-256 numbers") from error
        return cls(authenticator_data, client_data, signature)

    @classmethod
    def from_signature(cls, signature: Mapping[str, Any]) -> Assertion:
        """From a signature object of a signed document. Raises BadSignature."""
        return cls(
            decode_base64(signature["authenticator_data"], "authenticator_data"),
            decode_base64(signature["client_data_json"], "client_data_json"),
            decode_base64(signature["signature"], "the passkey's signature"),
        )

    @property
    def sign_count(self) -> int:
        """The authenticator's counter; 0 where it keeps none."""
        return int.from_bytes(self.authenticator_data[33:37], "big")

    @property
    def backed_up(self) -> bool:
        return bool(self.authenticator_data[32] & _BACKED_UP)


def signature_object(key: PasskeyKey, assertion: Assertion, role: str) -> dict[str, str]:
    """The signature as it stands in a signed document."""
    return {
        "role": role,
        "suite": SUITE,
        "key_id": key.key_id,
        "public_key": key.b64,
        "signature": base64.b64encode(assertion.signature).decode(),
        "authenticator_data": base64.b64encode(assertion.authenticator_data).decode(),
        "client_data_json": base64.b64encode(assertion.client_data).decode(),
    }


def challenge(payload: bytes) -> bytes:
    """What the authenticator is asked to sign for `payload`: its SHA-256."""
    return hashlib.sha256(payload).digest()


def rp_id_hash(rp_id: str) -> str:
    """The hash of a relying party id, 64 hex digits, as authenticators sign it."""
    return hashlib.sha256(rp_id.encode()).hexdigest()


def check(assertion: Assertion, key: PasskeyKey, expected: bytes, rp: str) -> str:
    """The origin that the browser reported, once the assertion is `key`'s over the challenge `expected`.

    `rp` is the accepted `rp_id_hash`. Verification steps of WebAuthn Level 3, section 7.2, of which the caller keeps
    those with a memory: the challenge is used once, the counter goes up, the origin is on its list. User presence and
    user verification are always required. Raises a PasskeyRefused by name, or BadSignature.
    """
    data = assertion.authenticator_data
    if len(data) != _AUTHENTICATOR_DATA_BYTES:
        raise MalformedAssertion(
            f"authenticator_data: {_AUTHENTICATOR_DATA_BYTES} bytes are needed, found {len(data)}: "
            "an assertion carries no key and no extension here"
        )
    origin = _check_client_data(assertion.client_data, expected)
    if data[:32].hex() != rp:
        raise WrongRelyingParty(f"made for the site of hash {data[:32].hex()}, accepted is {rp}")
    flags = data[32]
    if flags & _RESERVED or (flags & _BACKED_UP and not flags & _ELIGIBLE):
        raise MalformedAssertion(f"authenticator_data: flags {flags:#04x} do not occur in an assertion")
    if not flags & _PRESENT:
        raise UserNotPresent("the authenticator says that nobody was present: sign again")
    if not flags & _VERIFIED:
        raise UserNotVerified("the authenticator did not verify its user: sign again with a PIN, fingerprint or face")
    key.verify(assertion.signature, data + hashlib.sha256(assertion.client_data).digest())
    return origin


def _check_client_data(raw: bytes, expected: bytes) -> str:
    if len(raw) > _MAX_CLIENT_DATA:
        raise MalformedAssertion(f"client_data_json: at most {_MAX_CLIENT_DATA} bytes, found {len(raw)}")
    try:
        told = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise MalformedAssertion("client_data_json: not JSON with each name once") from error
    if not isinstance(told, dict):
        raise MalformedAssertion("client_data_json: an object is needed")
    if told.get("type") != "webauthn.get":
        raise WrongCeremony(f"client_data_json.type: webauthn.get is needed, found {told.get('type')!r}")
    if told.get("challenge") != base64.urlsafe_b64encode(expected).decode().rstrip("="):
        raise ChallengeMismatch("client_data_json.challenge: the passkey signed something else: sign this one")
    if told.get("crossOrigin", False) is not False or "topOrigin" in told:
        raise CrossOrigin("client_data_json: made inside another site's page")
    origin = told.get("origin")
    if not isinstance(origin, str) or not origin:
        raise MalformedAssertion("client_data_json.origin: a text is needed")
    return origin


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found
