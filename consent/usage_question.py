"""An enterprise asks the nodes how its data were used: the document it signs, and who may ask it.

What jobs used of whom is on record at the nodes alone, for the control plane must never learn a job's cohort. So a node
answers the enterprise itself, by a signature that nobody else can make. For an enterprise that never had a key the
platform may vouch, in questions that its ledger holds. Owns the document and these rules; how often the platform may
vouch is the node's to say.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from typing import Any

import rfc8785

from consent.canonical import canonical
from consent.errors import MalformedDocument
from consent.evidence import ENTERPRISE, KINDS, NO_KEY, SESSION_CODE, NotTheEnterprise, kind_of
from consent.keys import VerifyingKey
from consent.ledger import HeadKeys, Kind, check_fresh, records
from consent.ledger.errors import MalformedProof, ProofRefused
from consent.policy import Denied
from consent.signed import Document, signatory, verify
from consent.times import BadTime, parse

TYPE = "usage_question"
VERSION = 1
LIFE = timedelta(minutes=10)  # clocks of two organisations, and a person's time to press a key
Body = dict[str, Any]
_FIELDS = frozenset({"type", "version", "question_id", "enterprise", "at", "evidence"})
_ID = re.compile(r"q-[0-9a-f]{16}")


class QuestionNotEntered(ProofRefused):
    """What the platform vouches for is not proved to stand in its ledger."""

    code = "question_not_entered"


class OwnKeyNeeded(NotTheEnterprise):
    """The platform vouches for an enterprise that has signed with a key of its own."""

    code = "own_key_needed"


def question(*, question_id: str, enterprise: str, at: str, evidence: dict[str, str]) -> Body:
    """The body to be signed by the enterprise. Raises MalformedDocument."""
    body = {
        "type": TYPE,
        "version": VERSION,
        "question_id": question_id,
        "enterprise": enterprise,
        "at": at,
        "evidence": evidence,
    }
    check(body)
    return body


def check(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed question."""
    if not isinstance(body, dict) or body.keys() != _FIELDS or body["type"] != TYPE or body["version"] != VERSION:
        fields = ", ".join(sorted(_FIELDS))
        raise MalformedDocument(f"a {TYPE} of version {VERSION} with exactly {fields} is needed")
    if not isinstance(body["question_id"], str) or not _ID.fullmatch(body["question_id"]):
        raise MalformedDocument("question_id: q- and 16 hex digits are needed", "question_id：须为 q- 加 16 位十六进制")
    if not isinstance(body["enterprise"], str) or not body["enterprise"]:
        raise MalformedDocument("enterprise: a text is needed", "enterprise：须填写企业")
    evidence = body["evidence"]
    if not isinstance(evidence, dict) or evidence.keys() != {"kind", "reference"} or kind_of(body) not in KINDS:
        raise MalformedDocument(f"evidence: kind (one of {', '.join(KINDS)}) and reference are needed")
    try:
        parse(body["at"])
    except BadTime as error:
        raise MalformedDocument(f"at: {error}", "at：格式须如 2026-01-31T08:00:00Z") from error


def check_asked(document: Document, keys: Collection[bytes], at: str) -> Body:
    """The body, once the enterprise itself asks: by one of `keys`, those that have signed a consent of its.

    The platform's word is not enough here: `check_word` and `check_entered` say what it takes besides. Raises
    MalformedDocument, BadSignature, NotTheEnterprise, or Denied for an old question.
    """
    body = document.get("body")
    check(body)
    verify(document, ENTERPRISE)
    asks = signatory(document)
    if kind_of(document["body"]) == SESSION_CODE or asks == NO_KEY or asks not in keys:
        raise NotTheEnterprise(
            "how data were used is told to a key that has signed a consent of this enterprise, and to nobody else",
            "数据使用情况只告知签署过该企业授权的密钥",
        )
    _check_age(document["body"], at)
    checked: Body = document["body"]
    return checked


# ---- by the platform's word


def is_word(document: Document) -> bool:
    """Whether the platform vouches in this question for who asks: a verified session and a one-time code."""
    body = document.get("body")
    return isinstance(body, dict) and kind_of(body) == SESSION_CODE


def check_word(document: Document, platform: VerifyingKey) -> Body:
    """The body of a question that the platform itself vouches for, as registrar, with a countersignature.

    It says whose word it is and nothing of whether it is answered. Raises MalformedDocument, BadSignature, or
    NotTheEnterprise for a question by a key.
    """
    check(document.get("body"))
    if not is_word(document):
        raise NotTheEnterprise("the platform vouches only for a session and a code", "平台仅可为会话加验证码作证")
    verify(document, ENTERPRISE, platform)
    verify(document, "platform", platform)
    checked: Body = document["body"]
    return checked


def check_entered(
    document: Document,
    record: Any,
    keys: Collection[bytes],
    heads: HeadKeys,
    at: str,
    log_id: str | None = None,
) -> int:
    """The entry's number in the platform's ledger, once a question that passed `check_word` may be answered.

    Every word of the enterprise on record (`keys`, `ConsentBook.keys_of`) came by session and code, so that this word
    of the platform opens no more than the platform's word opened before. The question is fresh. `record` proves that
    the ledger (`log_id`, where it is known) held this very document before, under a head as fresh.
    Raises NotTheEnterprise, OwnKeyNeeded, Denied for an old question, QuestionNotEntered, or a LedgerError by name.
    """
    if not keys:
        raise NotTheEnterprise("this enterprise has said nothing on record here", "本节点没有该企业的授权记录")
    if set(keys) != {NO_KEY}:
        raise OwnKeyNeeded(
            "this enterprise has signed with a key of its own: it asks with that key, or at the node owner's counter",
            "该企业曾以自己的密钥签署授权：请用该密钥询问，或到节点所有方柜台查询",
        )
    _check_age(document["body"], at)
    if record is None:
        raise _not_entered()
    try:
        raw = canonical(record)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise MalformedProof("the question's record is not JSON", "询问的日志凭据不是 JSON") from error
    found = records.load(raw)
    proven = records.check(found, heads, log_id=log_id)
    if proven.recorded.entry.kind != Kind.QUESTION or found["document"] != document:
        raise _not_entered()
    check_fresh(proven.head, at, int(LIFE.total_seconds()))
    return proven.recorded.sequence


def _not_entered() -> QuestionNotEntered:
    return QuestionNotEntered(
        "the platform did not prove that its ledger holds this question: it is not answered",
        "平台未能证明该询问已登记于账本：不予答复",
    )


def _check_age(body: Body, at: str) -> None:
    if abs(parse(at) - parse(body["at"])) > LIFE:
        raise Denied("expired", f"asked at {body['at']}, now {at}: ask again", "询问已过期：请重新提出")
