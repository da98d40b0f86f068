"""Tables and queries of usage records and of nodes' heads. All append-only: an outcome is a row of its own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base, Unit
from api.ledger import service as ledger
from consent.canonical import canonical
from consent.ledger import Kind
from consent.purposes import Mode, Purpose
from consent.times import stamp
from consent.usage import Body, usage


class Usage(Audited, Base):
    __tablename__ = "usage"
    AUDIT_KIND: ClassVar[str] = "usage"

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    account_id: Mapped[str]
    user: Mapped[str] = mapped_column("user_name")
    institution: Mapped[str]
    reason: Mapped[str]
    content: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[str]
    purpose: Mapped[str]
    consent_id: Mapped[str | None]
    job_id: Mapped[str | None]
    release_id: Mapped[str | None]
    permit_id: Mapped[str | None]
    document: Mapped[str]  # the record itself (consent.usage), as it stands in the ledger

    __table_args__ = (
        sa.Index("usage_object", "object_kind", "object_id", "at"),
        sa.Index("usage_institution", "institution", "at"),
    )


class UsageOutcome(Audited, Base):
    """How a recorded use ended: answered, refused by a node, failed or not answered in time."""

    __tablename__ = "usage_outcomes"
    AUDIT_KIND: ClassVar[str] = "usage_outcome"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("usage_id",)

    usage_id: Mapped[str] = mapped_column(sa.ForeignKey("usage.id"), primary_key=True)
    at: Mapped[datetime]
    outcome: Mapped[str]
    code: Mapped[str | None]


class NodeHead(Audited, Base):
    """The head of a node's own log before a job: how many uses it held, never whose. One for each job and node."""

    __tablename__ = "node_heads"
    AUDIT_KIND: ClassVar[str] = "node_head"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("job_id", "node")

    job_id: Mapped[str] = mapped_column(sa.ForeignKey("jobs.id"), primary_key=True)
    node: Mapped[str] = mapped_column(sa.ForeignKey("nodes.name"), primary_key=True)
    number: Mapped[int] = mapped_column(sa.BigInteger)  # of this node's heads, from 0
    log_id: Mapped[str]
    size: Mapped[int] = mapped_column(sa.BigInteger)
    document: Mapped[str]  # consent.node_log.head_document, as it stands in the ledger
    entered_at: Mapped[datetime]

    __table_args__ = (sa.Index("node_heads_order", "node", "number", unique=True),)


def last_head(session: Session, node: str) -> NodeHead | None:
    """The newest head of a node's log."""
    return session.scalar(sa.select(NodeHead).where(NodeHead.node == node).order_by(NodeHead.number.desc()).limit(1))


def record(
    unit: Unit,
    *,
    account_id: str,
    user: str,
    institution: str,
    reason: str,
    use: Mode,
    purpose: Purpose,
    object_kind: str,
    object_id: str,
    data: Mapping[str, Any],
    sha256: str | None = None,
    consent_id: str | None = None,
    job_id: str | None = None,
    release_id: str | None = None,
    permit_id: str | None = None,
) -> Usage:
    """Adds a usage record and its ledger entry to the caller's transaction: the use and both stand or fall together.

    The fields are those of `consent.usage.usage`. Raises MalformedDocument.
    """
    body = usage(
        usage_id=f"u-{secrets.token_hex(8)}", at=stamp(unit.now), user=user, institution=institution, reason=reason,
        use=use, purpose=purpose, object_kind=object_kind, object_id=object_id, data=data, sha256=sha256,
        consent_id=consent_id, job_id=job_id, release_id=release_id, permit_id=permit_id,
    )  # fmt: skip
    row = Usage(
        id=body["usage_id"], at=unit.now, account_id=account_id, user=user, institution=institution, reason=reason,
        content=_told(body), object_kind=object_kind, object_id=object_id, purpose=body["purpose"],
        consent_id=consent_id, job_id=job_id, release_id=release_id, permit_id=permit_id,
        document=canonical(body).decode(),
    )  # fmt: skip
    ledger.append(unit, Kind.DATA_USE, body, of=("usage", row.id))
    return unit.create(row, "usage.record", row.reason, purpose=row.purpose)


def _told(body: Body) -> str:
    """The content on one line, for a list."""
    content = body["content"]
    model = f" ({content['sha256']})" if content["sha256"] else ""
    return f"{content['use']}: {', '.join(content['data'])}{model}"


def counted(session: Session, consent_id: str, since: datetime) -> tuple[int, int]:
    """How many uses were made under a consent, in all and after `since`."""
    query = sa.select(sa.func.count(), sa.func.count().filter(Usage.at > since)).where(Usage.consent_id == consent_id)
    total, recent = session.execute(query).one()
    return total, recent


def outcome(unit: Unit, usage_id: str, outcome: str, code: str | None = None) -> None:
    row = UsageOutcome(usage_id=usage_id, at=unit.now, outcome=outcome, code=code)
    unit.create(row, "usage.outcome", outcome)


def of_job(session: Session, job_id: str) -> Usage | None:
    """The record of one job's use, made when the job was approved."""
    return session.scalar(sa.select(Usage).where(Usage.object_kind == "job", Usage.object_id == job_id))


def of_enterprise(session: Session, uscc: str, limit: int, offset: int) -> Sequence[Any]:
    """Every use of one enterprise's data with its outcome, newest first."""
    query = (
        sa.select(Usage, UsageOutcome.outcome, UsageOutcome.code)
        .join(UsageOutcome, UsageOutcome.usage_id == Usage.id, isouter=True)
        .where(Usage.object_kind == "enterprise", Usage.object_id == uscc)
        .order_by(Usage.at.desc(), Usage.id)
    )
    return session.execute(query.limit(limit).offset(offset)).all()


def in_order(session: Session, enterprise: str, after: tuple[datetime, str] | None, limit: int) -> list[Usage]:
    """The uses of one enterprise's data after a place, oldest first."""
    query = sa.select(Usage).where(Usage.object_kind == "enterprise", Usage.object_id == enterprise)
    if after is not None:
        query = query.where(sa.tuple_(Usage.at, Usage.id) > sa.tuple_(*map(sa.literal, after)))
    return list(session.scalars(query.order_by(Usage.at, Usage.id).limit(limit)))


def page(
    session: Session, enterprise: str | None, institution: str | None, before: datetime | None, limit: int
) -> Sequence[Any]:
    """Records with their outcomes, newest first."""
    query = (
        sa.select(Usage, UsageOutcome.outcome, UsageOutcome.code)
        .join(UsageOutcome, UsageOutcome.usage_id == Usage.id, isouter=True)
        .order_by(Usage.at.desc(), Usage.id)
        .limit(limit)
    )
    if enterprise is not None:
        query = query.where(Usage.object_kind == "enterprise", Usage.object_id == enterprise)
    if institution is not None:
        query = query.where(Usage.institution == institution)
    if before is not None:
        query = query.where(Usage.at < before)
    return session.execute(query).all()
