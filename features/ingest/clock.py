"""Civil time of the province. Owns nothing else; everything that needs the time is given it."""

from __future__ import annotations

import datetime as dt

#: China has one time zone without daylight saving.
_CHINA = dt.timezone(dt.timedelta(hours=8))


def civil_now() -> dt.datetime:
    """The present second, without zone, as the store keeps `known_at`."""
    return dt.datetime.now(_CHINA).replace(tzinfo=None, microsecond=0)
