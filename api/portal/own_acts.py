"""What a person does in own right: the document of each act, and taking it once it is signed.

No right in the enterprise is asked for and none helps: what counts is that the pseudonym is the visitor's own. As every
act it is one document, one signature, one transaction.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from api.consents import persons
from api.consents.persons import Ask
from api.control import Control
from api.enterprises import ceremonies, own
from api.enterprises.sessions import Visitor
from api.errors import Invalid, NotFound
from api.portal.acts import Wish, by_code
from consent import person
from consent.evidence import PASSKEY, REGISTRAR
from consent.passkey import rp_id_hash
from consent.signed import Document, sign
from consent.times import stamp

ANSWERS = (person.CONSENT, person.REFUSAL)
ACTS = (*ANSWERS, person.WITHDRAWAL)


def ask_of(session: Session, who: Visitor, reference: str, at: str) -> Ask:
    """The offer of this reference to the visitor. Raises NotFound, also for one to somebody else."""
    for one in persons.asks(session, who.uscc, own.of_person(session, who), at):
        if one.reference == reference:
            return one
    raise NotFound("request for your own consent", "请您个人同意的事项", reference)


def shown(ask: Ask, kind: str, at: str, evidence: dict[str, str], language: str) -> Document:
    """The answer to an offer as it will be signed; its notice depends on nothing that is settled only by signing."""
    return person.answer(
        kind,
        ask.offered,
        consent_id=ask.consent_id,
        valid_from=ask.valid_from,
        valid_until=ask.valid_until,
        given_at=at,
        evidence=evidence,
        language=language,
    )


def body_of(session: Session, who: Visitor, wish: Wish, at: str, evidence: dict[str, str]) -> Document:
    """The document that the act signs: `wish.consent_id` is an offer's reference, or the number to withdraw."""
    if wish.act in ANSWERS:
        return shown(ask_of(session, who, wish.consent_id, at), wish.act, at, evidence, wish.language)
    if wish.act != person.WITHDRAWAL:
        raise Invalid(f"act {wish.act!r} is not known", "未知操作", code="act_unknown")
    for row in persons.of_persons(session, own.of_person(session, who)):
        if row.consent_id == wish.consent_id:
            return person.withdrawal(
                consent_id=row.consent_id, person=row.person, enterprise=who.uscc, at=at, evidence=evidence
            )
    raise NotFound("consent of your own", "您的同意书", wish.consent_id)


def start(control: Control, who: Visitor, wish: Wish) -> ceremonies.Started:
    """Options for the browser to sign the act with a passkey."""
    evidence = {"kind": PASSKEY, "reference": rp_id_hash(control.settings.portal_rp_id)}
    with control.db.read(who) as session:
        body = body_of(session, who, wish, stamp(control.db.clock()), evidence)
    return ceremonies.start_signing(control, who, body)


def finish(control: Control, who: Visitor, ceremony: str, credential: Any) -> int:
    """Takes the signed act; returns its place in the feed. Raises by name, and then nothing was done."""
    with control.db.unit(who) as unit:
        document = ceremonies.finish_signing(unit, control, who, ceremony, credential)
        if document["body"]["type"] not in ACTS:
            raise Invalid(
                "this was signed for another act: start again", "该签署用于其他操作：请重新开始", code="act_unknown"
            )
        return persons.take(unit, control, document, "with a passkey")


def confirm_by_code(control: Control, who: Visitor, wish: Wish, typed: str, address: str) -> int:
    """Takes an act that a session and a one-time code prove; the platform signs as registrar. Raises by name."""
    with by_code(control, who, typed, address) as (unit, at, evidence):
        body = body_of(unit.session, who, wish, at, evidence)
        return persons.take(unit, control, sign(body, control.key, REGISTRAR), "with a one-time code")
