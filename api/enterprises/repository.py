"""Tables and queries of enterprises, their people, passkeys, one-time codes, ceremonies and sessions.

Codes, tokens and challenges are kept as hashes or for minutes only; a contact is stored for the operator and never
leaves in a log line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Base, Machine, Stateful
from api.enterprises.states import CERTIFICATION, CORRECTION, ENTERPRISE, PASSKEY, PERSON


class Enterprise(Stateful, Base):
    __tablename__ = "enterprises"
    AUDIT_KIND: ClassVar[str] = "enterprise"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("uscc",)
    MACHINE: ClassVar[Machine] = ENTERPRISE

    uscc: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    subject: Mapped[str]
    contact_name: Mapped[str]
    contact: Mapped[str]
    state: Mapped[str]
    created_at: Mapped[datetime]


class Person(Stateful, Base):
    """Somebody who acts for one enterprise. Every act names the person, never the enterprise alone."""

    __tablename__ = "enterprise_people"
    AUDIT_KIND: ClassVar[str] = "enterprise_person"
    MACHINE: ClassVar[Machine] = PERSON

    id: Mapped[str] = mapped_column(primary_key=True)
    enterprise: Mapped[str] = mapped_column(sa.ForeignKey("enterprises.uscc"))
    name: Mapped[str]
    rights: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    state: Mapped[str]
    created_at: Mapped[datetime]

    __table_args__ = (sa.Index("enterprise_people_enterprise", "enterprise", "created_at"),)


class Passkey(Stateful, Base):
    __tablename__ = "enterprise_passkeys"
    AUDIT_KIND: ClassVar[str] = "passkey"
    MACHINE: ClassVar[Machine] = PASSKEY

    id: Mapped[str] = mapped_column(primary_key=True)  # the credential id, base64url
    person: Mapped[str] = mapped_column(sa.ForeignKey("enterprise_people.id"))
    public_key: Mapped[str]
    label: Mapped[str]
    sign_count: Mapped[int] = mapped_column(sa.BigInteger)
    backed_up: Mapped[bool]
    state: Mapped[str]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (sa.Index("enterprise_passkeys_person", "person"),)


class Code(Base):
    """A one-time code, of which only a slow hash salted with the enterprise is kept."""

    __tablename__ = "enterprise_codes"

    id: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(sa.ForeignKey("enterprise_people.id"))
    use: Mapped[str]
    hash: Mapped[bytes]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (sa.Index("enterprise_codes_person", "person", "use"),)


class Attempt(Base):
    """One failed attempt, by what it was aimed at and where it came from."""

    __tablename__ = "enterprise_attempts"

    seq: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    subject: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (sa.Index("enterprise_attempts_subject", "subject", "at"),)


class Ceremony(Base):
    """A challenge that waits for its passkey: good once and for minutes. `body` is the document to be signed."""

    __tablename__ = "enterprise_ceremonies"

    id: Mapped[str] = mapped_column(primary_key=True)
    use: Mapped[str]
    session: Mapped[str | None]
    challenge: Mapped[bytes]
    body: Mapped[str | None]
    expires_at: Mapped[datetime]


class PortalSession(Base):
    """A signed-in browser. The token is kept as a hash; `kind` says what it may lead to."""

    __tablename__ = "enterprise_sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    person: Mapped[str] = mapped_column(sa.ForeignKey("enterprise_people.id"))
    passkey: Mapped[str | None]
    code: Mapped[str | None]
    agent: Mapped[str]
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (sa.Index("enterprise_sessions_person", "person", "ended_at"),)


class Certification(Stateful, Base):
    """One institution's word that it has checked one enterprise offline (R12)."""

    __tablename__ = "certifications"
    AUDIT_KIND: ClassVar[str] = "certification"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("institution", "enterprise")
    MACHINE: ClassVar[Machine] = CERTIFICATION

    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"), primary_key=True)
    enterprise: Mapped[str] = mapped_column(sa.ForeignKey("enterprises.uscc"), primary_key=True)
    certified_by: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    certified_at: Mapped[datetime]
    visited_on: Mapped[date]
    found: Mapped[str]
    state: Mapped[str]


class Correction(Stateful, Base):
    """A prompt that something on record of an enterprise is out of date, with its clock (R13)."""

    __tablename__ = "corrections"
    AUDIT_KIND: ClassVar[str] = "correction"
    MACHINE: ClassVar[Machine] = CORRECTION

    id: Mapped[str] = mapped_column(primary_key=True)
    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    enterprise: Mapped[str] = mapped_column(sa.ForeignKey("enterprises.uscc"))
    item: Mapped[str]
    text: Mapped[str]
    prompted_by: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    prompted_at: Mapped[datetime]
    due_at: Mapped[datetime]
    answer: Mapped[str | None]
    corrected_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    ended_at: Mapped[datetime | None]
    state: Mapped[str]

    __table_args__ = (
        sa.Index("corrections_due", "due_at", postgresql_where=sa.text("state = 'prompted'")),
        sa.Index("corrections_enterprise", "enterprise", "state"),
    )


# ---- enterprises and people


def enterprise(session: Session, uscc: str, *, lock: bool = False) -> Enterprise | None:
    return session.get(Enterprise, uscc, with_for_update=lock or None)


def known(session: Session, uscc: str) -> Any:
    """Name, subject and state of an enterprise on record, for whoever knows its code; None when it is not."""
    found = sa.func.enterprise_known(uscc).table_valued("name", "subject", "state")
    return session.execute(sa.select(found.c.name, found.c.subject, found.c.state)).one_or_none()


def enterprises(session: Session, after: str, limit: int) -> Sequence[Enterprise]:
    query = sa.select(Enterprise).where(Enterprise.uscc > after).order_by(Enterprise.uscc).limit(limit)
    return session.scalars(query).all()


def person(session: Session, person_id: str, *, lock: bool = False) -> Person | None:
    return session.get(Person, person_id, with_for_update=lock or None)


def people(session: Session, uscc: str) -> Sequence[Person]:
    return session.scalars(
        sa.select(Person).where(Person.enterprise == uscc, Person.state != "removed").order_by(Person.created_at)
    ).all()


def consents_in_person(session: Session, person_id: str) -> bool:
    """Whether somebody has a pseudonym to consent under (`api.enterprises.own`)."""
    query = sa.text("SELECT EXISTS (SELECT FROM consent_persons WHERE person = :person)")
    return bool(session.scalar(query, {"person": person_id}))


# ---- passkeys


def passkey(session: Session, credential_id: str, *, lock: bool = False) -> Passkey | None:
    return session.get(Passkey, credential_id, with_for_update=lock or None)


def passkeys(session: Session, person_ids: Sequence[str]) -> Sequence[Passkey]:
    query = sa.select(Passkey).where(Passkey.person.in_(person_ids), Passkey.state == "active")
    return session.scalars(query.order_by(Passkey.created_at)).all()


# ---- codes


def open_codes(session: Session, person_ids: Sequence[str], use: str, now: datetime) -> Sequence[Code]:
    return session.scalars(
        sa.select(Code).where(
            Code.person.in_(person_ids), Code.use == use, Code.used_at.is_(None), Code.expires_at > now
        )
    ).all()


def use_code(session: Session, code_id: str, now: datetime) -> bool:
    """Whether the code was still unused; it is used from now on."""
    query = sa.update(Code).where(Code.id == code_id, Code.used_at.is_(None), Code.expires_at > now)
    return bool(session.execute(query.values(used_at=now).returning(Code.id)).all())


def void_codes(session: Session, person_id: str, use: str, now: datetime) -> None:
    session.execute(
        sa.update(Code).where(Code.person == person_id, Code.use == use, Code.used_at.is_(None)).values(used_at=now)
    )


def attempts(session: Session, subjects: Sequence[str], since: datetime) -> dict[str, int]:
    query = sa.select(Attempt.subject, sa.func.count().label("n")).where(
        Attempt.subject.in_(subjects), Attempt.at > since
    )
    return {row.subject: row.n for row in session.execute(query.group_by(Attempt.subject))}


# ---- ceremonies


def take_ceremony(session: Session, ceremony_id: str, use: str, portal_session: str | None, now: datetime) -> Any:
    """The ceremony, which is gone with this; None when it is not there, not this session's or too old."""
    query = (
        sa.delete(Ceremony)
        .where(
            Ceremony.id == ceremony_id,
            Ceremony.use == use,
            Ceremony.session.is_not_distinct_from(portal_session),
            Ceremony.expires_at > now,
        )
        .returning(Ceremony.challenge, Ceremony.body)
    )
    return session.execute(query).one_or_none()


# ---- sessions


def session_by_token(session: Session, token_sha256: str) -> PortalSession | None:
    return session.scalar(sa.select(PortalSession).where(PortalSession.token_sha256 == token_sha256))


def touch(session: Session, session_id: str, now: datetime) -> None:
    session.execute(sa.update(PortalSession).where(PortalSession.id == session_id).values(seen_at=now))


def live_sessions(session: Session, person_ids: Sequence[str], now: datetime, seen_after: datetime) -> Sequence[Any]:
    query = (
        sa.select(PortalSession, Person.name)
        .join(Person, Person.id == PortalSession.person)
        .where(
            PortalSession.person.in_(person_ids),
            PortalSession.ended_at.is_(None),
            PortalSession.expires_at > now,
            PortalSession.seen_at > seen_after,
        )
    )
    return session.execute(query.order_by(PortalSession.seen_at.desc())).all()


def end_sessions(session: Session, now: datetime, *conditions: sa.ColumnElement[bool]) -> int:
    query = sa.update(PortalSession).where(PortalSession.ended_at.is_(None), *conditions)
    return len(session.execute(query.values(ended_at=now).returning(PortalSession.id)).all())


# ---- forgetting, where new rows are made: nothing that has run out piles up


def forget_ceremonies(session: Session, now: datetime) -> None:
    session.execute(sa.delete(Ceremony).where(Ceremony.expires_at <= now))


def forget_attempts(session: Session, before: datetime) -> None:
    session.execute(sa.delete(Attempt).where(Attempt.at <= before))


def forget_sessions(session: Session, person_id: str, before: datetime) -> None:
    session.execute(
        sa.delete(PortalSession).where(PortalSession.person == person_id, PortalSession.expires_at <= before)
    )
