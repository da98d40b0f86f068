"""The consent artefact, refusal and withdrawal: their bodies and what makes one well formed.

Bodies are plain JSON objects; `consent.signed` puts signatures on them. The enterprise signs with its own key,
the platform countersigns and so attests that the key is the enterprise's.
"""

from __future__ import annotations

import re
from typing import Any

from consent.purposes import Purpose
from consent.times import BadTime, parse

VERSION = 1
Body = dict[str, Any]
CATEGORIES = ("public_credit", "bank_loan")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LANGUAGES = ("zh", "en")


class MalformedDocument(ValueError):
    """A document lacks a field or carries one that is not of its form; the message names the field."""


def consent(
    *,
    consent_id: str,
    enterprise: str,
    recipient: str,
    provider: str,
    purpose: Purpose | str,
    valid_from: str,
    valid_until: str,
    notice_sha256: str,
    categories: tuple[str, ...] | list[str] = CATEGORIES,
    language: str = "zh",
) -> Body:
    """Body of a consent: `enterprise` lets `recipient` (a bank) use `provider`'s (the lab's) data for `purpose`."""
    body = {
        "type": "consent",
        "version": VERSION,
        "consent_id": consent_id,
        "enterprise": enterprise,
        "recipient": recipient,
        "provider": provider,
        "purpose": str(purpose),
        "categories": list(categories),
        "valid_from": valid_from,
        "valid_until": valid_until,
        "notice_sha256": notice_sha256,
        "language": language,
    }
    check_consent(body)
    return body


def refusal(**fields: Any) -> Body:
    """Body of a refusal: the same fields as a consent; it grants nothing and is kept so that nobody asks again."""
    body = {**consent(**fields), "type": "refusal"}
    check_refusal(body)
    return body


def withdrawal(*, consent_id: str, enterprise: str, at: str) -> Body:
    body = {
        "type": "withdrawal",
        "version": VERSION,
        "consent_id": consent_id,
        "enterprise": enterprise,
        "at": at,
    }
    check_withdrawal(body)
    return body


_CONSENT_FIELDS = frozenset(
    [
        "type",
        "version",
        "consent_id",
        "enterprise",
        "recipient",
        "provider",
        "purpose",
        "categories",
        "valid_from",
        "valid_until",
        "notice_sha256",
        "language",
    ]
)
_WITHDRAWAL_FIELDS = frozenset(["type", "version", "consent_id", "enterprise", "at"])


def _fields(body: Any, kind: str, expected: frozenset[str]) -> Body:
    if not isinstance(body, dict):
        raise MalformedDocument(f"{kind}: an object is needed")
    if missing := sorted(expected - body.keys()):
        raise MalformedDocument(f"{kind}: field {missing[0]} is missing")
    if extra := sorted(body.keys() - expected):
        raise MalformedDocument(f"{kind}: field {extra[0]} is not known")
    if body["type"] != kind:
        raise MalformedDocument(f"type: {kind} expected, found {body['type']!r}")
    if body["version"] != VERSION:
        raise MalformedDocument(f"version: {VERSION} expected, found {body['version']!r}")
    return body


def _text(body: Body, *names: str) -> None:
    for name in names:
        if not isinstance(body[name], str) or not _TEXT.fullmatch(body[name]):
            raise MalformedDocument(f"{name}: 1 to 128 printable characters are needed")


def _check_grant(body: Any, kind: str) -> None:
    body = _fields(body, kind, _CONSENT_FIELDS)
    _text(body, "consent_id", "enterprise", "recipient", "provider")
    if body["purpose"] not in set(Purpose):
        raise MalformedDocument(f"purpose: one of {', '.join(Purpose)} is needed, found {body['purpose']!r}")
    categories = body["categories"]
    if not isinstance(categories, list) or not categories or not set(categories) <= set(CATEGORIES):
        raise MalformedDocument(f"categories: a list out of {', '.join(CATEGORIES)} is needed")
    try:
        if parse(body["valid_from"]) >= parse(body["valid_until"]):
            raise MalformedDocument("valid_until: must be after valid_from")
    except BadTime as error:
        raise MalformedDocument(f"valid_from / valid_until: {error}") from error
    if not isinstance(body["notice_sha256"], str) or not _SHA256.fullmatch(body["notice_sha256"]):
        raise MalformedDocument("notice_sha256: 64 hex digits are needed")
    if body["language"] not in _LANGUAGES:
        raise MalformedDocument("language: zh or en is needed")


def check_consent(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed consent."""
    _check_grant(body, "consent")


def check_refusal(body: Any) -> None:
    _check_grant(body, "refusal")


def check_withdrawal(body: Any) -> None:
    body = _fields(body, "withdrawal", _WITHDRAWAL_FIELDS)
    _text(body, "consent_id", "enterprise")
    try:
        parse(body["at"])
    except BadTime as error:
        raise MalformedDocument(f"at: {error}") from error


CHECKS = {"consent": check_consent, "refusal": check_refusal, "withdrawal": check_withdrawal}


def check(body: Any) -> str:
    """The kind of a well-formed body; raises MalformedDocument."""
    kind = body.get("type") if isinstance(body, dict) else None
    if not isinstance(kind, str) or kind not in CHECKS:
        raise MalformedDocument(f"type: one of {', '.join(CHECKS)} is needed, found {kind!r}")
    CHECKS[kind](body)
    return kind
