"""Tables and queries of clocks and of what was said of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base


class Clock(Audited, Base):
    """One deadline: who must act (`holder`), on what, until when. `next_at` is when the next word on it is due."""

    __tablename__ = "clocks"
    AUDIT_KIND: ClassVar[str] = "clock"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[str]
    holder: Mapped[str]
    enterprise: Mapped[str | None]
    started_at: Mapped[datetime]
    due_at: Mapped[datetime]
    next_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index(
            "clocks_one_running", "kind", "object_id", unique=True, postgresql_where=sa.text("stopped_at IS NULL")
        ),
        sa.Index("clocks_next", "next_at", postgresql_where=sa.text("stopped_at IS NULL")),
        sa.Index("clocks_holder", "holder", "due_at", "id", postgresql_where=sa.text("stopped_at IS NULL")),
        sa.Index("clocks_due", "due_at", "id", postgresql_where=sa.text("stopped_at IS NULL")),
        sa.Index("clocks_object", "object_id"),
    )


class ClockWord(Base):
    """What was said of a clock, each mark once. Append-only: a log itself."""

    __tablename__ = "clock_words"

    clock: Mapped[str] = mapped_column(sa.ForeignKey("clocks.id"), primary_key=True)
    mark: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    at: Mapped[datetime]


def running(session: Session, kind: str | None, object_id: str) -> Sequence[Clock]:
    """The running clocks of an object, held against every other change."""
    query = sa.select(Clock).where(Clock.object_id == object_id, Clock.stopped_at.is_(None)).with_for_update()
    if kind is not None:
        query = query.where(Clock.kind == kind)
    return session.scalars(query.order_by(Clock.id)).all()


def of_object(session: Session, object_id: str) -> Sequence[Clock]:
    return session.scalars(sa.select(Clock).where(Clock.object_id == object_id).order_by(Clock.started_at)).all()


def speaking(session: Session, now: datetime, limit: int) -> Sequence[Clock]:
    """Clocks of which something is to be said now; those that another process has in hand are left to it."""
    query = sa.select(Clock).where(Clock.stopped_at.is_(None), Clock.next_at <= now).order_by(Clock.next_at)
    return session.scalars(query.limit(limit).with_for_update(skip_locked=True)).all()


def say(session: Session, clock: Clock, mark: str, at: datetime) -> bool:
    """Whether it had not been said yet."""
    values = {"clock": clock.id, "mark": mark, "holder": clock.holder, "at": at}
    query = insert(ClockWord).values(values).on_conflict_do_nothing().returning(ClockWord.mark)
    return session.scalar(query) is not None


def words(session: Session, clock_id: str) -> Sequence[ClockWord]:
    return session.scalars(sa.select(ClockWord).where(ClockWord.clock == clock_id).order_by(ClockWord.at)).all()


def query(holder: str | None, overdue_at: datetime | None) -> sa.Select[tuple[Clock]]:
    found = sa.select(Clock).where(Clock.stopped_at.is_(None))
    if holder is not None:
        found = found.where(Clock.holder == holder)
    if overdue_at is not None:
        found = found.where(Clock.due_at <= overdue_at)
    return found


def overdue_counts(session: Session, now: datetime) -> Sequence[sa.Row[tuple[str, str, int, datetime]]]:
    """(holder, kind, how many are overdue, since when the longest)."""
    query = sa.select(Clock.holder, Clock.kind, sa.func.count().label("n"), sa.func.min(Clock.due_at).label("since"))
    query = query.where(Clock.stopped_at.is_(None), Clock.due_at <= now)
    return session.execute(query.group_by(Clock.holder, Clock.kind).order_by(Clock.holder, Clock.kind)).all()
