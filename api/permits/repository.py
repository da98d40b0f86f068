"""Tables and queries of permits. What is asked and what is answered stay only until they are fetched: neither is kept.

Owns a permit of every kind; what a kind may hold is its asker's to say (`api.scores`, `api.data`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Base, Machine, SignedText, Stateful
from api.permits.states import PERMIT


class Kind(StrEnum):
    SCORE = "score"  # answered by the bank's node, which asks the lab's
    DATA = "data"  # answered by the lab's node


class Permit(Stateful, Base):
    """One use, signed for one node. A score names its release, data name none."""

    __tablename__ = "permits"
    AUDIT_KIND: ClassVar[str] = "permit"
    MACHINE: ClassVar[Machine] = PERMIT

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    usage_id: Mapped[str] = mapped_column(sa.ForeignKey("usage.id"), unique=True)
    release_id: Mapped[str | None] = mapped_column(sa.ForeignKey("releases.id"))
    release_sha256: Mapped[str | None]
    node: Mapped[str]
    state: Mapped[str]
    permit: Mapped[dict[str, Any]] = mapped_column(SignedText)
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (
        sa.CheckConstraint("kind in ('score', 'data')", name="permits_kind"),
        sa.CheckConstraint("(kind = 'score') = (release_id IS NOT NULL)", name="permits_release"),
        sa.CheckConstraint("(release_id IS NULL) = (release_sha256 IS NULL)", name="permits_release_sha256"),
        sa.Index("permits_node", "node", postgresql_where=sa.text("state = 'pending'")),
    )


class Transit(Base):
    """What is on its way: to the node what it is asked beside its permit, to the caller the answer. Read once, deleted.

    Not audited, not logged, in no backup.
    """

    __tablename__ = "permit_transit"

    permit_id: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[dict[str, Any] | None]
    answer: Mapped[dict[str, Any] | None]
    at: Mapped[datetime]

    __table_args__ = ({"prefixes": ["UNLOGGED"]},)


def locked(session: Session, permit_id: str) -> Permit | None:
    return session.get(Permit, permit_id, with_for_update=True)


def put_answer(session: Session, permit_id: str, answer: dict[str, Any], at: datetime) -> None:
    """The question has been answered: it goes as the answer comes."""
    row = session.get(Transit, permit_id)
    if row is None:
        session.add(Transit(permit_id=permit_id, answer=answer, at=at))
    else:
        row.request, row.answer, row.at = None, answer, at


def take_answer(session: Session, permit_id: str) -> dict[str, Any] | None:
    return session.scalar(
        sa.delete(Transit).where(Transit.permit_id == permit_id, Transit.answer.is_not(None)).returning(Transit.answer)
    )


def drop(session: Session, permit_id: str) -> None:
    session.execute(sa.delete(Transit).where(Transit.permit_id == permit_id))


def overdue(session: Session, now: datetime) -> Sequence[str]:
    return session.scalars(sa.select(Permit.id).where(Permit.state == "pending", Permit.expires_at <= now)).all()


def forget(session: Session, before: datetime) -> None:
    session.execute(sa.delete(Transit).where(Transit.at < before))


def work(session: Session, node: str, now: datetime) -> list[dict[str, Any]]:
    """Permits that wait for this node and are still good, each with what is asked beside it."""
    query = (
        sa.select(Permit.kind, Permit.permit, Permit.release_sha256, Transit.request)
        .outerjoin(Transit, Transit.permit_id == Permit.id)
        .where(Permit.node == node, Permit.state == "pending", Permit.expires_at > now)
        .order_by(Permit.issued_at, Permit.id)
    )
    return [_item(*row) for row in session.execute(query)]


def _item(
    kind: str, permit: dict[str, Any], release_sha256: str | None, request: dict[str, Any] | None
) -> dict[str, Any]:
    if kind == Kind.SCORE:
        return {"kind": kind, "permit": permit, "release_sha256": release_sha256}
    return {"kind": kind, "permit": permit, "request": request}
