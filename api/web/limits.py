"""How large a request's body may be: by default for every address, and larger for those that are named."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DEFAULT = 16 << 20  # bytes
BY_PATH: Mapping[str, int] = {"/v1/consents/import": 512 << 20}


class BodyLimit:
    """ASGI middleware: reading past the limit raises a 413 where it is read, answered like any error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = left = BY_PATH.get(scope["path"], DEFAULT)
        announced = dict(scope["headers"]).get(b"content-length", b"0")

        async def limited() -> Message:
            nonlocal left
            if announced.isdigit() and int(announced) > limit:
                raise HTTPException(413)
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413)
            return message

        await self._app(scope, limited, send)
