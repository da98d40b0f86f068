"""Timestamps as RFC 3339 UTC text ("2026-01-31T08:00:00Z"). Fixed width, so text order is time order."""

from __future__ import annotations

from datetime import UTC, datetime


class BadTime(ValueError):
    """Not a timestamp of the one accepted form."""


def stamp(moment: datetime) -> str:
    """Text of an aware datetime, whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: object) -> datetime:
    if not isinstance(text, str):
        raise BadTime(f"{text!r}: a text like 2026-01-31T08:00:00Z is needed")
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise BadTime(f"{text!r}: a timestamp like 2026-01-31T08:00:00Z is needed") from error
