"""Persons' own consents: taking a document that a person has signed, and whether a consent has all that it needs.

Owns the table of what persons said. Who a pseudonym is, `api.enterprises.own` knows; what a document must hold and when
it is enough, `consent.person` says: the same function runs here and in every node.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.consent_events import service as consent_events
from api.consents import feed, repository, requests
from api.consents.repository import Consent
from api.consents.service import NotTaken
from api.control import Control
from api.db import Base, Machine, Stateful, Unit
from api.enterprises import own
from api.errors import NotFound
from consent import artefact, person, templates
from consent.artefact import MalformedDocument
from consent.keys import BadSignature
from consent.lifecycle import PERSON_ACTIONS, TRANSITIONS, Action, Life, LifecycleError, State, apply
from consent.person import Given, Need, Word
from consent.signed import Document, countersign, signatory, verify
from consent.times import stamp

_MOVES = (Action.WITHDRAW, Action.EXPIRE, Action.SUPERSEDE)
PERSON_CONSENT = Machine(
    kind="person_consent",
    initial=frozenset({str(State.ACTIVE), str(State.REFUSED)}),
    # of the one table of a consent's life, what a person's own may go through
    transitions={
        str(state): frozenset(
            str(TRANSITIONS[state][action])
            for action in _MOVES
            if state is State.ACTIVE and action in TRANSITIONS[state]
        )
        for state in (State.ACTIVE, State.REFUSED, State.WITHDRAWN, State.EXPIRED)
    },
)
_SAID = {
    person.CONSENT: ("person_consent.give", "given in person"),
    person.REFUSAL: ("person_consent.refuse", "refused in person"),
}


class PersonConsent(Stateful, Base):
    """What one person said to one offer and what became of it; the signed document is in the feed under `seq`."""

    __tablename__ = "person_consents"
    AUDIT_KIND: ClassVar[str] = "person_consent"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("consent_id",)
    MACHINE: ClassVar[Machine] = PERSON_CONSENT

    consent_id: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(sa.ForeignKey("consent_persons.id"))  # the pseudonym
    role: Mapped[str]
    enterprise: Mapped[str]
    recipient: Mapped[str]
    provider: Mapped[str]
    purpose: Mapped[str]
    offered: Mapped[str]
    terms: Mapped[dict[str, Any]]  # consent.person.OFFERED
    valid_from: Mapped[str]
    valid_until: Mapped[str]
    evidence: Mapped[str]
    public_key: Mapped[str]
    state: Mapped[str]
    seq: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey("feed.seq"), unique=True)
    ended_seq: Mapped[int | None] = mapped_column(sa.BigInteger, sa.ForeignKey("feed.seq"))
    sequence: Mapped[int] = mapped_column(sa.BigInteger)
    head_sha256: Mapped[str]
    changed_at: Mapped[str]
    recorded_at: Mapped[datetime]

    __table_args__ = (
        sa.Index("person_consents_offered", "offered", "seq"),
        sa.Index("person_consents_person", "person", "seq"),
        sa.Index("person_consents_one", "offered", unique=True, postgresql_where=sa.text("state = 'active'")),
    )


def _life(row: PersonConsent) -> Life:
    state = State(row.state)
    return Life(row.consent_id, state, row.sequence, row.head_sha256, row.changed_at, row.valid_until)


def _word(row: PersonConsent) -> Word:
    over = None if row.ended_seq is None else (row.ended_seq, row.changed_at)
    return Word(_life(row), row.offered, row.terms, row.valid_from, row.evidence, row.seq, over)


# ---- whether it is enough


def need_of(row: Consent) -> Need | None:
    """What a consent on record asks of persons; None for one that asks for nobody."""
    named = row.terms.get("persons")
    return None if not named else Need(tuple((role, name) for role, name in named), row.terms["for_persons"])


def found(session: Session, row: Consent | None, at: str, *, lock: bool = False) -> Given:
    """Whether the persons whom a consent names have given their own.

    `lock` holds what they said against a withdrawal until the transaction ends.
    """
    need = None if row is None else need_of(row)
    if need is None:
        return Given.NONE_NEEDED
    query = sa.select(PersonConsent).where(PersonConsent.offered.in_([name for _, name in need.persons]))
    rows = session.scalars(query.order_by(PersonConsent.seq).with_for_update(read=True) if lock else query).all()
    words = {one.offered: _word(one) for one in sorted(rows, key=lambda one: one.seq)}
    return person.judge(need, words.get, at)


def of_body(session: Session, body: dict[str, Any]) -> list[tuple[str, str | None]]:
    """(role, state of the newest word or None) of everybody whom a request or consent names, for the enterprise."""
    names = [one["reference"] for one in body["persons"]]
    query = sa.select(PersonConsent.offered, PersonConsent.state).where(PersonConsent.offered.in_(names))
    said = {row.offered: row.state for row in session.execute(query.order_by(PersonConsent.seq))}
    return [(one["role"], said.get(one["reference"])) for one in body["persons"]]


# ---- what asks for a person


@dataclass(frozen=True)
class Ask:
    """An offer to one person: `offered` are its terms; `row` the person's newest word on it, if any."""

    offered: dict[str, Any]
    reference: str
    valid_from: str
    valid_until: str
    at: str
    row: PersonConsent | None
    words: int

    @property
    def consent_id(self) -> str:
        """The number that the answer will have: the page shows it before it is signed."""
        return f"pc-{self.reference[:16]}-{self.words + 1}"

    def waits(self, at: str) -> bool:
        """Whether the person has said nothing on it, or a yes that runs out before what it is for."""
        row = self.row
        return row is None or (
            row.state in (State.ACTIVE, State.EXPIRED) and (row.valid_until <= at or row.valid_until < self.valid_until)
        )


def asks(session: Session, uscc: str, mine: Sequence[own.ConsentPerson], at: str) -> list[Ask]:
    """Every offer to these pseudonyms that an open request or a consent in force of the enterprise refers to."""
    bodies = [row.document["body"] for row in requests.open_of(session, uscc, at)]
    standing = [
        row
        for row in repository.of_enterprise(session, uscc, None)
        if row.state in ("active", "paused") and row.valid_until > at and row.terms.get("persons")
    ]
    asked = requests.known_to_read(session, {row.consent_id for row in standing})
    for row in standing:
        request = asked.get(row.consent_id)
        bodies.append(repository.bodies(session, row.consent_id)[0] if request is None else request.document["body"])
    offers: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for body in bodies:
        named = {(one["role"], one["reference"]) for one in body["persons"]}
        for one in mine:
            if one.role not in {role for role, _ in named} or not person.concerned(body["data"], one.role):
                continue
            offered = person.offer(body, one.id, one.role)
            reference = person.reference(offered)
            before = offers.get(reference)
            if (one.role, reference) in named and (before is None or before[1]["valid_until"] < body["valid_until"]):
                offers[reference] = (offered, body)
    said: dict[str, list[PersonConsent]] = {}
    for word in of_persons(session, mine):
        said.setdefault(word.offered, []).append(word)
    return [
        Ask(
            offered, reference, body["valid_from"], body["valid_until"], body.get("at") or body["given_at"],
            said[reference][-1] if reference in said else None, len(said.get(reference, ())),
        )
        for reference, (offered, body) in offers.items()
    ]  # fmt: skip


def of_persons(session: Session, mine: Sequence[own.ConsentPerson]) -> Sequence[PersonConsent]:
    """What these pseudonyms said, oldest first."""
    query = sa.select(PersonConsent).where(PersonConsent.person.in_([one.id for one in mine]))
    return session.scalars(query.order_by(PersonConsent.seq)).all()


# ---- taking


def take(unit: Unit, control: Control, document: Document, reason: str) -> int:
    """Takes one document that a person has just signed, in the caller's transaction; returns its place in the feed.

    Raises NotTaken with the reason, so that nothing of the transaction stays.
    """
    try:
        artefact.check(document["body"])
        if artefact.signer_of(document["body"]) != "person":
            raise NotTaken(
                "this is no document of a person's own", "并非个人单独同意文件", code="not_a_persons_document"
            )
        if document["body"]["type"] == person.CONSENT:
            templates.check(document["body"])
        signed = countersign(document, control.key, "platform")
        body = verify(signed, "person")
    except (MalformedDocument, templates.ExceedsTemplate, BadSignature) as error:
        raise NotTaken(error.message, error.message_zh, code=error.code) from error
    who = own.known(unit.session, body["person"])
    if who is None or who.enterprise != body["enterprise"] or body.get("role", who.role) != who.role:
        raise NotFound("person who consents", "单独同意的个人", str(body["person"]))
    try:
        if body["type"] == person.WITHDRAWAL:
            return _withdraw(unit, signed, body, reason)
        return _answer(unit, signed, body, reason)
    except LifecycleError as error:
        raise NotTaken(error.message, error.message_zh, code=error.code) from error


def _enter(unit: Unit, document: Document) -> int:
    writer = feed.Writer(unit)
    seq = writer.add(document, document["body"]["consent_id"])
    writer.close()
    return seq


def _answer(unit: Unit, document: Document, body: dict[str, Any], reason: str) -> int:
    life = apply(None, body)
    before = unit.session.scalar(
        sa.select(PersonConsent)
        .where(PersonConsent.offered == body["offered"], PersonConsent.state == "active")
        .with_for_update()
    )
    if before is not None and life.state is State.REFUSED:
        raise NotTaken(
            "you have consented to this: withdraw that consent instead", "您此前已同意：如不再同意请撤回",
            code="consent_stands",
        )  # fmt: skip
    if unit.session.get(PersonConsent, body["consent_id"]) is not None:
        raise NotTaken("this was answered already", "此前已答复", code="taken_already")
    seq = _enter(unit, document)
    if before is not None:
        unit.transition(before, str(State.EXPIRED), "person_consent.supersede", "given anew", by=body["consent_id"])
    action, said = _SAID[body["type"]]
    row = PersonConsent(
        **{name: body[name] for name in ("consent_id", "person", "role", "enterprise", "recipient", "provider")},
        purpose=body["purpose"],
        offered=body["offered"],
        terms={name: body[name] for name in person.OFFERED},
        valid_from=body["valid_from"],
        valid_until=body["valid_until"],
        evidence=body["evidence"]["kind"],
        public_key=base64.b64encode(signatory(document)).decode(),
        seq=seq,
        sequence=life.sequence,
        head_sha256=life.head,
        changed_at=life.at,
        recorded_at=unit.now,
    )
    unit.create(row, action, f"{said}: {reason}", state=str(life.state), seq=seq)
    _tell(unit, row, seq)
    return seq


def _withdraw(unit: Unit, document: Document, body: dict[str, Any], reason: str) -> int:
    row = unit.session.get(PersonConsent, body["consent_id"], with_for_update=True)
    if row is None or (row.person, row.enterprise) != (body["person"], body["enterprise"]):
        raise NotFound("consent", "同意书", body["consent_id"])
    life = apply(_life(row), body)
    seq = _enter(unit, document)
    row.sequence, row.head_sha256, row.changed_at, row.ended_seq = life.sequence, life.head, life.at, seq
    action = PERSON_ACTIONS[body["type"]]
    unit.transition(row, str(life.state), f"person_consent.{action}", f"withdrawn in person: {reason}", seq=seq)
    _tell(unit, row, seq)
    return seq


# ---- terms that are over


def over(session: Session, at: str, limit: int) -> Sequence[str]:
    """Persons' consents that stand and whose term was over at `at`."""
    query = sa.select(PersonConsent.consent_id).where(
        PersonConsent.state == str(State.ACTIVE), PersonConsent.valid_until <= at
    )
    return session.scalars(query.order_by(PersonConsent.valid_until, PersonConsent.consent_id).limit(limit)).all()


def expire(unit: Unit, control: Control, names: Sequence[str]) -> int:
    """Says of each in the feed, signed by the platform, that it has run out; returns how many had."""
    at = stamp(unit.now)
    writer = feed.Writer(unit)
    moved: list[tuple[PersonConsent, Life, int]] = []
    for name in names:
        row = unit.session.get(PersonConsent, name, with_for_update=True)
        if row is None or row.state != State.ACTIVE or row.valid_until > at:
            continue  # withdrawn or given anew a moment ago
        body = person.expiry(consent_id=name, person=row.person, enterprise=row.enterprise, at=at)
        life = apply(_life(row), body)
        moved.append((row, life, feed.say(writer, control.key, body, name)))
    writer.close()
    for row, life, seq in moved:
        row.sequence, row.head_sha256, row.changed_at, row.ended_seq = life.sequence, life.head, life.at, seq
        unit.transition(row, str(life.state), "person_consent.expire", "its term is over", seq=seq)
        _tell(unit, row, seq)
    return len(moved)


def _tell(unit: Unit, row: PersonConsent, seq: int) -> None:
    """The enterprise and the bank learn that something changed, by role; who it is neither of them is told here."""
    requests.inform(unit, row.enterprise, f"person_{row.state}", row.consent_id)
    told = {name: getattr(row, name) for name in ("consent_id", "enterprise", "role", "purpose", "offered", "state")}
    consent_events.tell(unit, [(row.recipient, "person_consent", {**told, "seq": seq, "at": row.changed_at})])
