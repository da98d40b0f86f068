"""Making and reading period reports (R57 upward, R58 back to those who provide data).

A report is made once for a month and a reader, and never changed. Numbers only: a report names institutions, never an
enterprise or a person.
"""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from api.auth import Caller
from api.consent_events import service as events
from api.control import Control
from api.db import SYSTEM
from api.errors import NotFound
from api.reports import repository
from api.reports.repository import PLATFORM, PeriodReport
from api.reports.schemas import ReportLine, ReportList, ReportOut
from consent.canonical import digest

_ZONE = ZoneInfo("Asia/Shanghai")
_COLUMNS = ("section", "subject", "measure", "number")


def month_before(at: datetime) -> str:
    """The month that had ended by `at`, in Chinese time."""
    first = at.astimezone(_ZONE).replace(day=1)
    return (first - timedelta(days=1)).strftime("%Y-%m")


def bounds(month: str) -> tuple[datetime, datetime]:
    """The month's first moment and the next one's, in Chinese time."""
    start = datetime.strptime(month, "%Y-%m").replace(tzinfo=_ZONE)
    return start, (start + timedelta(days=32)).replace(day=1)


def plan(control: Control, at: datetime) -> list[str]:
    """Who gets a report of the month before `at`."""
    _, end = bounds(month_before(at))
    with control.db.read(SYSTEM) as session:
        return repository.audiences(session, end)


def make_part(control: Control, at: datetime, audience: str) -> str:
    """Makes the report of the month before `at` for one reader, and tells him; one that is there is left alone."""
    month = month_before(at)
    start, end = bounds(month)
    with control.db.unit(SYSTEM) as unit:
        if (known := repository.report(unit.session, month, audience)) is not None:
            return known.sha256
        rows = repository.rows(unit.session, audience, start, end)
        body: dict[str, Any] = {
            "month": month,
            "audience": audience,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "rows": [dict(zip(_COLUMNS, row, strict=True)) for row in rows],
        }
        row = PeriodReport(month=month, audience=audience, body=body, sha256=digest(body), made_at=unit.now)
        unit.create(row, "report.make", f"monthly report {month}", rows=len(rows))
        if audience != PLATFORM:
            events.tell(unit, [(audience, "report", {"month": month, "sha256": row.sha256})])
        return row.sha256


def list_reports(control: Control, caller: Caller) -> ReportList:
    """The operator sees all, an institution its own."""
    mine = None if caller.institution == PLATFORM else caller.institution
    with control.db.read(caller) as session:
        rows = repository.reports(session, mine)
        return ReportList(items=[ReportLine.model_validate(row) for row in rows])


def get(control: Control, caller: Caller, month: str, audience: str) -> ReportOut:
    """Raises NotFound, for another institution's as well."""
    with control.db.read(caller) as session:
        row = repository.report(session, month, audience)
        if row is None or caller.institution not in (PLATFORM, row.audience):
            raise NotFound("report", "报表", f"{month}/{audience}")
        return ReportOut.model_validate(row)


def as_csv(report: ReportOut) -> str:
    """The rows as a table that a spreadsheet opens: UTF-8 with a mark, header first."""
    out = io.StringIO()
    out.write("\ufeff")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for row in report.body.rows:
        # a leading sign or = would make a formula of a text
        writer.writerow(
            [f"'{cell}" if cell[:1] in "=+-@\t\r" else cell for cell in map(str, row.model_dump().values())]
        )
    return out.getvalue()
