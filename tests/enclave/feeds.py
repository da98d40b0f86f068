"""A platform's feed as a node reads it: signed pages over the events of a `Maker`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from consent.feed import START, Head, extend, sign_head
from consent.times import stamp
from tests.consent.conftest import Maker


class Feed:
    """What the platform would answer; `at` is its clock (None: now), `last` how many events it admits to."""

    def __init__(self, maker: Maker | None = None) -> None:
        self.maker = maker or Maker()
        self.at: str | None = None
        self.last: int | None = None
        self.limit = 500
        self.asked = 0

    def page(self, after: int) -> dict[str, Any]:
        events = self.maker.events[: self.last]
        shown = events[after : after + self.limit]
        seq = after + len(shown)
        at = self.at or stamp(datetime.now(UTC))
        head = Head(seq, extend(START, events[:seq]), len(events), at)
        return {"head": len(events), "events": shown, "signed_head": sign_head(self.maker.platform, head)}

    async def fetch(self, after: int) -> dict[str, Any]:
        self.asked += 1
        return self.page(after)
