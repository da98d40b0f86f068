"""The service's HTTP interface: push a batch, ask what became of it, fetch its error report.

Owns requests and answers. A unit sees its own batches only; that another's exists is not told. Never answers with the
value of a cell.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
import hashlib
import json
import logging
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from features.catalogue.model import UnknownName
from features.ingest import Entry, IngestRefused
from features.ingest.clock import civil_now
from features.receive.desk import Desk
from features.receive.refused import MEDIA_TYPE, PushRefused, document
from features.receive.settings import Grant, Settings
from features.receive.spool import Pushed

log = logging.getLogger("creditlab.receive")

#: Media type of a body → ending of a file of its format.
ENDINGS = {
    "text/csv": "csv",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/vnd.apache.parquet": "parquet",
}
MAX_WAIT_SECONDS = 30
_ID = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_BODY = {"requestBody": {"required": True, "content": {kind: {"schema": {"type": "string"}} for kind in ENDINGS}}}


class Problem(BaseModel):
    """A problem document (RFC 9457). `detail` in the language asked for, `detail_zh` in Chinese."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    detail_zh: str
    instance: str


class Reason(BaseModel):
    """Why a batch was refused as a whole."""

    code: str
    message: str
    message_zh: str


class Fault(BaseModel):
    """One kind of fault in one column; `rows`: the first hundred, 1 being the first after the heading."""

    column: str
    column_zh: str
    code: str
    what_zh: str
    remedy_zh: str
    what: str
    remedy: str
    count: int
    rows: list[int]


class Record(BaseModel):
    """The collection record: time, object, method, source, submitter, hash, and what became of the rows."""

    seq: int
    batch: str
    received_at: dt.datetime
    collected_at: dt.datetime
    source: str
    category: str
    object: str
    method: str
    submitter: str
    sha256: str
    catalogue: str
    counts: dict[str, Any] = Field(description="delivered, accepted, refused, written, redelivered, held, faults, …")


class Batch(BaseModel):
    """A pushed batch. `received`: it waits; `taken`: see `record`; `refused`: see `problem`, nothing was kept."""

    id: str
    state: Literal["received", "taken", "refused"]
    source: str
    category: str
    object: str
    sha256: str
    bytes: int
    received_at: dt.datetime
    record: Record | None = None
    faults: list[Fault] = Field(default=[], description="faults of rows that are held, by column")
    problem: Reason | None = None


def create_app(settings: Settings, desk: Desk) -> FastAPI:
    """The interface over a desk, whose work it starts and ends."""

    @asynccontextmanager
    async def working(_: FastAPI) -> AsyncIterator[None]:
        desk.resume()
        task = asyncio.create_task(desk.run())
        yield
        task.cancel()

    app = FastAPI(
        title="Credit lab: intake of pushed batches",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=working,
        responses={"default": {"model": Problem, "description": "problem document"}},
    )
    _problems(app)

    @app.post("/intake/v1/batches", status_code=202, response_model=Batch, openapi_extra=_BODY,
              responses={200: {"model": Batch, "description": "taken in"}})  # fmt: skip
    async def push(
        request: Request,
        source: Annotated[str, Query(description="source unit, e.g. tax_bureau")],
        category: Annotated[str, Query(description="category of the catalogue")],
        object_: Annotated[str, Query(alias="object", description="what was collected, in words")],
        collected_at: Annotated[dt.datetime | None, Query(description="when drawn, civil time without zone")] = None,
        backfill: Annotated[bool, Query(description="history with its own known_at")] = False,
        columns: Annotated[list[str], Query(description="HEADING=NAME, repeated")] = [],  # noqa: B006
        ignore: Annotated[list[str], Query(description="heading that is not read, repeated")] = [],  # noqa: B006
        idempotency_key: Annotated[str | None, Header(description="a batch is received once under it")] = None,
        content_digest: Annotated[str | None, Header(description="sha-256=:…: (RFC 9530)")] = None,
        prefer: Annotated[str | None, Header(description=f"wait=N (RFC 7240), up to {MAX_WAIT_SECONDS} s")] = None,
    ) -> JSONResponse:
        """Push one batch of one category. 推送一个批次。

        The body is what a file would be. Records are asserted, corrected and deleted by its column `op`.
        """
        unit, grants = _unit(request, settings)
        ending, encoding = _format(request)
        _allowed(grants, source, category, backfill)
        now = civil_now()
        batch = Pushed(
            id=_number(unit, idempotency_key),
            unit=unit,
            source=source,
            category=category,
            object=object_,
            ending=ending,
            encoding=encoding,
            backfill=backfill,
            columns=_columns(columns),
            ignore=tuple(ignore),
            received_at=now.isoformat(),
            collected_at=collected_at.isoformat() if collected_at else "",
        )
        batch.delivery().check(desk.intake.store.catalogue, now)
        digest = _digest(content_digest)
        desk.reserve(unit)
        entered = False
        draft = await asyncio.to_thread(desk.spool.draft)
        try:
            sha256, size = await _body(request, draft / f"data.{ending}", settings)
            if digest and digest != sha256:
                raise PushRefused(
                    400,
                    "push_digest",
                    "the body is not what Content-Digest says; push it again",
                    "请求体与 Content-Digest 不一致，请重新推送",
                )
            batch = replace(batch, sha256=sha256, bytes=size, order=time.time_ns())
            entered = await asyncio.to_thread(desk.spool.receive, draft, batch)
        except OSError as error:
            log.error("a push of %s could not be kept: %s", unit, error.strerror)
            raise PushRefused(
                507,
                "push_no_space",
                "the batch could not be kept; push it again later",
                "批次暂时无法保存，请稍后重新推送",
            ) from None
        finally:
            if not entered:
                desk.release(unit)
                shutil.rmtree(draft, ignore_errors=True)
        if entered:
            desk.enter(batch)
        else:
            before = await asyncio.to_thread(desk.spool.find, batch.id)
            if before is None or not before.same(batch):
                raise PushRefused(
                    409,
                    "push_key_reused",
                    "another batch was received under this Idempotency-Key; give each batch a key of its own",
                    "该 Idempotency-Key 已用于另一批次，请为每个批次使用不同的键",
                )
        found = await desk.settled(batch, _wait(prefer))
        return await asyncio.to_thread(_answer, request, desk, found)

    @app.get("/intake/v1/batches/{batch_id}", response_model=Batch)
    def state(request: Request, batch_id: str) -> Batch:
        """What became of a batch. 查询批次的处理结果。"""
        unit, _ = _unit(request, settings)
        return _told(desk, _own(desk, unit, batch_id))

    @app.get("/intake/v1/batches/{batch_id}/report", response_class=Response,
             responses={200: {"content": {"text/csv": {}, "application/json": {}}}})  # fmt: skip
    def report(
        request: Request, batch_id: str, kind: Annotated[Literal["json", "csv"], Query(alias="format")] = "json"
    ) -> FileResponse:
        """The error report: every fault by row and column; it quotes no value. 错误报告（逐行逐列，不含取值）。"""
        unit, _ = _unit(request, settings)
        path = _report(desk, _entry(desk, _own(desk, unit, batch_id)), kind)
        if path is None:
            raise PushRefused(
                404,
                "push_no_report",
                "the batch has no error report: no row of it was held, or it is not taken in",
                "该批次没有错误报告：没有被隔离的行，或尚未归集",
            )
        media = "text/csv; charset=utf-8" if kind == "csv" else "application/json"
        return FileResponse(path, media_type=media, filename=f"{batch_id}.{kind}")

    @app.get("/healthz")
    def health() -> dict[str, int | str]:
        """Whether the service answers, and how many batches wait. 服务状态。"""
        return {"status": "ok", "waiting": desk.waiting}

    return app


# ---- asking ----------------------------------------------------------------------------------------------------------


def _unit(request: Request, settings: Settings) -> tuple[str, tuple[Grant, ...]]:
    """Who asks, by the certificate, and what he may push. Raises PushRefused."""
    unit: str | None = getattr(request.state, "unit", None)
    grants = settings.by_unit.get(unit or "", ())
    if not unit or not grants:
        raise PushRefused(
            403,
            "push_unknown_unit",
            "nothing may be pushed with this certificate; ask the lab's operator for a grant",
            "该证书未获推送授权，请联系专区运维人员",
        )
    return unit, grants


def _allowed(grants: tuple[Grant, ...], source: str, category: str, backfill: bool) -> None:
    for grant in grants:
        if grant.source == source and category in grant.categories and (grant.backfill or not backfill):
            return
    history, history_zh = (" with history of its own known_at", "（历史补录）") if backfill else ("", "")
    raise PushRefused(
        403,
        "push_not_granted",
        f"this certificate may not push category `{category}` of source `{source}`{history}; "
        "ask the lab's operator for a grant",
        f"该证书未获授权推送来源 `{source}` 的类别 `{category}`{history_zh}，请联系专区运维人员",
    )


def _format(request: Request) -> tuple[str, str]:
    """Ending and encoding of the body. Raises PushRefused."""
    said = Message()
    said["content-type"] = request.headers.get("content-type", "")
    kind = said.get_content_type() if request.headers.get("content-type") else ""
    if kind not in ENDINGS or request.headers.get("content-encoding", "identity") != "identity":
        known = ", ".join(ENDINGS)
        raise PushRefused(
            415,
            "push_media_type",
            f"the body must be one of {known}, without Content-Encoding",
            f"请求体类型应为 {known} 之一，且不使用 Content-Encoding",
        )
    return ENDINGS[kind], str(said.get_param("charset", "utf-8")).lower()


def _columns(said: list[str]) -> dict[str, str]:
    """Heading → name in the catalogue. Raises PushRefused."""
    pairs = [one.rpartition("=") for one in said]
    if not all(heading and name for heading, _, name in pairs):
        raise PushRefused(
            422, "push_columns", "`columns` must be written HEADING=NAME", "`columns` 应写作 表头=目录中的名称"
        )
    return {heading: name for heading, _, name in pairs}


def _number(unit: str, key: str | None) -> str:
    """The batch's id: by the key that the unit gave it, or by chance. Raises PushRefused."""
    if key is None:
        return secrets.token_hex(16)
    if not _KEY.fullmatch(key):
        raise PushRefused(
            400,
            "push_key",
            "Idempotency-Key must be 1 to 200 visible ASCII characters",
            "Idempotency-Key 应为 1 至 200 个可见 ASCII 字符",
        )
    return hashlib.sha256(json.dumps([unit, key]).encode()).hexdigest()[:32]


def _digest(header: str | None) -> str | None:
    """The SHA-256 that the sender states, in hexadecimal (RFC 9530). Raises PushRefused."""
    if header is None:
        return None
    for one in header.split(","):
        name, _, value = one.strip().partition("=")
        if name == "sha-256" and len(value) > 2 and value[0] == value[-1] == ":":
            try:
                return base64.b64decode(value[1:-1], validate=True).hex()
            except binascii.Error:
                break
    raise PushRefused(
        400,
        "push_digest",
        "Content-Digest must be written sha-256=:BASE64:",
        "Content-Digest 应写作 sha-256=:BASE64:",
    )


def _wait(prefer: str | None) -> float:
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])", prefer or "")
    return min(int(found[1]), MAX_WAIT_SECONDS) if found else 0


async def _body(request: Request, path: Path, settings: Settings) -> tuple[str, int]:
    """Keeps the body; its SHA-256 and size. Raises PushRefused, ClientDisconnect, OSError."""
    most = settings.max_body_mb << 20
    stated = request.headers.get("content-length", "0")
    too_large = PushRefused(
        413,
        "push_too_large",
        f"the body is larger than {settings.max_body_mb} MB; push it in parts",
        f"请求体超过 {settings.max_body_mb} MB，请分批推送",
    )
    if stated.isdigit() and int(stated) > most:
        raise too_large
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("wb") as file:
            async with asyncio.timeout(settings.body_seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most:
                        raise too_large
                    digest.update(chunk)
                    file.write(chunk)
    except TimeoutError:
        raise PushRefused(
            408,
            "push_deadline",
            f"the body did not arrive within {settings.body_seconds} s; push it again, or in parts",
            f"请求体未在 {settings.body_seconds} 秒内传完，请重新推送或分批推送",
        ) from None
    if not size:
        raise PushRefused(422, "push_empty", "the body is empty; push a table", "请求体为空，请推送数据表")
    return digest.hexdigest(), size


# ---- answering -------------------------------------------------------------------------------------------------------


def _own(desk: Desk, unit: str, batch_id: str) -> Pushed:
    found = desk.spool.find(batch_id) if _ID.fullmatch(batch_id) else None
    if found is None or found.unit != unit:
        raise PushRefused(
            404,
            "push_unknown_batch",
            "this certificate pushed no batch of that id; use the id of the answer to the push",
            "该证书没有推送过此编号的批次，请使用推送时返回的编号",
        )
    return found


def _entry(desk: Desk, batch: Pushed) -> Entry | None:
    return desk.intake.log.entry(batch.seq) if batch.state == "taken" else None


def _report(desk: Desk, entry: Entry | None, kind: str) -> Path | None:
    kept = [one.path for one in entry.files if one.role == "report"] if entry else []
    return next((desk.intake.store.root / one for one in kept if one.endswith(f".{kind}")), None)


def _told(desk: Desk, batch: Pushed) -> Batch:
    entry = _entry(desk, batch)
    path = _report(desk, entry, "json")
    faults = json.loads(path.read_text(encoding="utf-8"))["faults"] if path else []
    return Batch.model_validate(
        {
            **batch.__dict__,
            "record": {name: getattr(entry, name) for name in Record.model_fields} if entry else None,
            "faults": faults,
        }
    )


def _answer(request: Request, desk: Desk, batch: Pushed) -> JSONResponse:
    """What a push is answered: a batch that was refused as a whole is a problem."""
    where = f"/intake/v1/batches/{batch.id}"
    if batch.state == "refused" and batch.problem:
        said = batch.problem
        answer = _problem(request, 422, said["code"], said["message"], said["message_zh"], instance=where)
    else:
        status = 200 if batch.state == "taken" else 202
        answer = JSONResponse(_told(desk, batch).model_dump(mode="json"), status_code=status)
    answer.headers["Location"] = where
    return answer


def _problem(
    request: Request, status: int, code: str, message: str, message_zh: str, *, instance: str | None = None
) -> JSONResponse:
    zh = request.headers.get("accept-language", "").lower().startswith("zh")
    content = document(status, code, message, message_zh, instance or request.url.path, zh=zh)
    headers = {"Content-Language": "zh" if zh else "en", "Vary": "Accept-Language"}
    return JSONResponse(content, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _problems(app: FastAPI) -> None:
    """Every refusal is a problem document."""

    @app.exception_handler(PushRefused)
    async def refused(request: Request, error: PushRefused) -> JSONResponse:
        answer = _problem(request, error.status, error.code, error.message, error.message_zh)
        if error.retry_after:
            answer.headers["Retry-After"] = str(error.retry_after)
        return answer

    @app.exception_handler(IngestRefused)
    @app.exception_handler(UnknownName)
    async def wrong(request: Request, error: IngestRefused | UnknownName) -> JSONResponse:
        return _problem(request, 422, error.code, error.message, error.message_zh)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        name = error.errors()[0]["loc"][-1]
        return _problem(
            request,
            422,
            "push_parameter",
            f"the parameter `{name}` is missing or not of its type; see the interface's description",
            f"参数 `{name}` 缺失或类型不符，请参见接口说明",
        )

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        return _problem(
            request,
            error.status_code,
            "push_no_such_route",
            "there is no such interface; see the interface's description",
            "没有该接口，请参见接口说明",
        )

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it: the sender broke off and nothing was kept

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        number = secrets.token_hex(4)
        log.error("error %s", number, exc_info=error)
        return _problem(
            request,
            500,
            "internal_error",
            f"something failed here; tell the operator {number}",
            f"服务内部错误，请将编号 {number} 告知运维人员",
        )
