"""The table of period reports, and the counts that one is made of: the trail of what happened within a period."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.consents.repository import Consent
from api.db import Audited, AuditRow, Base
from api.institutions.repository import Institution
from api.jobs.repository import Job
from api.releases.repository import Release
from api.usage.repository import Usage

PLATFORM = "platform"


class PeriodReport(Audited, Base):
    """One month for one reader: `platform` is the report upward, an institution's name the one to it. Append-only."""

    __tablename__ = "period_reports"
    AUDIT_KIND: ClassVar[str] = "period_report"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("month", "audience")

    month: Mapped[str] = mapped_column(primary_key=True)  # 2026-10
    audience: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[dict[str, Any]]
    sha256: Mapped[str]
    made_at: Mapped[datetime]


def report(session: Session, month: str, audience: str) -> PeriodReport | None:
    return session.get(PeriodReport, (month, audience))


def reports(session: Session, audience: str | None) -> Sequence[PeriodReport]:
    query = sa.select(PeriodReport).order_by(PeriodReport.month.desc(), PeriodReport.audience)
    if audience is not None:
        query = query.where(PeriodReport.audience == audience)
    return session.scalars(query).all()


def audiences(session: Session, before: datetime) -> list[str]:
    """The platform, and every institution that was on record in the period."""
    query = sa.select(Institution.id).where(Institution.kind != "platform", Institution.created_at < before)
    return [PLATFORM, *session.scalars(query.order_by(Institution.id))]


Row = tuple[str, str, str, int]  # section, of what, measure, number


def rows(session: Session, audience: str, start: datetime, end: datetime) -> list[Row]:
    """What happened within [start, end) that concerns the reader, in numbers."""
    mine = None if audience == PLATFORM else audience
    return [
        *_consents(session, mine, start, end),
        *_usage(session, mine, start, end),
        *_jobs(session, mine, start, end),
        *_releases(session, mine, start, end),
        *_acts(session, mine, start, end),
    ]


def _counted(session: Session, section: str, query: sa.Select[Any]) -> Iterable[Row]:
    for row in session.execute(query):
        *names, number = row
        yield section, " / ".join(str(name) for name in names[:-1]), str(names[-1]), int(number)


def _consents(session: Session, mine: str | None, start: datetime, end: datetime) -> Iterable[Row]:
    query = (
        sa.select(Consent.purpose, Consent.state, sa.func.count())
        .where(Consent.imported_at >= start, Consent.imported_at < end)
        .group_by(Consent.purpose, Consent.state)
        .order_by(Consent.purpose, Consent.state)
    )
    if mine is not None:
        query = query.where(sa.or_(Consent.recipient == mine, Consent.provider == mine))
    return _counted(session, "consents", query)


def _usage(session: Session, mine: str | None, start: datetime, end: datetime) -> Iterable[Row]:
    query = (
        sa.select(Usage.institution, Usage.purpose, Usage.content, sa.func.count())
        .where(Usage.at >= start, Usage.at < end)
        .group_by(Usage.institution, Usage.purpose, Usage.content)
        .order_by(Usage.institution, Usage.purpose, Usage.content)
    )
    if mine is not None:
        provided = sa.select(Consent.consent_id).where(Consent.provider == mine)
        query = query.where(sa.or_(Usage.institution == mine, Usage.consent_id.in_(provided)))
    return _counted(session, "usage", query)


def _jobs(session: Session, mine: str | None, start: datetime, end: datetime) -> Iterable[Row]:
    query = (
        sa.select(Job.bank, Job.mode, Job.state, sa.func.count())
        .where(Job.requested_at >= start, Job.requested_at < end)
        .group_by(Job.bank, Job.mode, Job.state)
        .order_by(Job.bank, Job.mode, Job.state)
    )
    if mine is not None:
        query = query.where(sa.or_(Job.bank == mine, Job.lab == mine))
    return _counted(session, "jobs", query)


def _releases(session: Session, mine: str | None, start: datetime, end: datetime) -> Iterable[Row]:
    query = (
        sa.select(Job.bank, Release.state, sa.func.count())
        .join(Job, Job.id == Release.job_id)
        .where(Release.requested_at >= start, Release.requested_at < end)
        .group_by(Job.bank, Release.state)
        .order_by(Job.bank, Release.state)
    )
    if mine is not None:
        query = query.where(sa.or_(Job.bank == mine, Job.lab == mine))
    return _counted(session, "releases", query)


def _acts(session: Session, mine: str | None, start: datetime, end: datetime) -> Iterable[Row]:
    """Every kind of act in the trail: applications, complaints, sanctions and whatever is added later."""
    query = (
        sa.select(AuditRow.object_kind, AuditRow.action, sa.func.count())
        .where(AuditRow.at >= start, AuditRow.at < end)
        .group_by(AuditRow.object_kind, AuditRow.action)
        .order_by(AuditRow.object_kind, AuditRow.action)
    )
    if mine is not None:
        query = query.where(AuditRow.institution == mine)
    return _counted(session, "acts", query)
