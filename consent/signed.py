"""Signed documents: a body, and signatures that each cover the body and every signature before them.

The bytes signed carry the document's type, so that a signature made for one kind of document can never stand
under another.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from consent.canonical import canonical
from consent.keys import SUITE, BadSignature, SigningKey, VerifyingKey

Document = dict[str, Any]


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
        "suite": SUITE,
        "key_id": key.public.key_id,
        "public_key": key.public.b64,
        "signature": base64.b64encode(key.sign(_payload(document["body"], earlier, role))).decode(),
    }
    return {"body": document["body"], "signatures": [*earlier, signature]}


def signer(document: Document, role: str) -> VerifyingKey:
    """The public key named in the signature of that role; says nothing about its validity."""
    _, signature = _find(document, role)
    return VerifyingKey.from_b64(signature["public_key"])


def _find(document: Document, role: str) -> tuple[int, Document]:
    try:
        found = [(i, s) for i, s in enumerate(document["signatures"]) if s["role"] == role]
    except (KeyError, TypeError) as error:
        raise BadSignature("not a signed document: body and signatures are needed") from error
    if len(found) != 1:
        raise BadSignature(f"expected one signature of role {role}, found {len(found)}")
    return found[0]


def verify(document: Document, role: str, key: VerifyingKey | None = None) -> Document:
    """The body, once the signature of `role` verifies. Raises BadSignature.

    With `key`, the signature must be that key's; without, the key named in the signature is used and the caller
    decides what it is worth (an enterprise's key is attested by the platform's countersignature over it).
    """
    position, signature = _find(document, role)
    try:
        named = VerifyingKey.from_b64(signature["public_key"])
        raw = base64.b64decode(signature["signature"], validate=True)
        suite, key_id, body = signature["suite"], signature["key_id"], document["body"]
    except (KeyError, TypeError, binascii.Error, ValueError) as error:
        raise BadSignature(f"the signature of role {role} is malformed") from error
    if suite != SUITE or key_id != named.key_id:
        raise BadSignature(f"the signature of role {role} names suite {suite!r} or a key id that is not its key's")
    if key is not None and key != named:
        raise BadSignature(f"signed by key {named.key_id}, expected {key.key_id}")
    if not isinstance(body, dict):
        raise BadSignature("the body is not an object")
    named.verify(raw, _payload(body, document["signatures"][:position], role))
    return body
