"""Receipts: what the platform hands out for every step of a consent, checkable offline by anybody who has its keyring.

Owns the form of a receipt, a JWS (RFC 7515, flattened JSON) that carries the signed document itself. It never asks a
server, and never says more than it checked: `verify` raises by name, and its view tells what stands behind each part.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from rfc8785 import CanonicalizationError

from consent import artefact
from consent.canonical import canonical
from consent.evidence import ENTERPRISE, PARTIES, PERSON, REGISTRAR, NotTheEnterprise, check_follows, kind_of, role_of
from consent.keyring import Keyring, UnknownKey
from consent.keys import BadSignature, SigningKey, VerifyingKey
from consent.ledger.entries import matches
from consent.ledger.heads import NOBODY
from consent.ledger.proofs import Proven, check_inclusion
from consent.signed import Document, NotCanonical, enterprise_key, read_canonical, signatory
from consent.signed import verify as verify_signature
from consent.suites import SUITES, suite
from consent.suites.errors import SuiteMismatch, SuiteNotAllowed
from consent.times import BadTime, parse, stamp

TYP: Final = "creditlab-receipt+jws"
VERSION: Final = 1
STEPS: Final[Mapping[str, str]] = {
    "request": "request",
    "consent": "grant",
    "refusal": "refuse",
    "person_consent": "person_grant",
    "person_refusal": "person_refuse",
    "person_withdrawal": "person_withdraw",
    "person_expiry": "person_expire",
}
# what changes another document carries that one besides: type → the types that it may change
CHANGES: Final[Mapping[str, tuple[str, ...]]] = {
    "transition": ("request", "consent"),
    "person_withdrawal": ("person_consent",),
    "person_expiry": ("person_consent",),
}
_JWS = frozenset({"payload", "protected", "signature"})
_HEADER = frozenset({"alg", "kid", "typ"})
_PAYLOAD = frozenset(
    {
        "version", "receipt_id", "platform", "transition", "consent_id", "enterprise", "recipient", "purpose",
        "recorded_at", "issued_at", "hash", "document_hash", "document", "consent", "ledger",
    }
)  # fmt: skip
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEX64 = re.compile(r"[0-9a-f]{64}")


class ReceiptRefused(BadSignature):
    """A receipt that proves nothing. Each reason is a subclass."""

    code = "receipt_refused"
    text_zh = "回执无效"


class MalformedReceipt(ReceiptRefused):
    """Bytes that are not a receipt in its one form."""

    code = "receipt_malformed"
    text_zh = "回执格式不符"


class UnknownVersion(ReceiptRefused):
    """A receipt of a version that this program does not know."""

    code = "receipt_version_unknown"


class WrongKey(ReceiptRefused):
    """Signed, or said to be signed, by a key that is not on the platform's keyring."""

    code = "receipt_wrong_key"
    text_zh = "回执的签名密钥不在平台密钥环上"


class TamperedReceipt(ReceiptRefused):
    """The signature does not fit what the receipt says."""

    code = "receipt_tampered"
    text_zh = "回执被改动：签名与内容不符"


class InconsistentReceipt(ReceiptRefused):
    """Truly signed by the platform, but it does not fit the document that it carries."""

    code = "receipt_inconsistent"
    text_zh = "回执与所附文件不一致"


class ProofMismatch(ReceiptRefused):
    """A proof that is good, but of another entry than the receipt's."""

    code = "receipt_proof_mismatch"
    text_zh = "账本证明不属于该回执"


@dataclass(frozen=True, slots=True)
class LedgerPosition:
    """Where the document stands in the ledger. `leaf_hash` and `salt` are 64 hex digits, made with `hash`."""

    log_id: str
    index: int
    leaf_hash: str
    salt: str
    hash: str


@dataclass(frozen=True, slots=True)
class ReceiptView:
    """What a verified receipt says. `proven` is there when an inclusion proof was checked with it.

    `party` is whose word the document is: `enterprise`, `person` or `platform`. `evidence` is the kind that it states;
    under `session_code` the platform stood for the party, so that neither has a key id, as for what the platform signs
    of its own.
    """

    receipt_id: str
    platform: str
    key_id: str
    suite: str
    transition: str
    consent_id: str
    enterprise: str
    recipient: str
    purpose: str
    recorded_at: str
    issued_at: str
    hash: str
    document_hash: str
    document: Document
    party: str
    enterprise_key_id: str | None
    person_key_id: str | None
    evidence: str | None
    ledger: LedgerPosition | None
    proven: Proven | None


def issue(
    document: Document,
    key: SigningKey,
    *,
    receipt_id: str,
    platform: str,
    recorded_at: str,
    issued_at: str,
    consent: tuple[Document, str] | None = None,
    ledger: LedgerPosition | None = None,
) -> bytes:
    """The receipt for a signed `document` (request, consent, refusal or transition), as canonical JSON.

    `recorded_at` is when the platform took the document in and countersigned it, `issued_at` when this receipt is
    made: later, when it is made anew. A transition needs `consent`: the signed document it changes and when that was
    recorded. Raises MalformedReceipt or InconsistentReceipt, so a receipt that nobody could verify is never made.
    """
    about = consent[0] if consent else document
    try:
        payload = {
            "version": VERSION,
            "receipt_id": receipt_id,
            "platform": platform,
            "transition": _step(document["body"]),
            "consent_id": document["body"]["consent_id"],
            "enterprise": about["body"]["enterprise"],
            "recipient": about["body"]["recipient"],
            "purpose": about["body"]["purpose"],
            "recorded_at": recorded_at,
            "issued_at": issued_at,
            "hash": suite(key.suite).hash_name,
            "document_hash": suite(key.suite).digest(canonical(document)).hex(),
            "document": document,
            "consent": {"document": consent[0], "recorded_at": consent[1]} if consent else None,
            "ledger": asdict(ledger) if ledger else None,
        }
    except (KeyError, TypeError) as error:
        raise MalformedReceipt(f"document: {error} is missing; a transition needs the consent it changes") from error
    _check_payload(payload, key.suite)
    header = {"alg": suite(key.suite).jws_alg, "kid": key.public.key_id, "typ": TYP}
    protected, content = _b64u(canonical(header)), _b64u(canonical(payload))
    signature = _b64u(key.sign(f"{protected}.{content}".encode()))
    return canonical({"payload": content, "protected": protected, "signature": signature})


def verify(
    raw: bytes,
    keyring: Keyring,
    *,
    proof: Document | None = None,
    witnesses: Mapping[str, VerifyingKey] = NOBODY,
    quorum: int = 0,
    witnessed: bool = False,
    allowed: Collection[str] | None = None,
) -> ReceiptView:
    """What the receipt says, once everything it carries holds together.

    Checked: its one form; the platform's signature, by a key valid at `issued_at`; that the document is the one named;
    every signature on it, the enterprise's own among them; and with `proof` (`consent.ledger.proofs`) that the ledger
    holds it where the receipt says. `witnessed` is explained at `PlatformKey.check`: pass it only for a receipt whose
    date is known from elsewhere. `allowed` bounds the suites of every signature. Raises a ReceiptRefused by name,
    KeyNotValid, SuiteMismatch, SuiteNotAllowed, or a LedgerError of the proof.
    """
    key, payload = _open(raw, keyring, allowed)
    _check_payload(payload, key.suite)
    keyring.check(key, payload["issued_at"], witnessed=witnessed)
    _check_signatures(payload["document"], payload["recorded_at"], keyring, allowed)
    if payload["consent"] is not None:
        _check_signatures(payload["consent"]["document"], payload["consent"]["recorded_at"], keyring, allowed)
        _check_same_enterprise(payload["document"], payload["consent"]["document"])
    ledger = None if payload["ledger"] is None else LedgerPosition(**payload["ledger"])
    proven = None
    if proof is not None:
        proven = _check_proof(proof, ledger, payload["document"], keyring, witnesses, quorum)
    body = payload["document"]["body"]
    party = artefact.signer_of(body)
    named = enterprise_key(payload["document"]) if party in PARTIES else None
    return ReceiptView(
        receipt_id=payload["receipt_id"],
        platform=payload["platform"],
        key_id=key.key_id,
        suite=key.suite,
        transition=payload["transition"],
        consent_id=payload["consent_id"],
        enterprise=payload["enterprise"],
        recipient=payload["recipient"],
        purpose=payload["purpose"],
        recorded_at=payload["recorded_at"],
        issued_at=payload["issued_at"],
        hash=payload["hash"],
        document_hash=payload["document_hash"],
        document=payload["document"],
        party=party,
        enterprise_key_id=None if named is None or party != ENTERPRISE else named.key_id,
        person_key_id=None if named is None or party != PERSON else named.key_id,
        evidence=kind_of(body),
        ledger=ledger,
        proven=proven,
    )


def _open(raw: bytes, keyring: Keyring, allowed: Collection[str] | None) -> tuple[VerifyingKey, Any]:
    """The signer and the payload; nothing of the payload is looked at before the signature is right."""
    try:
        jws = read_canonical(raw)
        if not isinstance(jws, dict) or jws.keys() != _JWS:
            raise MalformedReceipt("a receipt has exactly payload, protected and signature")
        header = read_canonical(_bytes(jws, "protected"))
        content, signature = _bytes(jws, "payload"), _bytes(jws, "signature")
    except NotCanonical as error:
        raise MalformedReceipt(f"the receipt is {error}", "回执不是规范化 JSON（RFC 8785）") from error
    if not isinstance(header, dict) or header.keys() != _HEADER or not isinstance(header["kid"], str):
        raise MalformedReceipt("the header has exactly alg, kid and typ", "回执头须恰含 alg、kid 与 typ")
    if header["typ"] != TYP:
        raise MalformedReceipt(f"typ: {TYP} is needed, found {header['typ']!r}", f"typ：须为 {TYP}")
    try:
        key = keyring.key(header["kid"]).public
    except UnknownKey as error:
        raise WrongKey(str(error), error.message_zh) from error
    if header["alg"] != SUITES[key.suite].jws_alg:
        raise SuiteMismatch(
            f"alg: {SUITES[key.suite].jws_alg} is what key {key.key_id} signs with, found {header['alg']!r}",
            f"alg：密钥 {key.key_id} 的算法为 {SUITES[key.suite].jws_alg}，实为 {header['alg']!r}",
        )
    _allow(key.suite, allowed)
    try:
        key.verify(signature, f"{jws['protected']}.{jws['payload']}".encode())
    except BadSignature as error:
        raise TamperedReceipt(f"the receipt was changed, or key {key.key_id} did not sign it") from error
    try:
        return key, read_canonical(content)
    except NotCanonical as error:
        raise MalformedReceipt(f"the receipt's payload is {error}") from error


def _allow(name: str, allowed: Collection[str] | None) -> None:
    if allowed is not None and name not in allowed:
        accepted = ", ".join(sorted(allowed))
        raise SuiteNotAllowed(
            f"the receipt is signed with suite {name}, accepted here: {accepted}",
            f"回执以套件 {name} 签署，此处只接受 {accepted}",
        )


def _check_payload(payload: Any, suite_id: str) -> None:
    """Raises unless the payload has its form and fits the document that it carries."""
    if not isinstance(payload, dict) or "version" not in payload:
        raise MalformedReceipt("the payload is an object with a version", "回执内容须为含 version 的对象")
    if type(payload["version"]) is not int or payload["version"] != VERSION:
        raise UnknownVersion(
            f"receipt version {payload['version']!r}: {VERSION} is known, use a newer program",
            f"回执版本 {payload['version']!r} 未知（已知 {VERSION}），请使用更新的程序",
        )
    if payload.keys() != _PAYLOAD:
        raise MalformedReceipt(f"the payload has exactly the fields {', '.join(sorted(_PAYLOAD))}")
    if not isinstance(payload["receipt_id"], str) or not _ID.fullmatch(payload["receipt_id"]):
        raise MalformedReceipt("receipt_id: 1 to 64 letters, digits and ._- are needed")
    for name in ("platform", "transition", "consent_id", "enterprise", "recipient", "purpose", "document_hash"):
        if not isinstance(payload[name], str) or not payload[name]:
            raise MalformedReceipt(f"{name}: a text is needed")
    recorded, issued = _time(payload, "recorded_at"), _time(payload, "issued_at")
    if recorded > issued:
        raise InconsistentReceipt(f"recorded_at {recorded} is after issued_at {issued}", "登记时间晚于回执时间")
    _check_document(payload, suite_id)
    _check_ledger(payload["ledger"])


def _check_document(payload: Document, suite_id: str) -> None:
    document, of_suite = payload["document"], suite(suite_id)
    if payload["hash"] != of_suite.hash_name:
        raise InconsistentReceipt(f"hash: {of_suite.hash_name} goes with suite {suite_id}, found {payload['hash']!r}")
    try:
        found = of_suite.digest(canonical(document)).hex()
    except (CanonicalizationError, ValueError, RecursionError) as error:
        raise MalformedReceipt(f"document: {error}") from error
    if found != payload["document_hash"]:
        raise InconsistentReceipt(f"document_hash: the document that is carried has {found}")
    body = _body(document, "document")
    step = _step(body)
    about = body
    if body["type"] in CHANGES:
        about = _body(_carried(payload["consent"], payload["recorded_at"]), "consent.document")
        if about.get("type") not in CHANGES[body["type"]] or about.get("consent_id") != body.get("consent_id"):
            raise InconsistentReceipt("consent: not the document that the transition changes")
    elif payload["consent"] is not None:
        raise MalformedReceipt("consent: only a transition or withdrawal carries the document it changes besides")
    said = {
        "transition": step,
        "consent_id": body.get("consent_id"),
        "enterprise": body.get("enterprise"),
        "recipient": about.get("recipient"),
        "purpose": about.get("purpose"),
    }
    for name in ("enterprise", "person"):
        if about.get(name) != body.get(name):
            raise InconsistentReceipt(f"{name}: the transition and the consent name two")
    for name, value in said.items():
        if payload[name] != value:
            raise InconsistentReceipt(f"{name}: the document says {value!r}, the receipt {payload[name]!r}")


def _carried(consent: Any, recorded_at: str) -> Any:
    if not isinstance(consent, dict) or consent.keys() != {"document", "recorded_at"}:
        raise MalformedReceipt("consent: an object of document and recorded_at is needed for a transition")
    if _time(consent, "recorded_at") > recorded_at:
        raise InconsistentReceipt("consent.recorded_at: after the transition that changes it")
    return consent["document"]


def _body(document: Any, field: str) -> Document:
    if (
        not isinstance(document, dict)
        or document.keys() != {"body", "signatures"}
        or not isinstance(document["body"], dict)
        or not isinstance(document["signatures"], list)
    ):
        raise MalformedReceipt(f"{field}: a signed document with body and signatures is needed")
    body: Document = document["body"]
    return body


def _step(body: Document) -> str:
    """The name of what the document does: request, grant, refuse, or the action of a transition."""
    kind = body.get("type")
    step = body.get("action") if kind == "transition" else STEPS.get(kind) if isinstance(kind, str) else None
    if not isinstance(step, str):
        raise MalformedReceipt(f"document.body.type: no receipt is given for {kind!r}")
    return step


def _check_ledger(position: Any) -> None:
    if position is None:
        return
    names = {each.name for each in fields(LedgerPosition)}
    if not isinstance(position, dict) or position.keys() != names:
        raise MalformedReceipt(f"ledger: exactly the fields {', '.join(sorted(names))} are needed")
    if type(position["index"]) is not int or position["index"] < 0:
        raise MalformedReceipt("ledger.index: a whole number from 0 is needed")
    for name in ("leaf_hash", "salt"):
        if not isinstance(position[name], str) or not _HEX64.fullmatch(position[name]):
            raise MalformedReceipt(f"ledger.{name}: 64 lower-case hex digits are needed")
    for name in ("log_id", "hash"):
        if not isinstance(position[name], str) or not position[name]:
            raise MalformedReceipt(f"ledger.{name}: a text is needed")


def _check_signatures(document: Document, at: str, keyring: Keyring, allowed: Collection[str] | None) -> None:
    """Every signature on the document: the platform's by its keyring, others by the key they name."""
    try:
        roles = [signature["role"] for signature in document["signatures"]]
        by = artefact.signer_of(document["body"])
        needed = {"platform", role_of(document["body"]) if by in PARTIES else by}
        if missing := sorted(needed - set(roles)):
            raise InconsistentReceipt(f"the document lacks the signature of the {missing[0]}")
        for role in roles:
            if role == "platform":
                # the receipt's own signature, by a valid key, vouches for the date
                keyring.verify(document, role, at, witnessed=True, allowed=allowed)
            elif role not in (*PARTIES, REGISTRAR):
                verify_signature(document, role, allowed=allowed)
        if by in PARTIES:
            verify_signature(document, by, allowed=allowed)
        if idle := sorted({*PARTIES, REGISTRAR}.intersection(roles) - needed):
            raise InconsistentReceipt(
                f"the document carries a signature of the {idle[0]} that its evidence has no use for"
            )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedReceipt(f"document: {error} is missing or malformed") from error
    except (ReceiptRefused, SuiteNotAllowed):
        raise
    except BadSignature as error:
        raise InconsistentReceipt(
            f"a signature on the document that is carried does not hold: {error.message}",
            f"所附文件的签名不成立：{error.message_zh}",
        ) from error


def _check_same_enterprise(transition: Document, consent: Document) -> None:
    # whose a person's withdrawal is, its pseudonym says, which the platform attests: any of the person's keys will do
    if artefact.signer_of(transition["body"]) != "enterprise" or artefact.signer_of(consent["body"]) != "enterprise":
        return
    body = transition["body"]
    try:
        check_follows(signatory(consent), signatory(transition), body["action"], body["consent_id"])
    except NotTheEnterprise as error:
        raise InconsistentReceipt(
            "the transition is signed by another key than the consent's enterprise", error.message_zh
        ) from error


def _check_proof(
    proof: Document,
    ledger: LedgerPosition | None,
    document: Document,
    keyring: Keyring,
    witnesses: Mapping[str, VerifyingKey],
    quorum: int,
) -> Proven:
    if ledger is None:
        raise ProofMismatch("the receipt names no ledger position: ask for one issued after the entry was written")
    proven = check_inclusion(proof, keyring, log_id=ledger.log_id, witnesses=witnesses, quorum=quorum)
    entry = proven.recorded
    if (entry.sequence, proven.leaf_hash.hex(), entry.entry.hash) != (ledger.index, ledger.leaf_hash, ledger.hash):
        raise ProofMismatch(
            f"the proof is of entry {entry.sequence}, the receipt's is entry {ledger.index} with another hash",
            f"证明属于第 {entry.sequence} 条记录，与回执所载第 {ledger.index} 条不符",
        )
    matches(entry.entry, document, bytes.fromhex(ledger.salt))
    return proven


def _time(payload: Mapping[str, Any], name: str) -> str:
    text = payload[name]
    try:
        if stamp(parse(text)) != text:
            raise BadTime(f"{text!r}: not in its one form")
    except BadTime as error:
        raise MalformedReceipt(f"{name}: {error}") from error
    return str(text)


def _b64u(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(jws: Mapping[str, Any], name: str) -> bytes:
    text = jws[name]
    try:
        if not isinstance(text, str):
            raise ValueError("not a text")
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedReceipt(f"{name}: base64url is needed") from error
    if _b64u(raw) != text:
        raise MalformedReceipt(f"{name}: base64url in its one form is needed")
    return raw
