"""How it is proved that an enterprise or a person acted: which signature each kind of evidence calls for, who is next.

A passkey signs as the enterprise, or as the person in a person's own documents. A verified session with a one-time
code leaves no key of either: there the platform signs in the role `registrar`, and everything that shows the document
says so. Owns these rules; it verifies no signature (`consent.signed`) and knows nobody by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consent import passkey
from consent.lifecycle import PERSON_ACTIONS
from consent.suites.errors import BadSignature

ENTERPRISE = "enterprise"
PERSON = "person"
PARTIES = (ENTERPRISE, PERSON)
REGISTRAR = "registrar"
PASSKEY = "passkey"
SESSION_CODE = "session_code"
KINDS = (PASSKEY, SESSION_CODE, "paper", "import")

# what stands for the key of an enterprise that has none: the platform's keys change, its word is the same
NO_KEY = b""
# what takes permission away may come by any means that the platform attests; what gives it may not come by a weaker
_TAKING = frozenset({"pause", "withdraw"})
_RESUMES = {PASSKEY: (PASSKEY, SESSION_CODE), SESSION_CODE: (SESSION_CODE,)}


class EvidenceMismatch(BadSignature):
    """The document states one kind of evidence and is signed in another way."""

    code = "evidence_mismatch"
    text_zh = "文件所载证明方式与签名不符"


class NotThePerson(BadSignature):
    """A withdrawal of a person's consent by somebody else."""

    code = "not_the_person"
    text_zh = "并非由本人签署"


class NotTheEnterprise(BadSignature):
    """A change of a consent by somebody who may not make it."""

    code = "not_the_enterprise"
    text_zh = "并非由授权企业签署"


def kind_of(body: Mapping[str, Any]) -> str | None:
    """The kind of evidence that a body states; None for a body without any."""
    evidence = body.get("evidence")
    kind = evidence.get("kind") if isinstance(evidence, dict) else None
    return kind if isinstance(kind, str) else None


def party_of(body: Mapping[str, Any]) -> str:
    """Whose word `body` is when it is not the platform's: the person's for a person's own documents."""
    kind = body.get("type")
    return PERSON if isinstance(kind, str) and kind in PERSON_ACTIONS else ENTERPRISE


def role_of(body: Mapping[str, Any]) -> str:
    """The role whose signature stands for the enterprise or the person under `body`."""
    return REGISTRAR if kind_of(body) == SESSION_CODE else party_of(body)


def check(body: Mapping[str, Any], role: str, suite: str) -> None:
    """Raises EvidenceMismatch unless a signature of `suite`, standing for `role`, fits whose word it is and how proved.

    A passkey goes with `passkey` and nothing else does, so that neither can be passed off as the other.
    """
    if role != (party := party_of(body)):
        raise EvidenceMismatch(
            f"a {body.get('type')} is the {party}'s word, not the {role}'s", "签署身份与文件种类不符"
        )
    kind = kind_of(body)
    if (kind == PASSKEY) != (suite == passkey.SUITE):
        raise EvidenceMismatch(
            f"evidence.kind: {kind} is stated, the signature is of suite {suite}",
            f"evidence.kind：标明 {kind}，签名却属于套件 {suite}",
        )


def check_follows(first: bytes, now: bytes, action: str, consent_id: str) -> None:
    """Raises NotTheEnterprise unless the signatory `now` may do `action` to what `first` signed.

    Both are `consent.signed.signatory`. The same key may do all. An enterprise has several passkeys, and may lose one:
    any that the platform attests may pause and withdraw, and may resume what a passkey or a session code gave. A
    session code may resume only what a session code gave. Another key of another suite may do nothing.
    """
    before, after = _kind(first), _kind(now)
    if first == now or (after in _RESUMES and (action in _TAKING or before in _RESUMES[after])):
        return
    raise NotTheEnterprise(
        f"the {action} of {consent_id} is not signed by its enterprise",
        f"授权 {consent_id} 的变更并非由授权企业签署",
    )


def _kind(signatory: bytes) -> str:
    if signatory == NO_KEY:
        return SESSION_CODE
    return PASSKEY if len(signatory) == passkey.PUBLIC_BYTES else "key"
