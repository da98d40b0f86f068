"""Takes down one request and answer of every route as the tests make them: the examples in the OpenAPI document.

`CREDITLAB_RECORD_EXAMPLES=1 pytest tests/api tests/portal` adds to api/examples.json what is a better example than the
one it has; without the file they are written anew. What would be a secret is replaced; the names, numbers and keys in
it are those that tests invent. A fuzzer's requests are no examples: its world is made within `paused`.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.web.routes import template

FILE = Path(__file__).parents[2] / "api" / "examples.json"
ON = bool(os.environ.get("CREDITLAB_RECORD_EXAMPLES"))
_LONGEST = 20_000  # characters of a body
_SECRET = ("token", "secret", "password", "code", "otpauth", "challenge", "cookie", "uri", "csrf", "codes")
_seen: dict[str, dict[str, Any]] = {}


@contextmanager
def paused() -> Iterator[None]:
    """A world that is made in here is not recorded."""
    global ON
    before, ON = ON, False
    try:
        yield
    finally:
        ON = before


class Recorder:
    """ASGI wrapper around the whole app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        asked, answered, status = bytearray(), bytearray(), 0

        async def listen() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            answered.extend(message.get("body", b""))
            await send(message)

        await self._app(scope, listen, watch)
        if 200 <= status < 300:
            _take_down(f"{scope['method']} {template(scope)}", status, bytes(asked), bytes(answered))


def _take_down(route: str, status: int, asked: bytes, answered: bytes) -> None:
    if len(answered) > _LONGEST or len(asked) > _LONGEST:
        return
    try:
        one = {"status": status, "request": _read(asked), "response": _discreet(json.loads(answered or b"null"))}
    except ValueError:
        return
    known = _seen.get(route)
    if known is None or _worth(one) > _worth(known):
        _seen[route] = one


def _read(asked: bytes) -> Any:
    """None for what is no JSON: a file."""
    try:
        return _discreet(json.loads(asked or b"null"))
    except ValueError:
        return None


def _worth(one: dict[str, Any]) -> tuple[bool, int]:
    """An answer that shows something is a better example than an empty list; among those the shorter one."""
    text = json.dumps(one["response"])
    return '"items": []' not in text and text != "[]", -len(text) - len(json.dumps(one["request"]))


def _discreet(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _discreet(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_discreet(item, name) for item in value[:3]]
    if isinstance(value, str) and any(name == word or name.endswith(f"_{word}") for word in _SECRET):
        if value.isdigit():
            return "0" * len(value)
        # a code is a word of the interface, or what somebody types in once
        return value if name == "code" and value.islower() else "…" * min(len(value), 43)
    return value


def _write() -> None:
    """Several test processes add to one file, one after another."""
    import fcntl

    with FILE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = json.loads(FILE.read_text()) if FILE.exists() else {}
        for route, one in _seen.items():
            if route not in before or _worth(one) > _worth(before[route]):
                before[route] = one
        FILE.write_text(json.dumps(dict(sorted(before.items())), ensure_ascii=False, indent=1) + "\n")
    FILE.with_suffix(".lock").unlink(missing_ok=True)


if ON:
    atexit.register(_write)
