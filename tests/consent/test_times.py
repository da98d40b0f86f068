"""Times have one spelling, and their order as text is their order in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.times import BadTime, parse, stamp

MOMENTS = st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29))


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_a_stamp_names_the_second_in_utc(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    text = stamp(aware)
    assert parse(text) == aware.astimezone(UTC).replace(microsecond=0)
    assert stamp(parse(text)) == text


@given(MOMENTS, MOMENTS)
def test_text_order_is_time_order(one: datetime, other: datetime) -> None:
    a, b = stamp(one.replace(tzinfo=UTC)), stamp(other.replace(tzinfo=UTC))
    assert (a < b) == (parse(a) < parse(b))


@pytest.mark.parametrize(
    "text",
    [
        "2026-1-1T8:0:0Z", "2026-01-31T08:00:00", "2026-01-31T08:00:00+00:00", "2026-01-31 08:00:00Z",
        "2026-02-30T08:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T08:00:00.0Z", "２026-01-31T08:00:00Z",
        "2026-01-31T08:00:00Z\n", "", None, 20260131,
    ],
)  # fmt: skip
def test_any_other_form_is_refused(text: object) -> None:
    with pytest.raises(BadTime):
        parse(text)
