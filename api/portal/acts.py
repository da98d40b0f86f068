"""What an enterprise does to a consent: the document of each act, and taking it once it is signed.

An act is one document, one signature, one transaction: the challenge or code is used up, the document taken and the
audit written together, or nothing is. Which act needs which right stands in one table.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.consents import requests
from api.consents.repository import Consent
from api.consents.service import take
from api.control import Control
from api.db import Unit
from api.enterprises import attempts, ceremonies, service
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.errors import Invalid, NotFound
from api.usage import asking
from consent import artefact, usage_question
from consent.canonical import digest
from consent.evidence import PASSKEY, REGISTRAR, SESSION_CODE
from consent.lifecycle import Action
from consent.passkey import rp_id_hash
from consent.signed import Document, sign
from consent.times import stamp

ANSWERS = ("consent", "refusal")
RIGHTS = {
    "consent": Right.DECIDE,
    "refusal": Right.DECIDE,
    "resume": Right.DECIDE,
    "pause": Right.WITHDRAW,
    "withdraw": Right.WITHDRAW,
}


@dataclass(frozen=True)
class Wish:
    """What a page asks for: the act, on which request or consent, shown in which language."""

    act: str
    consent_id: str
    language: str

    def need(self, who: Visitor) -> None:
        """Raises Invalid for an unknown act, RightMissing."""
        right = RIGHTS.get(self.act)
        if right is None:
            raise Invalid(f"act {self.act!r} is not known", "未知操作", code="act_unknown")
        who.need(right)


def consent_of(session: Session, uscc: str, consent_id: str) -> Consent:
    """The enterprise's own consent. Raises NotFound, also for another's."""
    row = session.get(Consent, consent_id)
    if row is None or row.enterprise != uscc:
        raise NotFound("consent", "授权", consent_id)
    return row


def consent_at(session: Session, uscc: str, seq: int) -> Consent:
    """The enterprise's own consent by its place in the feed. Raises NotFound."""
    row = session.scalar(sa.select(Consent).where(Consent.seq == seq))
    if row is None or row.enterprise != uscc:
        raise NotFound("consent", "授权", str(seq))
    return row


def body_of(session: Session, who: Visitor, wish: Wish, at: str, evidence: dict[str, str]) -> Document:
    """The document that the act signs. Raises NotFound or MalformedDocument."""
    if wish.act in ANSWERS:
        row = requests.one(session, who.uscc, wish.consent_id)
        return artefact.answer(
            row.document["body"],
            wish.act,
            digest=row.sha256,
            given_at=at,
            evidence=evidence,
            language=wish.language,
        )
    consent = consent_of(session, who.uscc, wish.consent_id)
    if wish.act == Action.WITHDRAW:
        return artefact.withdrawal(consent_id=consent.consent_id, enterprise=who.uscc, at=at, evidence=evidence)
    return artefact.transition(
        consent_id=consent.consent_id,
        enterprise=who.uscc,
        action=wish.act,
        at=at,
        sequence=consent.sequence + 1,
        previous=consent.head_sha256,
        evidence=evidence,
    )


def start(control: Control, who: Visitor, wish: Wish) -> ceremonies.Started:
    """Options for the browser to sign the act with a passkey."""
    wish.need(who)
    evidence = {"kind": PASSKEY, "reference": rp_id_hash(control.settings.portal_rp_id)}
    with control.db.read(who) as session:
        body = body_of(session, who, wish, stamp(control.db.clock()), evidence)
    return ceremonies.start_signing(control, who, body)


def finish(control: Control, who: Visitor, ceremony: str, credential: Any) -> int:
    """Takes the signed act; returns its place in the feed. Raises by name, and then nothing was done."""
    with control.db.unit(who) as unit:
        document = ceremonies.finish_signing(unit, control, who, ceremony, credential)
        body = document["body"]
        Wish(body.get("action", body["type"]), str(body.get("consent_id", "")), "zh").need(who)
        return take(unit, control, document, f"signed by {who.name} with a passkey")


def confirm_by_code(control: Control, who: Visitor, wish: Wish, typed: str, address: str) -> int:
    """Takes an act that a session and a one-time code prove; the platform signs as registrar.

    The evidence refers to what was checked, which the audit keeps. Raises CodeRefused, CodesNotAllowed, …
    """
    wish.need(who)
    with by_code(control, who, typed, address) as (unit, at, evidence):
        body = body_of(unit.session, who, wish, at, evidence)
        return take(unit, control, sign(body, control.key, REGISTRAR), f"confirmed by {who.name} with a one-time code")


@contextmanager
def by_code(control: Control, who: Visitor, typed: str, address: str) -> Iterator[tuple[Unit, str, dict[str, str]]]:
    """A unit in which the code is used up: with its time, the evidence of an act, and at its end the audit of both."""
    attempts.code(control, who.uscc, address)
    with control.db.unit(who) as unit:
        at = stamp(unit.now)
        checked = {
            "session": who.session_id,
            "code": service.confirm(control, unit, who, typed),
            "person": who.account_id,
            "at": at,
        }
        yield unit, at, {"kind": SESSION_CODE, "reference": digest(checked)}
        service.record_confirmation(unit, who, checked)


# ---- a question to the nodes


def usage_question_of(control: Control, who: Visitor) -> Document:
    """What the passkey signs, so that the nodes answer: how were my data used in joint training?"""
    return usage_question.question(
        question_id=f"q-{secrets.token_hex(8)}",
        enterprise=who.uscc,
        at=stamp(control.db.clock()),
        evidence={"kind": PASSKEY, "reference": rp_id_hash(control.settings.portal_rp_id)},
    )


def finish_question(control: Control, who: Visitor, ceremony: str, credential: Any) -> Document:
    """The question, signed. Raises by name; Invalid where something else was to be signed."""
    with control.db.unit(who) as unit:
        document = ceremonies.finish_signing(unit, control, who, ceremony, credential)
        if document["body"]["type"] != usage_question.TYPE:
            raise Invalid(
                "this was signed for another act: start again", "该签署用于其他操作：请重新开始", code="act_unknown"
            )
        return document


def ask_by_code(control: Control, who: Visitor, typed: str, address: str) -> asking.Vouched:
    """The question of a session and a one-time code: the platform vouches, and the ledger holds it before it is put.

    Raises CodeRefused, CodesNotAllowed, TooManyAttempts or LedgerUnavailable, and then nothing was done.
    """
    with by_code(control, who, typed, address) as (unit, at, evidence):
        return asking.vouch(unit, control, who.uscc, at, evidence)
