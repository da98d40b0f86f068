"""Chinese working days: the library's calendar, and how periods are counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import chinese_calendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.workdays import OutsideCalendar, add_workdays, is_workday, local_day, workdays_between

MOMENTS = st.datetimes(datetime(2018, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))


def test_every_day_announced_is_as_the_state_council_said():
    """R6, R10: two libraries that read the same announcements agree on every day of 2018 to 2026."""
    day, wrong = date(2018, 1, 1), []
    while day.year <= 2026:
        if is_workday(day) != chinese_calendar.is_workday(day):
            wrong.append(day)
        day += timedelta(days=1)
    assert wrong == []


@pytest.mark.parametrize(
    ("day", "worked"),
    [
        (date(2030, 2, 3), False),  # Spring Festival of 2030, a Sunday
        (date(2030, 10, 1), False),  # National Day, a Tuesday
        (date(2030, 10, 8), True),
        (date(2030, 5, 1), False),  # Labour Day, a Wednesday
        (date(2030, 6, 8), False),  # an ordinary Saturday
    ],
)
def test_a_year_that_is_not_announced_yet_has_the_holidays_of_the_law(day, worked):
    assert is_workday(day) is worked


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("start", "n", "over"),
    [
        ("2025-03-03T10:00+08:00", 3, "2025-03-07T00:00+08:00"),  # Monday: until Thursday's end
        ("2025-03-07T10:00+08:00", 1, "2025-03-11T00:00+08:00"),  # Friday: until Monday's end
        ("2025-09-30T10:00+08:00", 3, "2025-10-12T00:00+08:00"),  # National Day; Saturday the 11th is worked
        ("2025-03-02T23:30+00:00", 3, "2025-03-07T00:00+08:00"),  # already Monday in Shanghai
        ("2025-01-26T09:00+08:00", 1, "2025-01-28T00:00+08:00"),  # a worked Sunday before Spring Festival
    ],
)
def test_a_period_ends_with_its_last_working_day_in_shanghai(start, n, over):
    assert add_workdays(at(start), n) == at(over)


@given(MOMENTS, st.integers(1, 30))
def test_counting_back_finds_the_length_of_the_period(start, n):
    over = add_workdays(start, n)
    last = over - timedelta(microseconds=1)
    assert is_workday(local_day(last))
    assert workdays_between(start, last) == n == -workdays_between(last, start)


def test_what_cannot_be_counted_is_said():
    with pytest.raises(OutsideCalendar, match="2100"):
        is_workday(date(2100, 1, 1))
    with pytest.raises(ValueError, match="offset"):
        add_workdays(datetime(2025, 1, 1), 1)
    with pytest.raises(ValueError, match="at least one"):
        add_workdays(at("2025-03-03T10:00+08:00"), 0)
