"""One watch over every request: what was answered and how long it took, told to whoever keeps an account of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.web.routes import template


@dataclass(frozen=True)
class Seen:
    """A request that has ended. `route` is the template, never the address; `status` None: there was no answer."""

    method: str
    route: str
    status: int | None
    seconds: float


class Observe:
    """ASGI middleware: tells each observer of every request once it has ended."""

    def __init__(self, app: ASGIApp, observers: Sequence[Callable[[Seen], None]]) -> None:
        self._app, self._observers = app, observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status: int | None = None

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            seen = Seen(scope["method"], template(scope), status, time.perf_counter() - began)
            for observer in self._observers:
                observer(seen)
