"""Tables and queries of the ledger. All of them are append-only; the store of the log itself is `api.ledger.store`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base

# advisory locks: the first number of the pair is the class, the second one the log's
APPEND_LOCK = 7_220_116
HEADS_LOCK = 7_220_117


class Log(Base):
    """The log of this database: there is one."""

    __tablename__ = "ledger_log"

    log_id: Mapped[str] = mapped_column(primary_key=True)
    hash: Mapped[str]
    opened_at: Mapped[datetime]

    __table_args__ = (
        sa.CheckConstraint("hash in ('sha256', 'sm3')", name="ledger_log_hash"),
        sa.Index("ledger_log_one", sa.text("(true)"), unique=True),
    )


class EntryRow(Base):
    """One entry in its canonical bytes."""

    __tablename__ = "ledger_entry"

    log_id: Mapped[str] = mapped_column(sa.ForeignKey("ledger_log.log_id"), primary_key=True)
    position: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    entry: Mapped[bytes]


class NodeRow(Base):
    """The root of one complete subtree: level k covers 2^k entries."""

    __tablename__ = "ledger_node"

    log_id: Mapped[str] = mapped_column(primary_key=True)
    level: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True)
    position: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    hash: Mapped[bytes]


class HeadRow(Base):
    """One signed head, in its canonical bytes."""

    __tablename__ = "ledger_head"

    log_id: Mapped[str] = mapped_column(sa.ForeignKey("ledger_log.log_id"), primary_key=True)
    number: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    size: Mapped[int] = mapped_column(sa.BigInteger)
    head: Mapped[bytes]

    __table_args__ = (sa.Index("ledger_head_size", "log_id", "size"),)


class WitnessRow(Audited, Base):
    """A witness, by the name that it signs in, with its public key."""

    __tablename__ = "ledger_witness"
    AUDIT_KIND: ClassVar[str] = "ledger_witness"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("name",)

    name: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"), unique=True)
    public_key: Mapped[str]
    registered_at: Mapped[datetime]


class CosignedRow(Base):
    """A head with one witness's signature besides."""

    __tablename__ = "ledger_cosigned"

    log_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    witness: Mapped[str] = mapped_column(sa.ForeignKey("ledger_witness.name"), primary_key=True)
    head: Mapped[bytes]

    __table_args__ = (sa.ForeignKeyConstraint(["log_id", "number"], ["ledger_head.log_id", "ledger_head.number"]),)


class Subject(Base):
    """Private: the salt of an entry, whose document it speaks of, and the document where no other row keeps it."""

    __tablename__ = "ledger_subject"

    log_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    object_kind: Mapped[str]
    object_id: Mapped[str]
    salt: Mapped[bytes]
    document: Mapped[str | None]

    __table_args__ = (sa.Index("ledger_subject_object", "object_kind", "object_id", unique=True),)


ADD_SUBJECTS = sa.text(
    "INSERT INTO ledger_subject (log_id, position, object_kind, object_id, salt, document) "
    "SELECT :log, k.position, k.kind, k.id, k.salt, k.document FROM unnest(CAST(:positions AS bigint[]), "
    "CAST(:kinds AS text[]), CAST(:ids AS text[]), CAST(:salts AS bytea[]), CAST(:documents AS text[])) "
    "AS k(position, kind, id, salt, document)"
)


def log(session: Session | sa.Connection) -> sa.Row[tuple[str, str]] | None:
    """(log_id, hash) of the log."""
    return session.execute(sa.select(Log.log_id, Log.hash)).one_or_none()


def lock_end(session: Session, log_id: str) -> None:
    """Excludes every other writer of the log until the transaction ends."""
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(APPEND_LOCK, sa.func.hashtext(log_id))))


def try_heads(session: Session, log_id: str) -> bool:
    """Whether this transaction is the one that signs heads now."""
    return bool(session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(HEADS_LOCK, sa.func.hashtext(log_id)))))


def lock_heads(session: Session, log_id: str) -> None:
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(HEADS_LOCK, sa.func.hashtext(log_id))))


def size(session: Session, log_id: str) -> int:
    last = sa.select(sa.func.max(EntryRow.position)).where(EntryRow.log_id == log_id)
    found = session.scalar(last)
    return 0 if found is None else found + 1


def subject(session: Session, object_kind: str, object_id: str) -> Subject | None:
    return session.scalar(sa.select(Subject).where(Subject.object_kind == object_kind, Subject.object_id == object_id))


def subjects(session: Session, object_kind: str, object_ids: Sequence[str]) -> dict[str, Subject]:
    rows = session.scalars(
        sa.select(Subject).where(Subject.object_kind == object_kind, Subject.object_id.in_(object_ids))
    )
    return {row.object_id: row for row in rows}


def newest_head(session: Session, log_id: str) -> HeadRow | None:
    return session.scalar(sa.select(HeadRow).where(HeadRow.log_id == log_id).order_by(HeadRow.number.desc()).limit(1))


def head_of_size(session: Session, log_id: str, wanted: int) -> HeadRow | None:
    """The newest head over exactly that many entries."""
    query = sa.select(HeadRow).where(HeadRow.log_id == log_id, HeadRow.size == wanted)
    return session.scalar(query.order_by(HeadRow.number.desc()).limit(1))


def head_with(session: Session, log_id: str, wanted: int, raw: bytes) -> HeadRow | None:
    """The head with exactly these bytes."""
    query = sa.select(HeadRow).where(HeadRow.log_id == log_id, HeadRow.size == wanted, HeadRow.head == raw)
    return session.scalar(query.limit(1))


def heads(session: Session, log_id: str, after: int, limit: int) -> Sequence[HeadRow]:
    query = sa.select(HeadRow).where(HeadRow.log_id == log_id, HeadRow.number > after)
    return session.scalars(query.order_by(HeadRow.number).limit(limit)).all()


def cosigned(session: Session, log_id: str, least_size: int) -> bytes | None:
    """The newest cosigned head over at least that many entries."""
    query = (
        sa.select(CosignedRow.head)
        .join(HeadRow, sa.and_(HeadRow.log_id == CosignedRow.log_id, HeadRow.number == CosignedRow.number))
        .where(CosignedRow.log_id == log_id, HeadRow.size >= least_size)
        .order_by(CosignedRow.number.desc(), CosignedRow.witness)
        .limit(1)
    )
    return session.scalar(query)


def witness(session: Session, name: str) -> WitnessRow | None:
    return session.get(WitnessRow, name)


def witnesses(session: Session) -> Sequence[Any]:
    """(witness, number, size of the newest head it cosigned)."""
    newest = (
        sa.select(CosignedRow.witness, sa.func.max(CosignedRow.number).label("number"))
        .group_by(CosignedRow.witness)
        .subquery()
    )
    query = (
        sa.select(WitnessRow, HeadRow.number, HeadRow.size)
        .join(newest, newest.c.witness == WitnessRow.name, isouter=True)
        .join(HeadRow, HeadRow.number == newest.c.number, isouter=True)
        .order_by(WitnessRow.name)
    )
    return session.execute(query).all()
