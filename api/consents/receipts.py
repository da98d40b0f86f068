"""Receipts of what the feed records, made anew whenever one is asked for. Owns no key and keeps no copy."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.consents.persons import PersonConsent
from api.consents.repository import Consent, FeedEvent
from api.control import Control
from api.errors import NotFound
from api.ledger import service as ledger
from consent.receipt import CHANGES, issue
from consent.times import stamp


def _event(session: Session, seq: int) -> tuple[dict[str, Any], datetime]:
    row = session.execute(sa.select(FeedEvent.document, FeedEvent.recorded_at).where(FeedEvent.seq == seq)).one()
    return json.loads(row.document), row.recorded_at


def consent_of(session: Session, enterprise: str, seq: int) -> str:
    """The number of the enterprise's consent that the document at `seq` is about. Raises NotFound for another's."""
    name = session.scalar(sa.select(FeedEvent.consent_id).where(FeedEvent.seq == seq))
    consent = None if name is None else session.get(Consent, name)
    if consent is None or consent.enterprise != enterprise:
        raise NotFound("receipt", "回执", str(seq))
    return consent.consent_id


def of_event(control: Control, session: Session, enterprise: str, seq: int) -> bytes:
    """The receipt for the document at `seq`, with the consent that it changes. Raises NotFound for another's."""
    return _issued(control, session, seq, session.get_one(Consent, consent_of(session, enterprise, seq)).seq)


def of_person(session: Session, pseudonyms: Collection[str], seq: int) -> PersonConsent:
    """The person's own consent or refusal that the document at `seq` is about. Raises NotFound for another's."""
    name = session.scalar(sa.select(FeedEvent.consent_id).where(FeedEvent.seq == seq))
    row = None if name is None else session.get(PersonConsent, name)
    if row is None or row.person not in pseudonyms:
        raise NotFound("receipt", "回执", str(seq))
    return row


def of_person_event(control: Control, session: Session, pseudonyms: Collection[str], seq: int) -> bytes:
    """The receipt for a person's document at `seq`, with the consent that it withdraws. Raises NotFound."""
    return _issued(control, session, seq, of_person(session, pseudonyms, seq).seq)


def _issued(control: Control, session: Session, seq: int, first_seq: int) -> bytes:
    document, recorded_at = _event(session, seq)
    about = None
    if document["body"]["type"] in CHANGES:
        first, first_at = _event(session, first_seq)
        about = (first, stamp(first_at))
    return issue(
        document,
        control.key,
        receipt_id=f"receipt-{seq}",
        platform=control.keyring.platform,
        recorded_at=stamp(recorded_at),
        issued_at=stamp(control.db.clock()),
        consent=about,
        ledger=ledger.position(session, "feed", str(seq))[0],
    )


def bundle(receipt: bytes, proof: dict[str, Any]) -> dict[str, Any]:
    """A receipt and its proof in one file for `creditlab verify`."""
    return {"proof": proof, "receipt": json.loads(receipt)}


def history(session: Session, consent_id: str) -> list[dict[str, Any]]:
    """Every document of one consent, oldest first: its place in the feed, when it was recorded, and its body."""
    query = sa.select(FeedEvent.seq, FeedEvent.recorded_at, FeedEvent.document).where(
        FeedEvent.consent_id == consent_id
    )
    return [
        {"seq": row.seq, "recorded_at": row.recorded_at, "body": json.loads(row.document)["body"]}
        for row in session.execute(query.order_by(FeedEvent.seq))
    ]
