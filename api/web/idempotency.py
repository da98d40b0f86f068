"""`Idempotency-Key`: a write that is sent again has its effect once and is answered as the first time.

The key is claimed by the very transaction that has the effect (`api.db.Unit`), so it cannot be claimed without the
effect, nor the effect be had twice, whatever is killed in between. A request that ended without an effect claims
nothing and may be sent again. Owns the table of claims; answers that show a secret and long ones are not kept: a
repetition of theirs is told that the effect was had.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.db import SYSTEM, Base, Database, Unit
from api.errors import Conflict, problem
from api.fields import FleetingOut, SecretOut
from api.web.requests import Once, answers_with, current

HEADER = b"idempotency-key"
REPLAYED = "Idempotency-Replayed"
_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_KEPT = 256 << 10  # bytes of an answer
_BODY = 16 << 20  # bytes of a request that are read ahead to compare it
_HEADERS = ("content-type", "content-language", "etag", "location")
KEEP = timedelta(hours=72)
KEEP_FLEETING = timedelta(minutes=10)


class Claim(Base):
    """One key that had its effect, and the answer once it has gone out. Not audited: the effect itself is."""

    __tablename__ = "idempotent_requests"

    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    institution: Mapped[str]
    claimed_at: Mapped[datetime] = mapped_column(index=True)
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[str | None]  # base64


class FleetingAnswer(Base):
    """An answer with credit data, for a repetition within minutes: UNLOGGED, so no replica and no backup has it."""

    __tablename__ = "fleeting_answers"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    key: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[int]
    headers: Mapped[dict[str, Any]]
    body: Mapped[str]
    at: Mapped[datetime] = mapped_column(index=True)


class Busy(Conflict):
    """The same request is being worked on by another call."""

    code = "idempotency_in_progress"


def claim(unit: Unit) -> None:
    """Called by every unit before it commits: claims the key of the request at hand, once. Raises Busy."""
    info = current.get()
    once = info.once if info is not None else None
    if once is None or once.claimed:
        return
    values = {
        "key": once.key,
        "fingerprint": once.fingerprint,
        "institution": unit.actor.institution,
        "claimed_at": unit.now,
    }
    won = unit.session.scalar(insert(Claim).values(**values).on_conflict_do_nothing().returning(Claim.key))
    if won is None:
        raise Busy(
            "a request with this Idempotency-Key is being worked on: try again shortly",
            "使用同一 Idempotency-Key 的请求正在处理：请稍后重试",
        )
    once.claimed = True


def sweep(db: Database) -> None:
    """Drops answers with credit data that are older than KEEP_FLEETING."""
    with db.unit(SYSTEM) as unit:
        unit.session.execute(sa.delete(FleetingAnswer).where(FleetingAnswer.at < unit.now - KEEP_FLEETING))


def forget(session: Session, now: datetime) -> int:
    """Drops claims older than KEEP; returns how many."""
    return session.execute(sa.delete(Claim).where(Claim.claimed_at < now - KEEP)).rowcount  # type: ignore[attr-defined, no-any-return]


class Idempotency:
    """ASGI middleware for writes under `/v1/` that carry the header."""

    def __init__(self, app: ASGIApp, db: Database) -> None:
        self._app, self._db = app, db

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _METHODS or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        info = current.get()
        if HEADER not in headers or info is None:
            await self._app(scope, receive, send)
            return
        key = headers[HEADER].decode("latin-1")
        if not _KEY.fullmatch(key):
            await problem(
                422, "Invalid", "bad_idempotency_key",
                "Idempotency-Key: 1 to 128 visible ASCII characters are needed, a UUID for example",
                "Idempotency-Key：须为 1 至 128 个可见 ASCII 字符，例如 UUID", scope["path"],
            )(scope, receive, send)  # fmt: skip
            return
        body = await _read(receive)
        if body is None:
            await problem(
                413, "Too large", "idempotency_too_large", "Idempotency-Key is not taken with a body beyond 16 MiB",
                "请求体超过 16 MiB 时不支持 Idempotency-Key", scope["path"],
            )(scope, receive, send)  # fmt: skip
            return
        who = headers.get(b"authorization", b"") + b"\0" + headers.get(b"cookie", b"")
        once = Once(
            hashlib.sha256(hashlib.sha256(who).digest() + key.encode()).hexdigest(),
            hashlib.sha256(
                b"\0".join((scope["method"].encode(), scope["path"].encode(), scope["query_string"], body))
            ).hexdigest(),
        )
        known = await run_in_threadpool(self._known, once.key)
        if known is not None:
            await _again(*known, once, scope["path"])(scope, receive, send)
            return
        info.once = once
        kept = _Kept()

        async def keep() -> None:
            if once.claimed:
                if answers_with(scope, FleetingOut) and (kept.status or 500) < 300:
                    await run_in_threadpool(self._keep_for_minutes, once.key, kept)
                else:
                    await run_in_threadpool(self._keep, once.key, kept, secret=answers_with(scope, SecretOut))

        await self._app(scope, _given(body, receive), kept.through(send, keep))

    def _known(self, key: str) -> tuple[Claim, FleetingAnswer | None] | None:
        with self._db.read(SYSTEM) as session:
            claim = session.get(Claim, key)
            return None if claim is None else (claim, session.get(FleetingAnswer, key))

    def _keep(self, key: str, kept: _Kept, *, secret: bool) -> None:
        body = None if secret else kept.body()
        values = {
            "status": kept.status,
            "headers": kept.headers,
            "body": None if body is None else base64.b64encode(body).decode(),
        }
        with self._db.unit(SYSTEM) as unit:
            unit.session.execute(sa.update(Claim).where(Claim.key == key).values(**values))

    def _keep_for_minutes(self, key: str, kept: _Kept) -> None:
        body = kept.body()
        if body is None:
            return
        with self._db.unit(SYSTEM) as unit:
            text = base64.b64encode(body).decode()
            row = FleetingAnswer(key=key, status=kept.status, headers=kept.headers, body=text, at=unit.now)
            unit.session.add(row)


class _Kept:
    """What went out, as far as it may be kept."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self._body = bytearray()

    def through(self, send: Send, before_end: Callable[[], Awaitable[None]]) -> Send:
        """`send`, taking notes; the answer is kept before its caller can have all of it and repeat himself."""

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                told = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
                self.headers = {name: told[name] for name in _HEADERS if name in told}
            elif message["type"] == "http.response.body" and len(self._body) <= _KEPT:
                self._body += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await before_end()
            await send(message)

        return watch

    def body(self) -> bytes | None:
        return None if len(self._body) > _KEPT else bytes(self._body)


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None when it is longer than can be compared."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > _BODY:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _given(body: bytes, receive: Receive) -> Receive:
    """`receive` for the app: the body that was read ahead, then whatever comes (a hang-up)."""
    handed = False

    async def again() -> Message:
        nonlocal handed
        if handed:
            return await receive()
        handed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _again(known: Claim, fleeting: FleetingAnswer | None, once: Once, path: str) -> Callable[..., Any]:
    if known.fingerprint != once.fingerprint:
        return problem(
            422, "Invalid", "idempotency_key_reused",
            "this Idempotency-Key was used for another request: use a new one",
            "该 Idempotency-Key 已用于其他请求：请更换", path,
        )  # fmt: skip
    answer = known if fleeting is None else fleeting
    if answer.status is None or answer.body is None:
        return problem(
            409, "Conflict", "idempotency_effect_had",
            "this request has had its effect and its answer is not kept: look up what it made",
            "该请求已生效，但其应答未保留：请查询其结果", path,
        )  # fmt: skip
    return Response(base64.b64decode(answer.body), answer.status, headers={**(answer.headers or {}), REPLAYED: "true"})
