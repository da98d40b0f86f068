"""Tables and queries of nodes and their heartbeats."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base


class Node(Audited, Base):
    """A node's own description. `datasets` is metadata only: names and kinds of columns, never a value."""

    __tablename__ = "nodes"
    AUDIT_KIND: ClassVar[str] = "node"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("name",)

    name: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"), unique=True)
    role: Mapped[str]
    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    relay: Mapped[str | None]
    zone_key: Mapped[str | None]
    datasets: Mapped[list[dict[str, Any]]]
    registered_at: Mapped[datetime]


class Heartbeat(Base):
    """When a node was last heard. Not audited: it records a presence, not a decision."""

    __tablename__ = "heartbeats"

    node: Mapped[str] = mapped_column(primary_key=True)
    heard_at: Mapped[datetime]


def node(session: Session, name: str) -> Node | None:
    return session.get(Node, name)


def nodes(session: Session) -> Sequence[Node]:
    return session.scalars(sa.select(Node).order_by(Node.name)).all()


def heard(session: Session, name: str, at: datetime) -> None:
    statement = insert(Heartbeat).values(node=name, heard_at=at)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Heartbeat.node],
            set_={"heard_at": sa.func.greatest(Heartbeat.heard_at, statement.excluded.heard_at)},
        )
    )


def heard_at(session: Session, names: set[str]) -> dict[str, datetime]:
    rows = session.execute(sa.select(Heartbeat.node, Heartbeat.heard_at).where(Heartbeat.node.in_(names)))
    return {row.node: row.heard_at for row in rows}


def addressed(session: Session, parties: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A ticket's parties as a later document names them: institution, node, and where the node's relay listens now."""
    out = {}
    for party, side in parties.items():
        known = node(session, side["node"])
        relay = known.relay if known is not None else side.get("relay")
        out[party] = {"institution": side["institution"], "node": side["node"], "relay": relay}
    return out
