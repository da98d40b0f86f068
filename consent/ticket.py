"""What the platform signs for the nodes: a job's ticket, a permit for one use of one enterprise, an order, a question.

A node does what such a document says and nothing else, and only after checking the signature against the
platform key it was given at admission, the form, and the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consent.artefact import MalformedDocument
from consent.canonical import digest
from consent.keys import SigningKey, VerifyingKey
from consent.policy import MODES, RECIPES, Denied
from consent.purposes import CATEGORIES, Mode, Purpose
from consent.signed import Document, sign, verify
from consent.times import BadTime, parse

VERSION = 1
Body = dict[str, Any]
PSI_PROTOCOLS = ("RR22", "ECDH")
SPU_PROTOCOLS = ("SEMI2K", "CHEETAH")  # REF2K computes in the clear: it is never a choice
SPU_FIELDS = ("FM128",)
HEU_SCHEMAS = ("ou", "zpaillier")
MIN_HEU_BITS = 2048
DEFAULT_PROTOCOL = {
    "psi": "RR22",
    "spu": "SEMI2K",
    "field": "FM128",
    "heu": {"schema": "ou", "key_size": 2048},
}
DEFAULT_EVALUATION = {"calibration_share": 0.15, "bootstrap": 400, "seed": 20240601}
DEFAULT_DEADLINES = {"connect": 30, "stall": 60, "phase": 900, "job": 1800}

_TICKET: Mapping[str, type] = {
    "job_id": str, "project": str, "purpose": str, "mode": str, "recipe": dict, "dataset": dict, "parties": dict,
    "evaluation": dict, "protocol": dict, "leaks": str, "outputs": list, "deadlines": dict,
    "issued_at": str, "expires_at": str,
}  # fmt: skip
_PERMIT: Mapping[str, type] = {
    "permit_id": str, "consent_id": str, "enterprise": str, "recipient": str, "purpose": str,
    "release_sha256": str, "parties": dict, "reason": str, "user": str, "issued_at": str, "expires_at": str,
}  # fmt: skip
_DATA_PERMIT: Mapping[str, type] = {
    "permit_id": str, "usage_id": str, "consent_id": str, "enterprise": str, "recipient": str, "provider": str,
    "node": str, "purpose": str, "use": str, "data": dict, "window_months": int, "form": str, "request_sha256": str,
    "reason": str, "user": str, "issued_at": str, "expires_at": str,
}  # fmt: skip
# how each use of data is answered; the one word of a verification has no form to choose
DATA_FORMS: Mapping[Mode, tuple[str, ...]] = {
    Mode.RAW_DETAIL: ("json",),
    Mode.VERIFICATION: ("word",),
    Mode.REPORT_QUERY: ("json", "pdf"),
}
_QUESTION: Mapping[str, type] = {
    "question_id": str, "consent_id": str, "enterprise": str, "issued_at": str, "expires_at": str,
}  # fmt: skip
_ORDER: Mapping[str, type] = {
    "release_id": str, "job_id": str, "sha256": str, "parties": dict, "author": str, "reviewers": list,
    "issued_at": str, "expires_at": str,
}  # fmt: skip


def _shape(body: Body, kind: str, fields: Mapping[str, type]) -> Body:
    if body.get("type") != kind or body.get("version") != VERSION:
        raise MalformedDocument(f"type/version: a {kind} of version {VERSION} is needed")
    for name, form in fields.items():
        if not isinstance(body.get(name), form):
            raise MalformedDocument(f"{name}: {form.__name__} is needed in a {kind}")
    if extra := sorted(body.keys() - fields.keys() - {"type", "version"}):
        raise MalformedDocument(f"{extra[0]}: not a field of a {kind}")
    try:
        if parse(body["issued_at"]) >= parse(body["expires_at"]):
            raise MalformedDocument("expires_at: must be after issued_at")
    except BadTime as error:
        raise MalformedDocument(f"issued_at / expires_at: {error}") from error
    return body


def _one_of(value: Any, choices: tuple[str, ...], name: str) -> None:
    if value not in choices:
        raise MalformedDocument(f"{name}: one of {', '.join(choices)} is needed, found {value!r}")


def _check_ticket_body(body: Body) -> Body:
    body = _shape(body, "ticket", _TICKET)
    _one_of(body["purpose"], (Purpose.JOINT_TRAINING,), "purpose")
    _one_of(body["mode"], MODES, "mode")
    _one_of(body["recipe"].get("name"), RECIPES, "recipe.name")
    protocol = body["protocol"]
    _one_of(protocol.get("psi"), PSI_PROTOCOLS, "protocol.psi")
    _one_of(protocol.get("spu"), SPU_PROTOCOLS, "protocol.spu")
    _one_of(protocol.get("field"), SPU_FIELDS, "protocol.field")
    heu = protocol.get("heu")
    if not isinstance(heu, dict):
        raise MalformedDocument("protocol.heu: an object with schema and key_size is needed")
    _one_of(heu.get("schema"), HEU_SCHEMAS, "protocol.heu.schema")
    if not isinstance(heu.get("key_size"), int) or heu["key_size"] < MIN_HEU_BITS:
        raise MalformedDocument(f"protocol.heu.key_size: at least {MIN_HEU_BITS} bits are needed")
    _one_of(body["leaks"], ("exclude", "keep"), "leaks")
    for party, names in (("bank", ("institution", "node")), ("lab", ("institution", "node", "relay"))):
        side = body["parties"].get(party)
        if not isinstance(side, dict) or not isinstance(side.get("columns"), list) or not side["columns"]:
            raise MalformedDocument(f"parties.{party}.columns: a list of columns is needed")
        for name in names:
            if not isinstance(side.get(name), str) or not side[name]:
                raise MalformedDocument(f"parties.{party}.{name}: a text is needed")
    for name in ("connect", "stall", "phase", "job"):
        if not isinstance(body["deadlines"].get(name), int | float) or body["deadlines"][name] <= 0:
            raise MalformedDocument(f"deadlines.{name}: seconds above 0 are needed")
    return body


def _check_data_body(body: Body) -> Body:
    body = _shape(body, "data_permit", _DATA_PERMIT)
    _one_of(body["purpose"], tuple(Purpose), "purpose")
    _one_of(body["use"], tuple(DATA_FORMS), "use")
    _one_of(body["form"], DATA_FORMS[Mode(body["use"])], "form")
    data = body["data"]
    if not data or (len(data) > 1 and body["use"] != Mode.REPORT_QUERY):
        raise MalformedDocument("data: one category is needed, or several of a report")
    for category, items in data.items():
        _one_of(category, tuple(CATEGORIES), "data")
        if items != "*" and not (isinstance(items, list) and items and all(isinstance(one, str) for one in items)):
            raise MalformedDocument(f"data.{category}: * or a list of items is needed")
    if isinstance(body["window_months"], bool) or body["window_months"] < 1:
        raise MalformedDocument("window_months: a number of months above 0 is needed")
    return body


def make_ticket(key: SigningKey, **fields: Any) -> Document:
    """A signed ticket. `fields` are those of the ticket's body; raises MalformedDocument."""
    return sign(_check_ticket_body({"type": "ticket", "version": VERSION, **fields}), key, "platform")


def make_permit(key: SigningKey, **fields: Any) -> Document:
    """A signed permit to score one enterprise once."""
    return sign(
        _shape({"type": "score_permit", "version": VERSION, **fields}, "score_permit", _PERMIT),
        key,
        "platform",
    )


def make_data_permit(key: SigningKey, **fields: Any) -> Document:
    """A signed permit to tell data of one enterprise once. `request_sha256` binds what is asked beside it, "" for none.

    Raises MalformedDocument.
    """
    return sign(_check_data_body({"type": "data_permit", "version": VERSION, **fields}), key, "platform")


def make_release_order(key: SigningKey, **fields: Any) -> Document:
    """A signed order to release one model file, with the reviewers who approved it."""
    body = _shape({"type": "release_order", "version": VERSION, **fields}, "release_order", _ORDER)
    return sign(body, key, "platform")


def make_impact_question(key: SigningKey, **fields: Any) -> Document:
    """A signed question to a node: which of its jobs rest on this consent?"""
    body = _shape({"type": "impact_question", "version": VERSION, **fields}, "impact_question", _QUESTION)
    return sign(body, key, "platform")


def _current(body: Body, at: str) -> Body:
    # a minute of grace at the start: clocks of two organisations are never quite equal
    if (parse(body["issued_at"]) - parse(at)).total_seconds() > 60:
        raise Denied("not_yet_valid", f"valid from {body['issued_at']}, now {at}", f"自 {body['issued_at']} 起有效")
    if at >= body["expires_at"]:
        raise Denied("expired", f"expired at {body['expires_at']}", f"已于 {body['expires_at']} 过期")
    return body


def check_ticket(document: Document, platform: VerifyingKey, at: str) -> Body:
    """The ticket's body. Raises BadSignature, MalformedDocument, or Denied when it is not current."""
    return _current(_check_ticket_body(verify(document, "platform", platform)), at)


def check_permit(document: Document, platform: VerifyingKey, at: str) -> Body:
    return _current(_shape(verify(document, "platform", platform), "score_permit", _PERMIT), at)


def check_data_permit(document: Document, platform: VerifyingKey, at: str) -> Body:
    return _current(_check_data_body(verify(document, "platform", platform)), at)


def check_impact_question(document: Document, platform: VerifyingKey, at: str) -> Body:
    return _current(_shape(verify(document, "platform", platform), "impact_question", _QUESTION), at)


def check_release_order(document: Document, platform: VerifyingKey, at: str) -> Body:
    body = _shape(verify(document, "platform", platform), "release_order", _ORDER)
    reviewers = {r for r in body["reviewers"] if isinstance(r, str)}
    if len(reviewers) < 2 or body["author"] in reviewers:
        raise Denied(
            "reviews_missing",
            "two reviewers who are not the author are needed",
            "需要两名非作者的审核人同意",
        )
    return _current(body, at)


def ticket_digest(document_or_body: Body) -> str:
    """SHA-256 of the ticket's canonical body: what a sealed sample and a model file are bound to."""
    return digest(document_or_body.get("body", document_or_body))
