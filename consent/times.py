"""Timestamps as RFC 3339 UTC text ("2026-01-31T08:00:00Z"). Fixed width, so text order is time order."""

from __future__ import annotations

import re
from datetime import UTC, datetime

# One spelling for one moment: times are compared as text, so 2026-1-31 must not pass for 2026-01-31.
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


class BadTime(ValueError):
    """Not a timestamp of the one accepted form."""


def stamp(moment: datetime) -> str:
    """Text of an aware datetime, whole seconds, UTC."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def parse(text: object) -> datetime:
    """The moment; raises BadTime for any other form, also one that names the same moment."""
    if not isinstance(text, str) or not _FORM.fullmatch(text):
        raise BadTime(f"{text!r}: a text like 2026-01-31T08:00:00Z is needed")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise BadTime(f"{text!r}: no such moment ({error})") from error
