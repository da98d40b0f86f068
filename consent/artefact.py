"""The documents of a consent, version 2: their bodies and what makes one well formed.

A *request* offers terms, a *consent* or a *refusal* answers over the same fields, a *transition* pauses, resumes,
withdraws or ends; an *institution state* tells the nodes whom the platform has suspended or removed (R17). Bodies are
plain JSON objects, canonical by RFC 8785; `consent.signed` puts signatures on them: the enterprise signs its answers
and transitions, the platform countersigns and so attests that the key is the enterprise's. A person's own documents
(`person`) stand in the same list. Never judges whether terms are allowed (`templates`) or in order (`lifecycle`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consent import evidence as proofs
from consent import form, notice, person
from consent.errors import MalformedDocument as MalformedDocument
from consent.form import Field
from consent.form import covers as covers
from consent.lifecycle import SIGNERS, Action
from consent.purposes import PERSONAL_CATEGORIES, Purpose

VERSION = 2
Body = form.Body
SUBJECTS = ("company", "sole_trader")
INSTITUTION_STATES = ("active", "suspended", "removed")
EVIDENCE = proofs.KINDS
MAX_PERSONS = 64
STORAGE = "lab_zone"  # where nothing else is said


class PersonConsentMissing(MalformedDocument):
    """A person's own consent is needed besides the enterprise's (PIPL §13, §23, §29)."""

    code = "person_consent_missing"


FIELDS: tuple[Field, ...] = (
    Field("type", "文件类型：consent、refusal 或 request", "kind of document", "event_type"),
    Field("version", "本格式的版本，现为 2", "version of this format, now 2", "schema_version"),
    Field("consent_id", "授权编号", "number of the consent", "record_id"),
    Field("enterprise", "授权企业", "the enterprise that consents", "pii_principal_id"),
    Field("subject", "主体类型：company 或 sole_trader", "company or sole trader", "pii_principal_id (category)"),
    Field("recipient", "被授权机构", "institution that may use the data", "pii_controllers / party_id"),
    Field("provider", "数据提供方", "who provides the data", "pii_controllers / party_id, collection_method"),
    Field("purpose", "用途代码", "purpose code", "purposes / purpose, purpose_type"),
    Field("modes", "使用方式代码", "ways of use", "processing_method"),
    Field(
        "data",
        "类别及数据项；* 为整类",
        "categories and catalogue items; * for all",
        "pii_information / pii_type, pii_attribute_id",
    ),
    Field("window_months", "数据时间范围：向前几个月", "how far back the data reach, months", "pii_information"),
    Field("life_days", "机构保存期限，天", "how long the recipient may keep them, days", "retention_period"),
    Field("limits", "次数与频率上限", "limits of count and frequency", "processing_method (constraint)"),
    Field(
        "onward", "可再提供的机构；默认无", "who may be given the data on; none by default", "recipient_third_parties"
    ),
    Field("valid_from", "生效时间", "begin of validity", "validity_duration"),
    Field("valid_until", "失效时间", "end of validity", "validity_duration"),
    Field("notice", "告知书的摘要、语言、版本", "hash, language, version of the notice", "privacy_notice, language"),
    Field("storage", "存储地点代码", "where the data are stored", "storage_locations"),
    Field("withdrawal", "撤回方式代码", "how to withdraw", "withdrawal_method"),
    Field("persons", "个人单独同意的引用", "references to persons' own consents", "record_id (related record)"),
    Field("supersedes", "续签所替代的授权编号", "the consent that this one renews", "record_id (related record)"),
    Field("request", "所答复请求的摘要", "digest of the request that is answered", "event (preceding)"),
    Field("given_at", "签署时间", "when it was signed", "event_time"),
    Field("evidence", "如何证明是企业本人作出", "proof that the enterprise acted", "consent_type, entity_id"),
)
_ANSWER = frozenset(field.name for field in FIELDS)
# settled by the answer, not offered by the request
_SIGNED = frozenset({"request", "given_at", "evidence"})
_REQUEST = (_ANSWER - _SIGNED) | {"at"}
_TRANSITION = frozenset(
    {"type", "version", "consent_id", "enterprise", "action", "at", "sequence", "previous", "evidence"}
)
_INSTITUTION = frozenset({"type", "version", "institution", "state", "at", "ground"})
_SUBJECT_FIELDS = ("consent_id", "enterprise", "subject", "recipient", "provider", "purpose", "supersedes")


def _terms(
    *,
    consent_id: str,
    enterprise: str,
    recipient: str,
    provider: str,
    purpose: Purpose | str,
    modes: Sequence[str],
    data: Mapping[str, str | Sequence[str]],
    window_months: int,
    life_days: int,
    limits: Mapping[str, int | None],
    valid_from: str,
    valid_until: str,
    onward: Sequence[str] = (),
    storage: str = STORAGE,
    withdrawal: Sequence[str] = ("portal", "signed_document"),
    subject: str = "company",
    persons: Sequence[Mapping[str, str]] = (),
    supersedes: str | None = None,
) -> Body:
    return {
        "version": VERSION,
        "consent_id": consent_id,
        "enterprise": enterprise,
        "subject": subject,
        "recipient": recipient,
        "provider": provider,
        "purpose": str(purpose),
        "modes": [str(mode) for mode in modes],
        "data": {category: items if isinstance(items, str) else list(items) for category, items in data.items()},
        "window_months": window_months,
        "life_days": life_days,
        "limits": dict(limits),
        "onward": list(onward),
        "valid_from": valid_from,
        "valid_until": valid_until,
        "storage": storage,
        "withdrawal": list(withdrawal),
        "persons": [dict(one) for one in persons],
        "supersedes": supersedes,
    }


def request(*, at: str, language: str = "zh", **terms: Any) -> Body:
    """Body of a request: the terms that `recipient` asks the enterprise for. Raises MalformedDocument."""
    body = {"type": "request", **_terms(**terms), "at": at}
    _check_terms(body)
    body["notice"] = notice.bind(body, language)
    check_request(body)
    return body


def consent(
    *,
    given_at: str,
    evidence: Mapping[str, str],
    language: str = "zh",
    request: str | None = None,
    **terms: Any,
) -> Body:
    """Body of a consent: `enterprise` lets `recipient` (a bank) use `provider`'s (the lab's) data on these terms.

    `evidence` is {kind, reference}, the reference a SHA-256; `request` the digest of the request that is answered.
    The notice is made from the terms in `language`. Raises MalformedDocument naming the field.
    """
    return _answer("consent", given_at, evidence, language, request, terms)


def refusal(
    *,
    given_at: str,
    evidence: Mapping[str, str],
    language: str = "zh",
    request: str | None = None,
    **terms: Any,
) -> Body:
    """Body of a refusal: the same fields as a consent; it grants nothing and is kept so that nobody asks again."""
    return _answer("refusal", given_at, evidence, language, request, terms)


def _answer(
    kind: str, given_at: str, evidence: Mapping[str, str], language: str, request: str | None, terms: dict[str, Any]
) -> Body:
    body = {"type": kind, **_terms(**terms), "given_at": given_at, "evidence": dict(evidence), "request": request}
    _check_terms(body)
    body["notice"] = notice.bind(body, language)
    _check_answer(body, kind)
    return body


def answer(
    offer: Body,
    kind: str,
    *,
    digest: str,
    given_at: str,
    evidence: Mapping[str, str],
    language: str = "zh",
    **narrower: Any,
) -> Body:
    """Body of a consent or refusal of a request (with its `digest`); `narrower` terms replace the offered ones.

    Raises MalformedDocument, also for terms that say more than the request.
    """
    terms = {name: offer[name] for name in offer.keys() - {"type", "version", "at", "notice"}} | narrower
    body = _answer(kind, given_at, evidence, language, digest, terms)
    check_within(offer, body)
    return body


def transition(
    *,
    consent_id: str,
    enterprise: str,
    action: Action | str,
    at: str,
    sequence: int | None = None,
    previous: str | None = None,
    evidence: Mapping[str, str] | None = None,
) -> Body:
    """Body of a transition; `previous` is the digest of the document before.

    `sequence` and `previous` may be left out to withdraw, and only then. `evidence` is none for what a signing key
    proves by itself: the enterprise's own, or the platform's when a term is over. Raises MalformedDocument.
    """
    body = {
        "type": "transition",
        "version": VERSION,
        "consent_id": consent_id,
        "enterprise": enterprise,
        "action": str(action),
        "at": at,
        "sequence": sequence,
        "previous": previous,
        "evidence": None if evidence is None else dict(evidence),
    }
    check_transition(body)
    return body


def withdrawal(*, consent_id: str, enterprise: str, at: str, evidence: Mapping[str, str] | None = None) -> Body:
    """Body of the transition that ends a consent for good; it needs to know nothing but the consent's number."""
    return transition(consent_id=consent_id, enterprise=enterprise, action=Action.WITHDRAW, at=at, evidence=evidence)


def institution_state(*, institution: str, state: str, at: str, ground: str) -> Body:
    """Body of the platform's word on an institution: `active`, `suspended` or `removed`, and why (R17)."""
    body = {
        "type": "institution_state",
        "version": VERSION,
        "institution": institution,
        "state": state,
        "at": at,
        "ground": ground,
    }
    check_institution_state(body)
    return body


# ---- checks --------------------------------------------------------------------------------------------------------


def _check_persons(body: Body) -> None:
    persons = body["persons"]
    if not isinstance(persons, list) or len(persons) > MAX_PERSONS:
        raise form.wrong("persons", f"a list of at most {MAX_PERSONS} is needed", f"至多 {MAX_PERSONS} 项", persons)
    for one in persons:
        form.object_of(one, ("role", "reference"), "persons")
        form.one_of(one["role"], notice.PERSON_ROLES, "persons.role")
        form.sha256(one["reference"], "persons.reference")
    references = [one["reference"] for one in persons]
    if len(set(references)) != len(references):
        raise form.wrong("persons.reference", "each may stand once", "不得重复", references)
    roles = {one["role"] for one in persons}
    if body["subject"] == "sole_trader" and "sole_trader" not in roles:
        raise PersonConsentMissing(
            "persons: a sole trader is a person: the person's own consent is needed besides",
            "persons：个体工商户经营者为自然人，须另行取得其个人同意",
        )
    if PERSONAL_CATEGORIES & body["data"].keys() and not roles:
        raise PersonConsentMissing(
            "persons: data.key_persons is about persons: the own consent of each named person is needed besides",
            "persons：data.key_persons 涉及自然人，须另行取得每位相关人员的个人同意",
        )


def _check_terms(body: Body) -> None:
    """Everything that the notice speaks of, so that it can be made."""
    form.text(body, "consent_id", "enterprise", "recipient", "provider")
    form.one_of(body["subject"], SUBJECTS, "subject")
    form.check_scope(body)
    _check_persons(body)
    if body["supersedes"] is not None:
        form.text(body, "supersedes")
        if body["supersedes"] == body["consent_id"]:
            raise MalformedDocument("supersedes: a consent cannot renew itself", "supersedes：不能替代自身")


def _check_answer(body: Any, kind: str) -> None:
    body = form.fields_of(body, kind, _ANSWER, VERSION)
    _check_terms(body)
    form.time(body["given_at"], "given_at")
    form.check_evidence(body["evidence"], EVIDENCE)
    if body["request"] is not None:
        form.sha256(body["request"], "request")
    form.check_notice(body)


def check_consent(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed consent whose notice is that of its terms."""
    _check_answer(body, "consent")


def check_refusal(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed refusal."""
    _check_answer(body, "refusal")


def check_request(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed request."""
    body = form.fields_of(body, "request", _REQUEST, VERSION)
    _check_terms(body)
    form.time(body["at"], "at")
    form.check_notice(body)


def check_transition(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed transition."""
    body = form.fields_of(body, "transition", _TRANSITION, VERSION)
    form.text(body, "consent_id", "enterprise")
    form.one_of(body["action"], tuple(SIGNERS), "action")
    form.time(body["at"], "at")
    if body["evidence"] is not None:
        if body["action"] == Action.EXPIRE:
            raise form.wrong("evidence", "the platform's expiry has none", "平台到期不含证明", body["evidence"])
        form.check_evidence(body["evidence"], EVIDENCE)
    if body["sequence"] is None and body["previous"] is None and body["action"] == Action.WITHDRAW:
        return
    form.whole(body["sequence"], 1, form.MAX_COUNT, "sequence")
    form.sha256(body["previous"], "previous")


def check_institution_state(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed institution state."""
    body = form.fields_of(body, "institution_state", _INSTITUTION, VERSION)
    form.text(body, "institution", "ground")
    form.one_of(body["state"], INSTITUTION_STATES, "state")
    form.time(body["at"], "at")


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "request": check_request,
    "consent": check_consent,
    "refusal": check_refusal,
    "transition": check_transition,
    "institution_state": check_institution_state,
    **person.CHECKS,
    **person.PLATFORM_CHECKS,
}


def check(body: Any) -> str:
    """The kind of a well-formed body; raises MalformedDocument."""
    kind = body.get("type") if isinstance(body, dict) else None
    if not isinstance(kind, str) or kind not in CHECKS:
        listed = ", ".join(CHECKS)
        raise form.wrong("type", f"one of {listed} is needed", f"应为 {listed} 之一", kind)
    CHECKS[kind](body)
    return kind


def signer_of(body: Mapping[str, Any]) -> str:
    """The role whose signature gives a well-formed document its force: `enterprise`, `person` or `platform`."""
    if body["type"] == "transition":
        return SIGNERS[Action(body["action"])]
    if body["type"] in person.CHECKS:
        return "person"
    return "enterprise" if body["type"] in ("consent", "refusal") else "platform"


# ---- terms within terms --------------------------------------------------------------------------------------------


def check_within(offer: Body, signed: Body) -> None:
    """Raises MalformedDocument unless what was signed is the request or less of it."""

    def exceeds(field: str, found: Any) -> MalformedDocument:
        return form.wrong(field, "not more than was requested is needed", "不得超出请求范围", found)

    for name in _SUBJECT_FIELDS:
        if signed[name] != offer[name]:
            raise form.wrong(name, f"{offer[name]!r} was requested", f"请求为 {offer[name]!r}", signed[name])
    for name in ("modes", "onward"):
        if extra := [one for one in signed[name] if one not in offer[name]]:
            raise exceeds(name, extra[0])
    if (outside := form.covers(offer["data"], signed["data"])) is not None:
        raise exceeds("data", outside)
    for name in ("window_months", "life_days", "valid_until"):
        if signed[name] > offer[name]:
            raise exceeds(name, signed[name])
    if signed["valid_from"] < offer["valid_from"]:
        raise exceeds("valid_from", signed["valid_from"])
    asked, given = offer["limits"], signed["limits"]
    if not form.no_more(asked["total"], given["total"]):
        raise exceeds("limits.total", given["total"])
    if not form.frequency_within(asked, given):
        raise exceeds("limits.count", given["count"])
    if signed["storage"] != offer["storage"]:
        raise exceeds("storage", signed["storage"])
    if left_out := [one for one in offer["persons"] if one not in signed["persons"]]:
        raise form.wrong("persons", "every person who was named is needed", "须含请求所列的每位个人", left_out[0])
