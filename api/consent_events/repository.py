"""Tables and queries of events to institutions, how far they were taken, and webhooks with their deliveries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.consent_events.states import WEBHOOK
from api.db import Base, Machine, Stateful


class InstitutionEvent(Base):
    """One event to one institution: position 1, 2, 3, … without gaps. Append-only, a log itself."""

    __tablename__ = "institution_events"

    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"), primary_key=True)
    position: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str]
    body: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class InstitutionEventHead(Base):
    """The last position given to an institution's events, and the last one that it says it has."""

    __tablename__ = "institution_event_heads"

    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"), primary_key=True)
    position: Mapped[int] = mapped_column(sa.BigInteger)
    acked: Mapped[int] = mapped_column(sa.BigInteger, server_default=sa.text("0"))


class Webhook(Stateful, Base):
    """Where an institution's system takes events. Its secret is derived from its id and kept nowhere."""

    __tablename__ = "webhooks"
    AUDIT_KIND: ClassVar[str] = "webhook"
    MACHINE: ClassVar[Machine] = WEBHOOK

    id: Mapped[str] = mapped_column(primary_key=True)
    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    url: Mapped[str]
    state: Mapped[str]
    created_by: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    created_at: Mapped[datetime]


class WebhookCursor(Base):
    """How far a webhook's deliveries have come. Not audited: progress, not a decision."""

    __tablename__ = "webhook_cursors"

    webhook_id: Mapped[str] = mapped_column(sa.ForeignKey("webhooks.id"), primary_key=True)
    position: Mapped[int] = mapped_column(sa.BigInteger)
    attempts: Mapped[int]
    next_at: Mapped[datetime]
    last_fault: Mapped[str | None]


class DeadLetter(Base):
    """Events that a webhook did not take in all its attempts; they stay in the poll. Append-only."""

    __tablename__ = "webhook_dead_letters"

    webhook_id: Mapped[str] = mapped_column(sa.ForeignKey("webhooks.id"), primary_key=True)
    first: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    last: Mapped[int] = mapped_column(sa.BigInteger)
    attempts: Mapped[int]
    fault: Mapped[str]
    at: Mapped[datetime]


def append(session: Session, events: Sequence[tuple[str, str, dict[str, Any]]], at: datetime) -> set[str]:
    """Adds (institution, kind, body) in order, each with its institution's next position. Returns the institutions.

    An event is another tenant's row than the writer's, so a function of the database adds it (migration 0006). It
    holds heads in the order of their names: writers wait for each other and never for ever. One to an institution
    that is not on record is nobody's.
    """
    columns = [[event[0] for event in events], [event[1] for event in events], [json.dumps(e[2]) for e in events]]
    arrays = [sa.cast(column, ARRAY(sa.Text)) for column in columns]
    told = sa.func.tell_institutions(*arrays, sa.cast(at, sa.DateTime(timezone=True))).column_valued("institution")
    return set(session.scalars(sa.select(told)))


def events(session: Session, institution: str, after: int, limit: int) -> Sequence[InstitutionEvent]:
    query = sa.select(InstitutionEvent).where(
        InstitutionEvent.institution == institution, InstitutionEvent.position > after
    )
    return session.scalars(query.order_by(InstitutionEvent.position).limit(limit)).all()


def event_head(session: Session, institution: str, *, lock: bool = False) -> InstitutionEventHead | None:
    return session.get(InstitutionEventHead, institution, with_for_update=True if lock else None)


def webhook(session: Session, webhook_id: str) -> Webhook | None:
    return session.get(Webhook, webhook_id, with_for_update=True)


def webhooks(session: Session) -> Sequence[tuple[Webhook, WebhookCursor]]:
    query = (
        sa.select(Webhook, WebhookCursor)
        .join(WebhookCursor, WebhookCursor.webhook_id == Webhook.id)
        .order_by(Webhook.created_at, Webhook.id)
    )
    return [(row, cursor) for row, cursor in session.execute(query)]


def due(session: Session, now: datetime) -> Sequence[str]:
    """Webhooks that have something to deliver and may try now."""
    query = (
        sa.select(Webhook.id)
        .join(WebhookCursor, WebhookCursor.webhook_id == Webhook.id)
        .join(InstitutionEventHead, InstitutionEventHead.institution == Webhook.institution)
        .where(
            Webhook.state == "active",
            WebhookCursor.next_at <= now,
            InstitutionEventHead.position > WebhookCursor.position,
        )
        .order_by(WebhookCursor.next_at)
    )
    return session.scalars(query).all()


def cursor(session: Session, webhook_id: str) -> WebhookCursor | None:
    """The webhook's cursor, or None when another process delivers now."""
    return session.scalar(
        sa.select(WebhookCursor).where(WebhookCursor.webhook_id == webhook_id).with_for_update(skip_locked=True)
    )


def dead_letters(session: Session, webhook_id: str, limit: int) -> Sequence[DeadLetter]:
    query = sa.select(DeadLetter).where(DeadLetter.webhook_id == webhook_id)
    return session.scalars(query.order_by(DeadLetter.first.desc()).limit(limit)).all()
