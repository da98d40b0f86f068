"""How long each deadline is and when one is reminded of: pure functions of the settings and the calendar.

Owns the kinds of clocks and their arithmetic. Knows neither tables nor who is told.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from api.settings import Settings
from api.workdays import add_workdays, end_of, is_workday, local_day

OVERDUE = "overdue"


@dataclass(frozen=True)
class Period:
    """A kind of deadline: the setting that says how long it is, and how it is counted."""

    setting: str
    due: Callable[[datetime, int], datetime]
    zh: str
    en: str

    def due_at(self, settings: Settings, since: datetime) -> datetime:
        return self.due(since, getattr(settings, self.setting))


def after_months(moment: datetime, n: int) -> datetime:
    """The end of the same day `n` months on, or of the month's last day (民法典 §202).

    One that falls on a holiday moves on to the next working day (§203).
    """
    day = local_day(moment)
    months = day.year * 12 + day.month - 1 + n
    year, month = divmod(months, 12)
    last = date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
    while not is_workday(last):
        last += timedelta(days=1)
    return end_of(last)


def workdays_before(due_at: datetime, n: int) -> datetime:
    """The beginning of the `n`-th working day before the day on which `due_at` ends."""
    day = local_day(due_at - timedelta(seconds=1))
    while n:
        day -= timedelta(days=1)
        n -= is_workday(day)
    return end_of(day - timedelta(days=1))


# R10; R11, both; the others are the platform's own
PERIODS: dict[str, Period] = {
    "accept": Period("accept_days", add_workdays, "受理或退回", "accept or refuse"),
    "follow_up": Period("follow_up_months", after_months, "线下对接", "offline follow-up"),
    "report": Period("report_days", add_workdays, "授信结果报送", "report the result"),
    "guarantee": Period("guarantee_days", add_workdays, "担保意见", "a guarantor's answer"),
    "question": Period("question_days", add_workdays, "咨询答复", "answer to a question"),
}


def marks(settings: Settings, started_at: datetime, due_at: datetime) -> list[tuple[datetime, str]]:
    """When something is said of a clock, in order: reminders that fall after its start, then that it is overdue."""
    early = ((workdays_before(due_at, n), f"before-{n}") for n in settings.reminder_days)
    return [*sorted((at, mark) for at, mark in early if at > started_at), (due_at, OVERDUE)]
