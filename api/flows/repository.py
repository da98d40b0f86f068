"""The table of workers: the processes that run flows, and when each was last heard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Base


class Worker(Base):
    """Not audited: it records a presence, not a decision."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    heard_at: Mapped[datetime]


def heard(session: Session, name: str, at: datetime) -> None:
    statement = insert(Worker).values(name=name, heard_at=at)
    session.execute(
        statement.on_conflict_do_update(index_elements=[Worker.name], set_={"heard_at": statement.excluded.heard_at})
    )


def silent_since(session: Session, moment: datetime) -> Sequence[str]:
    return session.scalars(sa.select(Worker.name).where(Worker.heard_at < moment)).all()
