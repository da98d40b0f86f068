"""Signed documents: a body, and signatures that each cover the body and every signature before them.

Owns the bytes that are signed: they carry the document's type and the signer's role, so that a signature made for one
kind of document can never stand under another. It never decides whose key is to be trusted (`consent.keyring`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from typing import Any

import rfc8785

from consent import evidence, passkey
from consent.canonical import canonical
from consent.keys import BadSignature, SigningKey, VerifyingKey, decode_base64
from consent.passkey import Assertion, PasskeyKey
from consent.suites import suite
from consent.suites.errors import SuiteNotAllowed

Document = dict[str, Any]
PublicKey = VerifyingKey | PasskeyKey
_FIELDS = frozenset({"role", "suite", "key_id", "public_key", "signature"})


class NotCanonical(BadSignature):
    """Bytes that are not the one canonical form of a JSON value."""

    code = "not_canonical"
    text_zh = "不是规范化 JSON（RFC 8785）"


def _payload(body: Document, earlier: list[Document], role: str) -> bytes:
    prefix = f"creditlab/{body.get('type', '')}/{role}/1\n".encode()
    return prefix + canonical({"body": body, "signatures": earlier})


def sign(body: Document, key: SigningKey, role: str) -> Document:
    """A document with one signature. `body["type"]` names its kind."""
    return countersign({"body": body, "signatures": []}, key, role)


def countersign(document: Document, key: SigningKey, role: str) -> Document:
    """The same document with one more signature, over the body and the earlier signatures."""
    earlier = document["signatures"]
    signature = {
        "role": role,
        "suite": key.suite,
        "key_id": key.public.key_id,
        "public_key": key.public.b64,
        "signature": base64.b64encode(key.sign(_payload(document["body"], earlier, role))).decode(),
    }
    return {"body": document["body"], "signatures": [*earlier, signature]}


def passkey_challenge(body: Document) -> bytes:
    """What a passkey signs for `body`: the SHA-256 of the payload that an enterprise's Ed25519 key would sign.

    A person's own document is signed in the role `person`, so that neither can be passed off as the other.
    """
    return passkey.challenge(_payload(body, [], evidence.party_of(body)))


def sign_with_passkey(body: Document, key: PasskeyKey, assertion: Assertion) -> Document:
    """A document with the party's assertion as its one signature, verified. Raises BadSignature by name."""
    role = evidence.party_of(body)
    document = {"body": body, "signatures": [passkey.signature_object(key, assertion, role)]}
    verify(document, role)
    return document


def signer(document: Document, role: str) -> VerifyingKey:
    """The public key named in the signature of that role; says nothing about its validity. Raises BadSignature.

    Who stands for an enterprise may have a passkey or no key: `enterprise_key` and `signatory` tell.
    """
    _, signature = _find(document, role)
    named = signature.get("public_key")
    if not isinstance(named, str):
        raise BadSignature(f"the signature of role {role} names no key")
    return VerifyingKey.from_b64(named)


def enterprise_key(document: Document) -> PublicKey | None:
    """The public key of the enterprise, or of the person in a person's own document, as the signature names it.

    None where the platform stood for them as registrar.
    """
    role = evidence.role_of(document["body"])
    return None if role == evidence.REGISTRAR else _public(_find(document, role)[1])


def signatory(document: Document) -> bytes:
    """Who stands for the enterprise (or the person): the raw public key, or `evidence.NO_KEY`."""
    key = enterprise_key(document)
    return evidence.NO_KEY if key is None else key.raw


def _public(signature: Document, name: str | None = None) -> PublicKey:
    if signature["suite"] == passkey.SUITE:
        return PasskeyKey.from_b64(signature["public_key"])
    return VerifyingKey.from_b64(signature["public_key"], name)


def _acting(document: Document, role: str) -> str:
    """The role whose signature gives `role`'s word: an enterprise's or a person's may be the registrar's."""
    body = document.get("body")
    return evidence.role_of(body) if role in evidence.PARTIES and isinstance(body, dict) else role


def _find(document: Document, role: str) -> tuple[int, Document]:
    try:
        found = [(i, s) for i, s in enumerate(document["signatures"]) if s["role"] == role]
    except (KeyError, TypeError) as error:
        raise BadSignature("not a signed document: body and signatures are needed") from error
    if len(found) != 1:
        raise BadSignature(f"expected one signature of role {role}, found {len(found)}")
    return found[0]


def verify(
    document: Document, role: str, key: PublicKey | None = None, allowed: Collection[str] | None = None
) -> Document:
    """The body, once the signature of `role` verifies. Raises BadSignature.

    With `key`, the signature must be that key's; without, the key named in the signature is used and the caller
    decides what it is worth (an enterprise's key is attested by the platform's countersignature over it). With
    `allowed`, a suite that is not among those ids is refused (SuiteNotAllowed), however valid the signature.

    The role `enterprise`, or `person` for a person's own documents, is proved as the body's evidence says: by a key of
    a suite, by a passkey made for the site whose hash the evidence refers to, or by the platform as registrar, with the
    very key that it countersigns with.
    Signed in another way than stated it is refused (EvidenceMismatch).
    A body that JSON cannot carry raises rfc8785.CanonicalizationError or UnicodeEncodeError.
    """
    acting = _acting(document, role)
    position, signature = _find(document, acting)
    by_passkey = signature.get("suite") == passkey.SUITE
    fields = _FIELDS | passkey.FIELDS if by_passkey else _FIELDS
    if document.keys() != {"body", "signatures"} or signature.keys() != fields:
        raise BadSignature(f"the document or its signature of role {acting} has a field too many or too few")
    if not all(isinstance(value, str) for value in signature.values()):
        raise BadSignature(f"the signature of role {acting} is malformed")
    name = passkey.SUITE if by_passkey else suite(signature["suite"]).id
    if allowed is not None and name not in allowed:
        accepted = ", ".join(sorted(allowed))
        raise SuiteNotAllowed(
            f"the signature of role {acting} is of suite {name}, accepted here: {accepted}",
            f"{acting} 的签名属于套件 {name}，此处只接受 {accepted}",
        )
    named = _public(signature, name)
    if signature["key_id"] != named.key_id:
        raise BadSignature(f"the signature of role {acting} names a key id that is not its key's")
    if key is not None and key != named:
        raise BadSignature(
            f"signed by key {named.key_id}, expected {key.key_id}", f"签名密钥 {named.key_id} 并非预期密钥"
        )
    body = document["body"]
    if not isinstance(body, dict):
        raise BadSignature("the body is not an object")
    if role in evidence.PARTIES:
        evidence.check(body, role, name)
    payload = _payload(body, document["signatures"][:position], acting)
    if isinstance(named, PasskeyKey):
        _verify_passkey(body, signature, named, payload, role)
        return body
    named.verify(decode_base64(signature["signature"], f"the signature of role {acting}"), payload)
    if role != acting:
        _check_registrar(document, position, named)
    return body


def _verify_passkey(body: Document, signature: Document, key: PasskeyKey, payload: bytes, role: str) -> None:
    if role not in evidence.PARTIES:
        raise evidence.EvidenceMismatch(
            f"a passkey signs as the enterprise or the person only, found role {role}",
            f"通行密钥只能以企业或个人身份签署，实为 {role}",
        )
    site = body["evidence"].get("reference")
    passkey.check(Assertion.from_signature(signature), key, passkey.challenge(payload), site)


def _check_registrar(document: Document, position: int, registrar: PublicKey) -> None:
    """Only the platform stands for an enterprise: its countersignature follows, by the same key."""
    after, _ = _find(document, "platform")
    if after < position or signer(document, "platform") != registrar:
        raise evidence.EvidenceMismatch(
            "the registrar's signature is not by the key of the platform's countersignature",
            "登记员签名与平台副署的密钥不一致",
        )


def read_canonical(raw: bytes) -> Any:
    """The JSON value of `raw`, only where `raw` is its canonical bytes (RFC 8785). Raises NotCanonical.

    So no value has two spellings, no key stands twice, and no byte is without meaning.
    """
    try:
        value = json.loads(raw)
        same = canonical(value) == raw
    except (ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise NotCanonical("not JSON in canonical form (RFC 8785)") from error
    if not same:
        raise NotCanonical("not JSON in canonical form (RFC 8785)")
    return value
