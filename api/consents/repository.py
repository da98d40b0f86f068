"""Tables and queries of consents and their feed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.consents.states import CONSENT
from api.db import Base, Machine, Stateful
from consent.feed import START
from consent.lifecycle import Life, State
from consent.person import Given, need_of
from consent.policy import Facts


class Consent(Stateful, Base):
    """One consent or refusal and what became of it; the signed document is in the feed under `seq`."""

    __tablename__ = "consents"
    AUDIT_KIND: ClassVar[str] = "consent"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("consent_id",)
    MACHINE: ClassVar[Machine] = CONSENT

    consent_id: Mapped[str] = mapped_column(primary_key=True)
    enterprise: Mapped[str]
    recipient: Mapped[str]
    provider: Mapped[str]
    purpose: Mapped[str]
    valid_from: Mapped[str]  # texts of consent.times: fixed width, so their order is the order of time
    valid_until: Mapped[str]
    state: Mapped[str]
    public_key: Mapped[str]
    document_sha256: Mapped[str]
    seq: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey("feed.seq"), unique=True)
    withdrawn_at: Mapped[str | None]
    withdrawn_seq: Mapped[int | None] = mapped_column(sa.BigInteger, sa.ForeignKey("feed.seq"))
    terms: Mapped[dict[str, Any]]  # what the policy asks of a consent: modes, data, window_months, limits
    supersedes: Mapped[str | None]
    # the place of the last document in the consent's chain, and what the next one must name
    sequence: Mapped[int] = mapped_column(sa.BigInteger)
    head_sha256: Mapped[str]
    changed_at: Mapped[str]
    imported_at: Mapped[datetime]

    __table_args__ = (
        sa.Index("consents_subject", "enterprise", "recipient", "purpose", "seq"),
        sa.Index("consents_recipient", "recipient", "purpose", "state"),
        sa.Index("consents_term", "valid_until", postgresql_where=sa.text("state in ('active', 'paused')")),
    )


class FeedEvent(Base):
    """One event of the feed: seq 1, 2, 3, … without gaps. Append-only; `document` is the signed JSON text."""

    __tablename__ = "feed"

    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str]
    consent_id: Mapped[str]
    document: Mapped[str]
    chain: Mapped[bytes]  # consent.feed.link over all events up to this one
    recorded_at: Mapped[datetime]

    __table_args__ = (
        sa.CheckConstraint("seq > 0", name="feed_seq_positive"),
        sa.Index("feed_consent", "consent_id"),
    )


class FeedHead(Base):
    """The last sequence number, in one row: locking it puts writers of the feed in one order without gaps."""

    __tablename__ = "feed_head"

    one: Mapped[bool] = mapped_column(primary_key=True, default=True)
    seq: Mapped[int] = mapped_column(sa.BigInteger)
    chain: Mapped[bytes]

    __table_args__ = (sa.CheckConstraint("one", name="feed_head_one_row"),)


def needs(body: dict[str, Any]) -> dict[str, Any]:
    """What a consent asks of persons, as part of its `terms`; nothing for one that asks for nobody."""
    if not body["persons"]:
        return {}
    need = need_of(body)
    return {"persons": [list(one) for one in need.persons], "for_persons": dict(need.terms)}


def lock_head(session: Session) -> FeedHead:
    return session.scalars(sa.select(FeedHead).with_for_update()).one()


def head(session: Session) -> int:
    return session.scalars(sa.select(FeedHead.seq)).one()


def events(session: Session, after: int, limit: int) -> Sequence[sa.Row[int, str, str, bytes]]:
    query = sa.select(FeedEvent.seq, FeedEvent.kind, FeedEvent.document, FeedEvent.chain)
    return session.execute(query.where(FeedEvent.seq > after).order_by(FeedEvent.seq).limit(limit)).all()


def chain_at(session: Session, seq: int) -> bytes | None:
    """The chain after event `seq`; None where there is no such event."""
    if seq == 0:
        return START
    return session.scalar(sa.select(FeedEvent.chain).where(FeedEvent.seq == seq))


def over(session: Session, at: str, limit: int) -> Sequence[str]:
    """Consents that are in force or paused and whose term was over at `at`."""
    query = sa.select(Consent.consent_id).where(Consent.state.in_(("active", "paused")), Consent.valid_until <= at)
    return session.scalars(query.order_by(Consent.valid_until, Consent.consent_id).limit(limit)).all()


def locked(session: Session, consent_id: str) -> Consent | None:
    return session.get(Consent, consent_id, with_for_update=True)


def consent(session: Session, consent_id: str) -> Consent | None:
    return session.get(Consent, consent_id)


def known(session: Session, consent_ids: set[str]) -> dict[str, Consent]:
    rows = session.scalars(sa.select(Consent).where(Consent.consent_id.in_(consent_ids)))
    return {row.consent_id: row for row in rows}


def life(row: Consent) -> Life:
    return Life(row.consent_id, State(row.state), row.sequence, row.head_sha256, row.changed_at, row.valid_until)


# the refusal of a renewal leaves what stands: it is not the enterprise's word on the purpose
_WORD = sa.or_(Consent.state != "refused", Consent.supersedes.is_(None))

Subject = tuple[str, str, str]  # enterprise, recipient, purpose


def standing(session: Session, subjects: set[Subject]) -> dict[Subject, Consent]:
    """The newest word of each subject that has one."""
    key = sa.tuple_(Consent.enterprise, Consent.recipient, Consent.purpose)
    query = (
        sa.select(Consent)
        .distinct(Consent.enterprise, Consent.recipient, Consent.purpose)
        .where(key.in_(subjects), _WORD)
        .order_by(Consent.enterprise, Consent.recipient, Consent.purpose, Consent.seq.desc())
    )
    return {(row.enterprise, row.recipient, row.purpose): row for row in session.scalars(query)}


def last_no(session: Session, subject: Subject) -> Consent | None:
    """The newest refusal or withdrawal of a subject that nothing was given after: refusing a renewal is one too."""
    enterprise, recipient, purpose = subject
    found = session.scalar(
        sa.select(Consent)
        .where(Consent.enterprise == enterprise, Consent.recipient == recipient, Consent.purpose == purpose)
        .where(Consent.state.in_(("refused", "withdrawn")))
        .order_by(Consent.changed_at.desc(), Consent.seq.desc())
        .limit(1)
    )
    given = standing(session, {subject}).get(subject)
    if found is None or (given is not None and given.consent_id != found.consent_id and given.seq > found.seq):
        return None
    return found


def bodies(session: Session, consent_id: str) -> list[dict[str, Any]]:
    """The bodies of every document of one consent, in the order of the feed."""
    query = sa.select(FeedEvent.document).where(FeedEvent.consent_id == consent_id).order_by(FeedEvent.seq)
    return [json.loads(document)["body"] for document in session.scalars(query)]


def newest(
    session: Session, enterprise: str, recipient: str, provider: str, purpose: str, *, lock: bool = False
) -> Consent | None:
    """The newest consent or refusal for this recipient and purpose, as a node's book sees it.

    `lock` holds it against a withdrawal until the transaction ends.
    """
    query = (
        sa.select(Consent)
        .where(Consent.enterprise == enterprise, Consent.recipient == recipient, Consent.purpose == purpose, _WORD)
        .order_by(Consent.seq.desc())
        .limit(1)
    )
    found = session.scalar(query.with_for_update(read=True) if lock else query)
    return found if found is not None and found.provider == provider else None


def facts_of(
    row: Consent | None,
    at: str,
    *,
    purpose: str,
    use: str,
    institution: str | None,
    uses: tuple[int, int],
    persons: Given,
) -> Facts:
    """The facts that the policy scope `score` asks for; `uses` are those made in all and in the limit's period.

    `persons` is what `api.consents.persons.found` finds for the row.
    """
    if row is None:
        return Facts(at=at, institution=institution, purpose=purpose, use=use)
    limits = row.terms["limits"]
    return Facts(
        at=at,
        institution=institution,
        purpose=purpose,
        use=use,
        consent_state=row.state,
        persons=persons,
        withdrawn_at=row.withdrawn_at,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        consented_modes=frozenset(row.terms["modes"]),
        consented_data=row.terms["data"],
        consented_window_months=row.terms["window_months"],
        max_uses=limits["total"],
        uses=uses[0],
        max_uses_in_period=limits["count"],
        uses_in_period=uses[1],
    )


def covered_count(session: Session, recipient: str, provider: str, purpose: str, at: str) -> int:
    """How many enterprises' newest word is a live consent: an upper bound of any cohort."""
    newest_word = (
        sa.select(Consent.provider, Consent.state, Consent.valid_from, Consent.valid_until)
        .distinct(Consent.enterprise)
        .where(Consent.recipient == recipient, Consent.purpose == purpose, _WORD)
        .order_by(Consent.enterprise, Consent.seq.desc())
        .subquery()
    )
    query = sa.select(sa.func.count()).where(
        newest_word.c.state == "active",
        newest_word.c.provider == provider,
        newest_word.c.valid_from <= at,
        newest_word.c.valid_until > at,
    )
    return session.scalars(query).one()


def of_enterprise(session: Session, enterprise: str, recipient: str | None) -> Sequence[Consent]:
    query = sa.select(Consent).where(Consent.enterprise == enterprise).order_by(Consent.seq)
    if recipient is not None:
        query = query.where(Consent.recipient == recipient)
    return session.scalars(query.limit(1000)).all()


def counts(session: Session, recipient: str | None) -> Sequence[Any]:
    query = sa.select(Consent.recipient, Consent.purpose, Consent.state, sa.func.count().label("n")).group_by(
        Consent.recipient, Consent.purpose, Consent.state
    )
    if recipient is not None:
        query = query.where(Consent.recipient == recipient)
    return session.execute(query.order_by(Consent.recipient, Consent.purpose, Consent.state)).all()
