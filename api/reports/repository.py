"""The table of period reports, and the counts that one is made of: the trail of what happened within a period."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

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


Column = InstrumentedAttribute[Any]
Row = tuple[str, str, str, int]  # section, of what, measure, number


def rows(session: Session, audience: str, start: datetime, end: datetime) -> list[Row]:
    """What happened within [start, end) that concerns the reader, in numbers."""
    mine = None if audience == PLATFORM else audience

    def counted(section: str, at: Column, names: Sequence[Column], concerns: Any, join: Any = None) -> Iterable[Row]:
        """Numbers by `names`, the last of which is the measure; `concerns` is the reader's condition."""
        query = sa.select(*names, sa.func.count()).where(at >= start, at < end).group_by(*names).order_by(*names)
        if join is not None:
            query = query.join(*join)
        if mine is not None:
            query = query.where(concerns)
        for *found, number in session.execute(query):
            yield section, " / ".join(str(name) for name in found[:-1]), str(found[-1]), int(number)

    party = sa.or_(Job.bank == mine, Job.lab == mine)
    provided = sa.select(Consent.consent_id).where(Consent.provider == mine)
    return [
        *counted(
            "consents", Consent.imported_at, (Consent.purpose, Consent.state),
            sa.or_(Consent.recipient == mine, Consent.provider == mine),
        ),
        *counted(
            "usage", Usage.at, (Usage.institution, Usage.purpose, Usage.content),
            sa.or_(Usage.institution == mine, Usage.consent_id.in_(provided)),
        ),
        *counted("jobs", Job.requested_at, (Job.bank, Job.mode, Job.state), party),
        *counted(
            "releases", Release.requested_at, (Job.bank, Release.state), party, (Release, Release.job_id == Job.id)
        ),
        # every kind of act in the trail: applications, complaints, sanctions and whatever is added later
        *counted("acts", AuditRow.at, (AuditRow.object_kind, AuditRow.action), AuditRow.institution == mine),
    ]  # fmt: skip
