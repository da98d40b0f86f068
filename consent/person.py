"""A person's own consent besides the enterprise's: its documents, what it answers to, and when it is enough.

A sole trader and a named key person are persons (PIPL §13, §29): where an enterprise's consent concerns them it names,
for each, the digest of the terms offered to that person. The terms are without times, so that either may sign first.
The person is a pseudonym; whose it is, the service that enrols people knows. Owns no store and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consent import form, notice
from consent.canonical import digest
from consent.errors import MalformedDocument
from consent.evidence import PASSKEY, SESSION_CODE
from consent.form import Body, Field
from consent.lifecycle import PERSON_EXPIRY, Life, State
from consent.purposes import PERSONAL_CATEGORIES

VERSION = 1
CONSENT, REFUSAL, WITHDRAWAL = "person_consent", "person_refusal", "person_withdrawal"
EXPIRY = PERSON_EXPIRY
SOLE_TRADER = "sole_trader"
EVIDENCE = (PASSKEY, SESSION_CODE)
OFFERED = (
    "person", "role", "enterprise", "recipient", "provider", "purpose", "modes", "data", "window_months", "life_days",
    "limits", "onward", "storage",
)  # fmt: skip
_SCOPE = ("recipient", "provider", "purpose", "modes", "window_months", "life_days", "limits", "onward", "storage")
# every other field is the enterprise's consent's, of the same meaning (`artefact.FIELDS`)
FIELDS: tuple[Field, ...] = (
    Field("person", "本人的代号，不含姓名", "pseudonym of the person, no name", "pii_principal_id"),
    Field("role", "本人在企业中的身份", "what the person is to the enterprise", "pii_principal_id (category)"),
    Field("enterprise", "相关企业", "the enterprise that it is about", "record_id (related record)"),
    Field("data", "涉及本人的类别及数据项", "categories and items about the person", "pii_information / pii_type"),
    Field("offered", "所告知条款的摘要，不含时间", "digest of the offered terms, without times", "event (preceding)"),
    Field("evidence", "如何证明是本人作出", "proof that the person acted", "consent_type, entity_id"),
)
_ANSWER = frozenset(
    (
        *OFFERED, "type", "version", "consent_id", "valid_from", "valid_until", "withdrawal", "notice", "offered",
        "given_at", "evidence",
    )
)  # fmt: skip
_WITHDRAWAL = frozenset({"type", "version", "consent_id", "person", "enterprise", "at", "evidence"})

_EXPIRY = _WITHDRAWAL - {"evidence"}


class NothingConcerns(MalformedDocument):
    """A person's consent is asked for where the data say nothing about that person."""

    code = "person_not_concerned"


class OfferMismatch(MalformedDocument):
    """The digest that the person signed is not that of the terms that stand beside it."""

    code = "offer_mismatch"


class Given(StrEnum):
    """What a consent that may need persons finds."""

    NONE_NEEDED = "none_needed"
    GIVEN = "given"
    MISSING = "missing"
    WITHDRAWN = "withdrawn"


def concerned(data: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Of an enterprise's data those about a person of this role: all for a sole trader, else those about people."""
    return {name: items for name, items in data.items() if role == SOLE_TRADER or name in PERSONAL_CATEGORIES}


def offer(terms: Mapping[str, Any], person: str, role: str) -> Body:
    """The terms offered to one person, of those of a request or consent. Raises NothingConcerns."""
    data = concerned(terms["data"], role)
    if not data:
        raise NothingConcerns(
            f"persons: the data asked for say nothing about a {role}: leave this role out or ask for such data",
            f"persons：所请求的数据不涉及 {role}：请删去该角色或请求相关数据",
        )
    return {"person": person, "role": role, "enterprise": terms["enterprise"], "data": data} | {
        name: terms[name] for name in _SCOPE
    }


def reference(offered: Mapping[str, Any]) -> str:
    """What an enterprise's `persons[].reference` says: the digest of the offered terms, without any time."""
    return digest({"type": "person_offer", "version": VERSION} | {name: offered[name] for name in OFFERED})


def answer(
    kind: str,
    offered: Mapping[str, Any],
    *,
    consent_id: str,
    valid_from: str,
    valid_until: str,
    given_at: str,
    evidence: Mapping[str, str],
    language: str = "zh",
    withdrawal: Sequence[str] = ("portal", "counter"),
) -> Body:
    """Body of a person's consent (`CONSENT`) or refusal (`REFUSAL`) of offered terms. Raises MalformedDocument."""
    body = {name: offered[name] for name in OFFERED} | {
        "type": kind,
        "version": VERSION,
        "consent_id": consent_id,
        "valid_from": valid_from,
        "valid_until": valid_until,
        "withdrawal": list(withdrawal),
        "offered": reference(offered),
        "given_at": given_at,
        "evidence": dict(evidence),
    }
    _check_terms(body)
    body["notice"] = notice.bind(body, language)
    CHECKS[kind](body)
    return body


def withdrawal(*, consent_id: str, person: str, enterprise: str, at: str, evidence: Mapping[str, str]) -> Body:
    """Body of a person's withdrawal: as an enterprise's it needs to know nothing but the number (PIPL §15)."""
    body = {
        "type": WITHDRAWAL,
        "version": VERSION,
        "consent_id": consent_id,
        "person": person,
        "enterprise": enterprise,
        "at": at,
        "evidence": dict(evidence),
    }
    check_withdrawal(body)
    return body


def expiry(*, consent_id: str, person: str, enterprise: str, at: str) -> Body:
    """Body of the platform's word that a person's consent has run out: nodes and banks hear of it as of any end."""
    body = {
        "type": EXPIRY,
        "version": VERSION,
        "consent_id": consent_id,
        "person": person,
        "enterprise": enterprise,
        "at": at,
    }
    check_expiry(body)
    return body


# ---- checks --------------------------------------------------------------------------------------------------------


def _check_terms(body: Body) -> None:
    form.text(body, "consent_id", "person", "enterprise", "recipient", "provider")
    form.one_of(body["role"], notice.PERSON_ROLES, "role")
    form.check_scope(body)


def _check_answer(body: Any, kind: str) -> None:
    body = form.fields_of(body, kind, _ANSWER, VERSION)
    _check_terms(body)
    if concerned(body["data"], body["role"]) != body["data"]:
        raise form.wrong("data", f"only what concerns a {body['role']} is needed", "仅可含涉及本人的数据", body["data"])
    form.time(body["given_at"], "given_at")
    form.check_evidence(body["evidence"], EVIDENCE)
    form.sha256(body["offered"], "offered")
    if body["offered"] != reference(body):
        raise OfferMismatch(
            "offered: is not the digest of these terms: show them again and sign anew",
            "offered：与本文件的条款不符，请重新展示并签署",
        )
    form.check_notice(body)


def check_consent(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed consent of a person."""
    _check_answer(body, CONSENT)


def check_refusal(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed refusal of a person."""
    _check_answer(body, REFUSAL)


def check_withdrawal(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed withdrawal of a person."""
    body = form.fields_of(body, WITHDRAWAL, _WITHDRAWAL, VERSION)
    form.text(body, "consent_id", "person", "enterprise")
    form.time(body["at"], "at")
    form.check_evidence(body["evidence"], EVIDENCE)


def check_expiry(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed expiry of a person's consent."""
    body = form.fields_of(body, EXPIRY, _EXPIRY, VERSION)
    form.text(body, "consent_id", "person", "enterprise")
    form.time(body["at"], "at")


# what the person signs, and what the platform signs of it
CHECKS: Mapping[str, Callable[[Any], None]] = {
    CONSENT: check_consent,
    REFUSAL: check_refusal,
    WITHDRAWAL: check_withdrawal,
}
PLATFORM_CHECKS: Mapping[str, Callable[[Any], None]] = {EXPIRY: check_expiry}


# ---- what has been said, and whether it is enough ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """One answer of one person and what became of it; `ended` is (feed position, time) of the withdrawal or expiry."""

    life: Life
    offered: str
    terms: Mapping[str, Any]  # the fields of OFFERED
    valid_from: str
    evidence: str
    seq: int
    ended: tuple[int, str] | None = None

    def state_by(self, seq: int | None) -> State:
        """The state as of a feed position at or after the word's own; the newest for None."""
        return State.ACTIVE if self.ended is not None and seq is not None and seq < self.ended[0] else self.life.state


@dataclass(frozen=True, slots=True)
class Need:
    """What an enterprise's consent with `persons` asks of each of them: (role, reference), and its own terms."""

    persons: tuple[tuple[str, str], ...]
    terms: Mapping[str, Any]  # enterprise, data and the fields that a person agrees to


def need_of(body: Mapping[str, Any]) -> Need:
    """The need of a well-formed consent or refusal."""
    terms = {name: body[name] for name in (*_SCOPE, "enterprise", "data")}
    return Need(tuple((one["role"], one["reference"]) for one in body["persons"]), terms)


def within(offered: Mapping[str, Any], role: str, terms: Mapping[str, Any]) -> bool:
    """Whether an enterprise's terms, as far as they concern this role, lie within what was offered to the person."""
    return (
        offered["role"] == role
        and all(offered[name] == terms[name] for name in ("enterprise", "recipient", "provider", "purpose", "storage"))
        and form.covers(offered["data"], concerned(terms["data"], role)) is None
        and set(terms["modes"]) <= set(offered["modes"])
        and set(terms["onward"]) <= set(offered["onward"])
        and all(terms[name] <= offered[name] for name in ("window_months", "life_days"))
        and form.no_more(offered["limits"]["total"], terms["limits"]["total"])
        and form.frequency_within(offered["limits"], terms["limits"])
    )


def judge(
    need: Need,
    words: Callable[[str], Word | None],
    at: str,
    *,
    seq: int | None = None,
    refused: Iterable[str] = (),
) -> Given:
    """Whether every person that a consent names has given consent in person, at `at` and by feed position `seq`.

    `words` tells the newest word under a reference by that position; evidence among `refused` counts for nothing. A
    withdrawal is told before what is merely missing.
    """
    found = {_one(words(name), role, need, at, seq, refused) for role, name in need.persons}
    for worst in (Given.WITHDRAWN, Given.MISSING):
        if worst in found:
            return worst
    return Given.GIVEN if found else Given.NONE_NEEDED


def _one(word: Word | None, role: str, need: Need, at: str, seq: int | None, refused: Iterable[str]) -> Given:
    if word is None:
        return Given.MISSING
    state = word.state_by(seq)
    if state is State.WITHDRAWN:
        return Given.WITHDRAWN
    stands = (
        state is State.ACTIVE
        and word.valid_from <= at < word.life.valid_until
        and word.evidence not in refused
        and within(word.terms, role, need.terms)
    )
    return Given.GIVEN if stands else Given.MISSING
