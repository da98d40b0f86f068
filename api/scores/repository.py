"""Tables and queries of score permits. An answer stays only until it is fetched: scores are not kept here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Base, Machine, SignedText, Stateful
from api.scores.states import PERMIT


class ScorePermit(Stateful, Base):
    __tablename__ = "score_permits"
    AUDIT_KIND: ClassVar[str] = "score_permit"
    MACHINE: ClassVar[Machine] = PERMIT

    id: Mapped[str] = mapped_column(primary_key=True)
    usage_id: Mapped[str] = mapped_column(sa.ForeignKey("usage.id"), unique=True)
    release_id: Mapped[str] = mapped_column(sa.ForeignKey("releases.id"))
    release_sha256: Mapped[str]
    node: Mapped[str]
    state: Mapped[str]
    permit: Mapped[dict[str, Any]] = mapped_column(SignedText)
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (sa.Index("score_permits_node", "node", postgresql_where=sa.text("state = 'pending'")),)


class ScoreAnswer(Base):
    """A node's answer on its way to the caller: written once, read once, deleted. Not audited, not kept."""

    __tablename__ = "score_answers"

    permit_id: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[dict[str, Any]]
    at: Mapped[datetime]

    __table_args__ = ({"prefixes": ["UNLOGGED"]},)


def locked(session: Session, permit_id: str) -> ScorePermit | None:
    return session.get(ScorePermit, permit_id, with_for_update=True)


def take_answer(session: Session, permit_id: str) -> dict[str, Any] | None:
    return session.scalar(sa.delete(ScoreAnswer).where(ScoreAnswer.permit_id == permit_id).returning(ScoreAnswer.body))


def overdue(session: Session, now: datetime) -> Sequence[str]:
    return session.scalars(
        sa.select(ScorePermit.id).where(ScorePermit.state == "pending", ScorePermit.expires_at <= now)
    ).all()


def forget_answers(session: Session, before: datetime) -> None:
    session.execute(sa.delete(ScoreAnswer).where(ScoreAnswer.at < before))


def work(session: Session, node: str, now: datetime) -> list[dict[str, Any]]:
    """Permits that wait for this node and are still good."""
    query = (
        sa.select(ScorePermit.permit, ScorePermit.release_sha256)
        .where(ScorePermit.node == node, ScorePermit.state == "pending", ScorePermit.expires_at > now)
        .order_by(ScorePermit.issued_at, ScorePermit.id)
    )
    return [{"kind": "score", "permit": permit, "release_sha256": sha256} for permit, sha256 in session.execute(query)]
