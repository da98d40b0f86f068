"""Tables and queries of jobs, their parties, approvals, events and reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base, Machine, SignedText, Stateful
from api.jobs.states import JOB, PARTY
from api.paging import Order


class Job(Stateful, Base):
    """One job. `proposal` is what was asked, `ticket` what was signed; neither names an enterprise."""

    __tablename__ = "jobs"
    AUDIT_KIND: ClassVar[str] = "job"
    MACHINE: ClassVar[Machine] = JOB

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    dataset: Mapped[str]
    bank: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    bank_node: Mapped[str]
    lab: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    lab_node: Mapped[str]
    mode: Mapped[str]
    recipe: Mapped[dict[str, Any]]
    proposal: Mapped[dict[str, Any]]
    state: Mapped[str]
    cause: Mapped[dict[str, Any] | None]
    retry_of: Mapped[str | None] = mapped_column(sa.ForeignKey("jobs.id"))
    requested_by: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    requested_at: Mapped[datetime]
    ticket: Mapped[dict[str, Any] | None] = mapped_column(SignedText)
    ticket_sha256: Mapped[str | None]
    approved_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    settle_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index("jobs_requested", "requested_at"),
        sa.Index("jobs_open", "state", postgresql_where=sa.text("state in ('approved', 'running')")),
    )


class JobParty(Stateful, Base):
    """One side of a job, as its node reports it."""

    __tablename__ = "job_parties"
    AUDIT_KIND: ClassVar[str] = "job_party"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("job_id", "party")
    MACHINE: ClassVar[Machine] = PARTY

    job_id: Mapped[str] = mapped_column(sa.ForeignKey("jobs.id"), primary_key=True)
    party: Mapped[str] = mapped_column(primary_key=True)
    institution: Mapped[str]
    node: Mapped[str]
    state: Mapped[str]
    code: Mapped[str | None]
    message: Mapped[str | None]
    message_zh: Mapped[str | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (sa.Index("job_parties_node", "node", "state"),)


class JobApproval(Audited, Base):
    """One approval or rejection, by one person in one capacity. Append-only."""

    __tablename__ = "job_approvals"
    AUDIT_KIND: ClassVar[str] = "job_approval"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("job_id", "capacity")

    job_id: Mapped[str] = mapped_column(sa.ForeignKey("jobs.id"), primary_key=True)
    capacity: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    account_name: Mapped[str]
    decision: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (sa.UniqueConstraint("job_id", "account_id", name="job_approvals_one_person_one_word"),)


class JobEvent(Base):
    """What was said about a job, in one order per job. Append-only; it is a log itself, so it has no audit rows."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(sa.ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    party: Mapped[str | None]
    node: Mapped[str | None]
    kind: Mapped[str]
    body: Mapped[dict[str, Any]]


class JobTemplate(Audited, Base):
    """Part of a proposal that is used again: a bank's own, or the platform's for everybody."""

    __tablename__ = "job_templates"
    AUDIT_KIND: ClassVar[str] = "job_template"

    id: Mapped[str] = mapped_column(primary_key=True)
    institution: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    title: Mapped[str]
    title_zh: Mapped[str]
    proposal: Mapped[dict[str, Any]]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class JobReport(Audited, Base):
    """The aggregate report as the lab's node sent it. Append-only."""

    __tablename__ = "job_reports"
    AUDIT_KIND: ClassVar[str] = "job_report"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: Mapped[str] = mapped_column(sa.ForeignKey("jobs.id"), primary_key=True)
    report: Mapped[str]
    model_sha256: Mapped[str]
    node: Mapped[str]
    received_at: Mapped[datetime]


def job(session: Session, job_id: str) -> Job | None:
    return session.get(Job, job_id)


def locked(session: Session, job_id: str) -> Job | None:
    """The job, held against every other change of it until the transaction ends."""
    return session.get(Job, job_id, with_for_update=True)


NEWEST = Order("-requested_at", (Job.requested_at, Job.id), descending=True)


def search(institution: str | None, state: str | None) -> sa.Select[tuple[Job]]:
    """Jobs of an institution, or all of them."""
    query = sa.select(Job)
    if institution is not None:
        query = query.where(sa.or_(Job.bank == institution, Job.lab == institution))
    return query if state is None else query.where(Job.state == state)


def open_jobs(session: Session) -> Sequence[str]:
    return session.scalars(sa.select(Job.id).where(Job.state.in_(("approved", "running")))).all()


def open_of_institution(session: Session, institution: str) -> Sequence[str]:
    """Jobs of a bank or lab that have not ended, proposals included."""
    query = sa.select(Job.id).where(
        sa.or_(Job.bank == institution, Job.lab == institution), Job.state.not_in(JOB.final)
    )
    return session.scalars(query.order_by(Job.id)).all()


def parties(session: Session, job_id: str) -> dict[str, JobParty]:
    rows = session.scalars(sa.select(JobParty).where(JobParty.job_id == job_id).order_by(JobParty.party))
    return {row.party: row for row in rows}


def busy_nodes(session: Session, names: set[str]) -> set[str]:
    """Those of the named nodes that run some job now."""
    query = (
        sa.select(JobParty.node)
        .join(Job, Job.id == JobParty.job_id)
        .where(JobParty.node.in_(names), JobParty.state == "running", Job.state == "running")
    )
    return set(session.scalars(query))


def approvals(session: Session, job_id: str) -> Sequence[JobApproval]:
    return session.scalars(sa.select(JobApproval).where(JobApproval.job_id == job_id).order_by(JobApproval.at)).all()


def last_seq(session: Session, job_id: str) -> int:
    return session.scalars(
        sa.select(sa.func.coalesce(sa.func.max(JobEvent.seq), 0)).where(JobEvent.job_id == job_id)
    ).one()


def events(session: Session, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
    return session.scalars(
        sa.select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after).order_by(JobEvent.seq).limit(limit)
    ).all()


def phase_events(session: Session, job_id: str) -> Sequence[JobEvent]:
    return session.scalars(
        sa.select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.kind == "phase").order_by(JobEvent.seq)
    ).all()


def last_progress(session: Session, job_id: str) -> Sequence[JobEvent]:
    """The newest progress event of each party."""
    return session.scalars(
        sa.select(JobEvent)
        .distinct(JobEvent.party)
        .where(JobEvent.job_id == job_id, JobEvent.kind == "progress")
        .order_by(JobEvent.party, JobEvent.seq.desc())
    ).all()


def report(session: Session, job_id: str) -> JobReport | None:
    return session.get(JobReport, job_id)


def cancellations(session: Session, node: str) -> list[dict[str, Any]]:
    """Jobs that are over while this node's part in them has not ended, with why they ended."""
    query = (
        sa.select(Job.id, Job.cause)
        .join(JobParty, JobParty.job_id == Job.id)
        .where(JobParty.node == node, JobParty.state.in_(("pending", "running")), Job.state.in_(JOB.final))
        .order_by(Job.id)
    )
    return [
        {
            "kind": "cancel",
            "job_id": row.id,
            **{name: (row.cause or {}).get(name) for name in ("code", "message", "message_zh")},
        }
        for row in session.execute(query)
    ]


def waiting(session: Session, node: str) -> list[dict[str, Any]]:
    """Tickets of jobs that this node has not begun, oldest first."""
    query = (
        sa.select(Job.ticket)
        .join(JobParty, JobParty.job_id == Job.id)
        .where(JobParty.node == node, JobParty.state == "pending", Job.state.in_(("approved", "running")))
        .order_by(Job.approved_at, Job.id)
    )
    return [{"kind": "job", "ticket": ticket} for ticket in session.scalars(query)]


def states_in_project(session: Session, project_id: str) -> dict[str, int]:
    query = sa.select(Job.state, sa.func.count()).where(Job.project == project_id).group_by(Job.state)
    return dict(session.execute(query).tuples().all())


def template(session: Session, template_id: str) -> JobTemplate | None:
    return session.get(JobTemplate, template_id)


def templates(session: Session, institutions: Sequence[str] | None) -> Sequence[JobTemplate]:
    """Templates in use of some institutions, or of all."""
    query = sa.select(JobTemplate).where(JobTemplate.retired_at.is_(None)).order_by(JobTemplate.id)
    return session.scalars(
        query if institutions is None else query.where(JobTemplate.institution.in_(institutions))
    ).all()
