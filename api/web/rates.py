"""Rate limits: so many requests a minute for each credential, and few refused log-ins for each address.

Counted in this process by the library `limits` (sliding window); behind several processes the limit is as many
times larger. Owns no quota of a business kind.
"""

from __future__ import annotations

import hashlib
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem

_FREE = frozenset({"/healthz", "/readyz"})


class RateLimit:
    """ASGI middleware: 429 with `Retry-After` beyond either limit.

    `per_minute` counts a credential's requests (an address's when it shows none), `failures_per_minute` an address's
    answers 401.
    """

    def __init__(self, app: ASGIApp, per_minute: int, failures_per_minute: int) -> None:
        self._app = app
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(per_minute)
        self._failures = RateLimitItemPerMinute(failures_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _FREE:
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        address = client[0] if client else "local"
        credential = dict(scope["headers"]).get(b"authorization", b"")
        who = hashlib.sha256(credential).hexdigest() if credential else f"address {address}"
        if not self._limiter.test(self._failures, "failures", address):
            await self._refuse(self._failures, ("failures", address), scope, receive, send)
            return
        if not self._limiter.hit(self._requests, "requests", who):
            await self._refuse(self._requests, ("requests", who), scope, receive, send)
            return

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                self._limiter.hit(self._failures, "failures", address)
            await send(message)

        await self._app(scope, receive, watch)

    async def _refuse(
        self, item: RateLimitItemPerMinute, names: tuple[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        resets = self._limiter.get_window_stats(item, *names).reset_time
        seconds = max(1, round(resets - time.time()))
        answer = problem(
            429, "Too many requests", "rate_limited", f"too many requests: try again in {seconds} s",
            f"请求过于频繁：请在 {seconds} 秒后重试", scope["path"],
        )  # fmt: skip
        answer.headers["Retry-After"] = str(seconds)
        await answer(scope, receive, send)
