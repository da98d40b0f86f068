"""Tables and queries of releases, their reviews and the nodes' confirmations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base, Machine, SignedText, Stateful
from api.jobs.repository import Job
from api.paging import Order
from api.releases.states import OPEN, RELEASE


class Release(Stateful, Base):
    __tablename__ = "releases"
    AUDIT_KIND: ClassVar[str] = "release"
    MACHINE: ClassVar[Machine] = RELEASE

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(sa.ForeignKey("jobs.id"))
    sha256: Mapped[str]
    state: Mapped[str]
    requested_by: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    requested_at: Mapped[datetime]
    reason: Mapped[str]
    release_order: Mapped[dict[str, Any] | None] = mapped_column(SignedText)
    cause: Mapped[dict[str, Any] | None]
    approved_at: Mapped[datetime | None]
    released_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index("releases_job", "job_id", "requested_at"),
        sa.Index("releases_sha256", "sha256", "state"),
        sa.Index(
            "releases_one_open",
            "job_id",
            unique=True,
            postgresql_where=sa.text(
                "state in ('approved', 'partially_reviewed', 'pending', 'released', 'reviewed', 'submitted')"
            ),
        ),
    )


class ReleaseReview(Audited, Base):
    """One reviewer's word, given before seeing the other's. Append-only."""

    __tablename__ = "release_reviews"
    AUDIT_KIND: ClassVar[str] = "release_review"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("release_id", "account_id")

    release_id: Mapped[str] = mapped_column(sa.ForeignKey("releases.id"), primary_key=True)
    account_id: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"), primary_key=True)
    account_name: Mapped[str]
    decision: Mapped[str]
    comment: Mapped[str]
    at: Mapped[datetime]


class ReleaseConfirmation(Audited, Base):
    """A node says that it has, or could not, put the released file in place. Append-only."""

    __tablename__ = "release_confirmations"
    AUDIT_KIND: ClassVar[str] = "release_confirmation"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("release_id", "node")

    release_id: Mapped[str] = mapped_column(sa.ForeignKey("releases.id"), primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str]
    bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    code: Mapped[str | None]
    message: Mapped[str | None]
    message_zh: Mapped[str | None]
    at: Mapped[datetime]


def release(session: Session, release_id: str) -> Release | None:
    return session.get(Release, release_id)


def locked(session: Session, release_id: str) -> Release | None:
    return session.get(Release, release_id, with_for_update=True)


def newest_of_job(session: Session, job_id: str) -> Release | None:
    return session.scalar(
        sa.select(Release).where(Release.job_id == job_id).order_by(Release.requested_at.desc()).limit(1)
    )


def newest_by_job() -> sa.Subquery:
    """The newest release of each job: id, job_id."""
    return (
        sa.select(Release.id, Release.job_id)
        .distinct(Release.job_id)
        .order_by(Release.job_id, Release.requested_at.desc())
        .subquery()
    )


def open_of_job(session: Session, job_id: str) -> Release | None:
    return session.scalar(sa.select(Release).where(Release.job_id == job_id, Release.state.in_(OPEN)))


def served(session: Session, sha256: str | None, job_id: str | None) -> Release | None:
    """The release that serves the model, else the newest that did and was recalled."""
    query = sa.select(Release).where(Release.state.in_(("released", "recalled")))
    if sha256 is not None:
        query = query.where(Release.sha256 == sha256)
    if job_id is not None:
        query = query.where(Release.job_id == job_id)
    in_service = sa.case((Release.state == "released", 0), else_=1)
    return session.scalar(query.order_by(in_service, Release.released_at.desc()).limit(1))


NEWEST = Order("-requested_at", (Release.requested_at, Release.id), descending=True)


def search(institution: str | None, state: str | None) -> sa.Select[tuple[Release]]:
    """Releases of the jobs of an institution, or all of them."""
    query = sa.select(Release)
    if institution is not None:
        query = query.join(Job, Job.id == Release.job_id).where(sa.or_(Job.bank == institution, Job.lab == institution))
    return query if state is None else query.where(Release.state == state)


def reviews(session: Session, release_id: str) -> Sequence[ReleaseReview]:
    return session.scalars(
        sa.select(ReleaseReview).where(ReleaseReview.release_id == release_id).order_by(ReleaseReview.at)
    ).all()


def confirmations(session: Session, release_id: str) -> Sequence[ReleaseConfirmation]:
    return session.scalars(
        sa.select(ReleaseConfirmation)
        .where(ReleaseConfirmation.release_id == release_id)
        .order_by(ReleaseConfirmation.at)
    ).all()


def work(session: Session, node: str) -> list[dict[str, Any]]:
    """Signed release orders that name this node and that it has not answered."""
    answered = sa.select(ReleaseConfirmation.release_id).where(ReleaseConfirmation.node == node)
    query = (
        sa.select(Release.release_order)
        .join(Job, Job.id == Release.job_id)
        .where(
            Release.state == "approved",
            sa.or_(Job.bank_node == node, Job.lab_node == node),
            Release.id.not_in(answered),
        )
        .order_by(Release.approved_at, Release.id)
    )
    return [{"kind": "release", "order": order} for order in session.scalars(query)]
