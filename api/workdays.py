"""Chinese working days: when a period that is counted in them ends, in days of Asia/Shanghai.

Owns the counting only. The holidays and the days that are worked in exchange come from the library `holidays`: the
State Council's word for the years announced, the law (全国年节及纪念日放假办法) for those not announced yet. Keeps no
table of its own.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from holidays import HolidayBase, country_holidays

ZONE = ZoneInfo("Asia/Shanghai")

# the weekend of two days, and with it days worked in exchange, are known from here on
FIRST_YEAR, LAST_YEAR = 2001, 2099


class OutsideCalendar(ValueError):
    """The calendar does not know this year: a period that reaches it cannot be counted."""

    def __init__(self, day: date) -> None:
        super().__init__(f"{day}: working days are known from {FIRST_YEAR} to {LAST_YEAR}")


@cache
def _calendar() -> HolidayBase:
    return country_holidays("CN")


def local_day(moment: datetime) -> date:
    """The day it is in Shanghai at `moment`. Raises ValueError for a moment without its offset from UTC."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()}: a moment needs its offset from UTC")
    return moment.astimezone(ZONE).date()


def end_of(day: date) -> datetime:
    """24:00 of `day` in Shanghai, as UTC."""
    return datetime.combine(day + timedelta(days=1), time(), ZONE).astimezone(UTC)


def is_workday(day: date) -> bool:
    """Whether `day` is worked: weekends exchanged for a holiday are, holidays are not. Raises OutsideCalendar."""
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise OutsideCalendar(day)
    return _calendar().is_working_day(day)


def add_workdays(moment: datetime, n: int) -> datetime:
    """When a period of `n` ≥ 1 working days from `moment` is over: 24:00 in Shanghai of its last day, as UTC.

    The day of `moment` itself does not count (民法典 §201), and the last day counts until its end (§203).
    """
    if n < 1:
        raise ValueError(f"a period has at least one working day, not {n}")
    day = local_day(moment)
    while n:
        day += timedelta(days=1)
        n -= is_workday(day)
    return end_of(day)


def workdays_between(start: datetime, end: datetime) -> int:
    """Working days after the day of `start`, up to and including that of `end`; negative when `end` is earlier."""
    first, last = local_day(start), local_day(end)
    if last < first:
        return -workdays_between(end, start)
    return sum(is_workday(first + timedelta(days=offset + 1)) for offset in range((last - first).days))
