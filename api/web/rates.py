"""Rate limits: so many requests a minute for each credential, and few refused log-ins for each address.

Counted in this process; behind several processes the limit is as many times larger. The library `limits` starts a
thread for every count it keeps in memory, .3 ms each, so the two counts are kept here. Owns no quota of a business
kind.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem

_FREE = frozenset({"/healthz", "/readyz"})
_MINUTE = 60.0


class PerMinute:
    """A sliding window: the minute at hand and what of the last one still lies within sixty seconds, in proportion.

    Known as the sliding window counter. Who is not heard for two minutes is forgotten. Not for several threads.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self._clock = limit, clock
        self._minute = 0
        self._now: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def _elapsed(self) -> float:
        """Seconds into the minute at hand."""
        minute, seconds = divmod(self._clock(), _MINUTE)
        if minute != self._minute:
            self._before = self._now if minute == self._minute + 1 else {}
            self._minute, self._now = int(minute), {}
        return seconds

    def full(self, who: str) -> bool:
        """Whether one more would be too many."""
        left = 1 - self._elapsed() / _MINUTE
        return self._before.get(who, 0) * left + self._now.get(who, 0) >= self.limit

    def count(self, who: str) -> None:
        self._elapsed()
        self._now[who] = self._now.get(who, 0) + 1

    def wait(self, who: str) -> float:
        """Seconds until one more is let in, if nothing comes in between."""
        elapsed = self._elapsed()
        before, now = self._before.get(who, 0), self._now.get(who, 0)
        if now >= self.limit:  # not within this minute; in the next this one weighs less and less
            return _MINUTE - elapsed + _MINUTE * (1 - self.limit / now)
        return max(0.0, _MINUTE * (1 - (self.limit - now) / before) - elapsed) if before else 0.0


class RateLimit:
    """ASGI middleware: 429 with `Retry-After` beyond either limit.

    `per_minute` counts a credential's requests (an address's when it shows none), `failures_per_minute` an address's
    answers 401.
    """

    def __init__(self, app: ASGIApp, per_minute: int, failures_per_minute: int) -> None:
        self._app = app
        self._requests = PerMinute(per_minute)
        self._failures = PerMinute(failures_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _FREE:
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        address = client[0] if client else "local"
        credential = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        who = hashlib.sha256(credential).hexdigest() if credential else f"address {address}"
        for counted, name in ((self._failures, address), (self._requests, who)):
            if counted.full(name):
                await _refuse(counted.wait(name), scope, receive, send)
                return
        self._requests.count(who)

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                self._failures.count(address)
            await send(message)

        await self._app(scope, receive, watch)


async def _refuse(wait: float, scope: Scope, receive: Receive, send: Send) -> None:
    seconds = max(1, math.ceil(wait))
    answer = problem(
        429, "Too many requests", "rate_limited", f"too many requests: try again in {seconds} s",
        f"请求过于频繁：请在 {seconds} 秒后重试", scope["path"],
    )  # fmt: skip
    answer.headers["Retry-After"] = str(seconds)
    await answer(scope, receive, send)
