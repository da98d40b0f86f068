"""An enterprise asks the nodes how its data were used: the document it signs, and who may ask it.

What jobs used of whom is on record at the nodes alone, for the control plane must never learn a job's cohort. So a node
answers only the enterprise itself, by a signature that nobody else can make. Owns the document and that rule.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from consent.errors import MalformedDocument
from consent.evidence import ENTERPRISE, KINDS, NO_KEY, SESSION_CODE, NotTheEnterprise, kind_of
from consent.policy import Denied
from consent.signed import Document, signatory, verify
from consent.times import BadTime, parse

TYPE = "usage_question"
VERSION = 1
LIFE = timedelta(minutes=10)  # clocks of two organisations, and a person's time to press a key
Body = dict[str, Any]
_FIELDS = frozenset({"type", "version", "question_id", "enterprise", "at", "evidence"})
_ID = re.compile(r"q-[0-9a-f]{16}")


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

    The platform's word is not enough: it could ask in everybody's name, and so read out cohorts. So an enterprise
    without a key of its own (session and one-time code) is not answered this way. Raises MalformedDocument,
    BadSignature, NotTheEnterprise, or Denied for an old question.
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
    if abs(parse(at) - parse(document["body"]["at"])) > LIFE:
        raise Denied("expired", f"asked at {document['body']['at']}, now {at}: ask again", "询问已过期：请重新提出")
    checked: Body = document["body"]
    return checked
