"""What is known of the request at hand, wherever its work is done: its id, and its claim to happen once.

Owns one context variable, set by the outermost middleware and read by logs, traces and `api.db.Unit`.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry import trace
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.fields import FleetingOut, SecretOut

_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


@dataclass
class Once:
    """A request that must have its effect once: under which key, and whether a transaction has claimed it."""

    key: str  # SHA-256 of who asks and the key he chose
    fingerprint: str  # SHA-256 of what is asked
    claimed: bool = False


@dataclass
class RequestInfo:
    id: str
    account: str | None = None  # set once the caller is known; an id, never a name
    once: Once | None = None


current: ContextVar[RequestInfo | None] = ContextVar("creditlab_request", default=None)


def answers_with(scope: Scope, kind: type[BaseModel]) -> bool:
    """Whether the route's answer is declared as such a kind. Call it after routing."""
    model = getattr(scope.get("route"), "response_model", None)
    return isinstance(model, type) and issubclass(model, kind)


class RequestIds:
    """ASGI middleware: the caller's `X-Request-ID` when it is a plain one, a new one otherwise; told back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        info = RequestInfo(given if _ID.fullmatch(given) else secrets.token_hex(8))
        token = current.set(info)
        trace.get_current_span().set_attribute("request.id", info.id)  # does nothing where nothing is traced

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = [*message["headers"], (b"x-request-id", info.id.encode())]
                if answers_with(scope, SecretOut) or answers_with(scope, FleetingOut):
                    told.append((b"cache-control", b"no-store"))
                message["headers"] = told
            await send(message)

        try:
            await self._app(scope, receive, tell)
        finally:
            current.reset(token)
