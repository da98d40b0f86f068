"""Tables and queries of withdrawn shares and retraining notices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base, Machine, Stateful
from api.jobs.repository import Job
from api.recalls.states import NOTICE
from api.releases.repository import Release, newest_by_job
from api.releases.states import OPEN


class ReleaseShare(Audited, Base):
    """What share of the rows it admitted to a release's job a node says has withdrawn since. A number, never a list."""

    __tablename__ = "release_shares"
    AUDIT_KIND: ClassVar[str] = "release_share"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("release_id", "node")

    release_id: Mapped[str] = mapped_column(sa.ForeignKey("releases.id"), primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    share: Mapped[float]
    seq: Mapped[int] = mapped_column(sa.BigInteger)
    at: Mapped[datetime]

    __table_args__ = (sa.CheckConstraint("share >= 0 and share <= 1", name="release_shares_share"),)


class RetrainingNotice(Stateful, Base):
    """To the operator and the bank: part of a released model's cohort has withdrawn, train again without it."""

    __tablename__ = "retraining_notices"
    AUDIT_KIND: ClassVar[str] = "retraining_notice"
    MACHINE: ClassVar[Machine] = NOTICE

    id: Mapped[str] = mapped_column(primary_key=True)
    release_id: Mapped[str] = mapped_column(sa.ForeignKey("releases.id"))
    bank: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    state: Mapped[str]
    share: Mapped[float]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    retrained_by: Mapped[str | None] = mapped_column(sa.ForeignKey("jobs.id"))

    __table_args__ = (
        sa.Index("retraining_notices_bank", "bank", "state"),
        sa.Index("retraining_notices_one_open", "release_id", unique=True, postgresql_where=sa.text("state = 'open'")),
    )


def shares(session: Session, release_id: str) -> Sequence[ReleaseShare]:
    return session.scalars(
        sa.select(ReleaseShare).where(ReleaseShare.release_id == release_id).order_by(ReleaseShare.node)
    ).all()


def worst(session: Session, release_id: str) -> float | None:
    """The largest share that a node of this release reports: none of them alone can keep it down."""
    return session.scalar(sa.select(sa.func.max(ReleaseShare.share)).where(ReleaseShare.release_id == release_id))


def open_notice(session: Session, release_id: str) -> RetrainingNotice | None:
    return session.scalar(
        sa.select(RetrainingNotice)
        .where(RetrainingNotice.release_id == release_id, RetrainingNotice.state == "open")
        .with_for_update()
    )


def notice(session: Session, notice_id: str) -> RetrainingNotice | None:
    return session.get(RetrainingNotice, notice_id, with_for_update=True)


def notices(session: Session, bank: str | None, state: str | None, limit: int) -> Sequence[RetrainingNotice]:
    query = sa.select(RetrainingNotice).order_by(RetrainingNotice.opened_at.desc(), RetrainingNotice.id).limit(limit)
    if bank is not None:
        query = query.where(RetrainingNotice.bank == bank)
    if state is not None:
        query = query.where(RetrainingNotice.state == state)
    return session.scalars(query).all()


def releases_of_jobs(
    session: Session, job_ids: set[str], parties: tuple[str, str]
) -> Sequence[tuple[Job, Release | None]]:
    """Jobs of a bank and a lab with the newest release of each, oldest job first."""
    newest = newest_by_job()
    query = (
        sa.select(Job, Release)
        .join(newest, newest.c.job_id == Job.id, isouter=True)
        .join(Release, Release.id == newest.c.id, isouter=True)
        .where(Job.id.in_(job_ids), Job.bank == parties[0], Job.lab == parties[1])
        .order_by(Job.requested_at, Job.id)
    )
    return [(job, release) for job, release in session.execute(query)]


def of_node(session: Session, node: str) -> Sequence[Release]:
    """Releases asked for, in service or recalled, whose job this node took part in."""
    query = (
        sa.select(Release)
        .join(Job, Job.id == Release.job_id)
        .where(Release.state.in_((*OPEN, "recalled")), sa.or_(Job.bank_node == node, Job.lab_node == node))
        .order_by(Release.id)
    )
    return session.scalars(query).all()


def training_nodes(session: Session, bank: str, lab: str) -> set[str]:
    """The nodes of every job that a bank and a lab finished together."""
    query = sa.select(Job.bank_node, Job.lab_node).where(Job.bank == bank, Job.lab == lab, Job.state == "succeeded")
    return {node for row in session.execute(query.distinct()) for node in row}
