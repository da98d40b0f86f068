"""Errors of the API as RFC 9457 problem documents, each with a stable code and an English and a Chinese text.

Owns the mapping from exceptions to responses. A caller never sees a traceback; the log always has it, under
the `error_id` that an internal error's document carries.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from consent.artefact import MalformedDocument
from consent.policy import Denied

log = logging.getLogger("creditlab.api")

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """A problem document (RFC 9457). `code` is stable; `detail` and `detail_zh` are for a person."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    detail_zh: str
    instance: str | None = None
    errors: list[dict[str, Any]] | None = None


class ApiError(Exception):
    """Base of errors that a caller is told about. Subclasses set `status` and a default `code`."""

    status = 400
    code = "bad_request"
    title = "Bad request"

    def __init__(self, message: str, message_zh: str, *, code: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.message, self.message_zh, self.extra = message, message_zh, extra
        if code is not None:
            self.code = code


class Unauthenticated(ApiError):
    status, code, title = 401, "unauthenticated", "Unauthenticated"


class Forbidden(ApiError):
    status, code, title = 403, "forbidden", "Forbidden"


class NotFound(ApiError):
    status, code, title = 404, "not_found", "Not found"

    def __init__(self, what: str, what_zh: str, name: str) -> None:
        super().__init__(f"there is no {what} {name!r}", f"没有{what_zh} {name!r}")


class Conflict(ApiError):
    status, code, title = 409, "conflict", "Conflict"


class TooLarge(ApiError):
    status, code, title = 413, "too_large", "Too large"


class Invalid(ApiError):
    status, code, title = 422, "invalid", "Invalid"


class Unavailable(ApiError):
    status, code, title = 503, "unavailable", "Unavailable"


class DeadlineExceeded(ApiError):
    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"


def problem(
    status: int, title: str, code: str, detail: str, detail_zh: str, path: str = "", **extra: Any
) -> JSONResponse:
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "detail_zh": detail_zh,
        **({"instance": path} if path else {}),
        **extra,
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


_HTTP_TEXTS = {
    404: ("not_found", "no such address", "没有此地址"),
    405: ("method_not_allowed", "this address does not take that method", "此地址不支持该方法"),
    413: ("too_large", "the body is larger than this address takes", "请求体过大"),
}


def install(app: FastAPI) -> None:
    """Registers the handlers on the app."""

    @app.exception_handler(ApiError)
    async def _api(request: Request, error: ApiError) -> JSONResponse:
        return problem(
            error.status, error.title, error.code, error.message, error.message_zh, request.url.path, **error.extra
        )

    @app.exception_handler(Denied)
    async def _denied(request: Request, error: Denied) -> JSONResponse:
        return problem(403, "Denied by policy", error.code, error.message, error.message_zh, request.url.path)

    @app.exception_handler(MalformedDocument)
    async def _malformed(request: Request, error: MalformedDocument) -> JSONResponse:
        return problem(422, "Invalid", error.code, error.message, error.message_zh, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {"pointer": "/" + "/".join(map(str, e["loc"])), "code": e["type"], "detail": e["msg"]}
            for e in error.errors()
        ]
        first = errors[0]
        where = f"{first['pointer']}: {first['detail']}"
        return problem(
            422, "Invalid", "invalid_request", where, f"请求不符合要求：{where}", request.url.path, errors=errors
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        code, text, zh = _HTTP_TEXTS.get(error.status_code, ("http_error", str(error.detail), str(error.detail)))
        answer = problem(error.status_code, str(error.detail), code, text, zh, request.url.path)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ClientDisconnect)
    async def _gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return problem(400, "Bad request", "client_gone", "the caller hung up", "调用方已断开", request.url.path)

    @app.exception_handler(OperationalError)
    async def _database(request: Request, error: OperationalError) -> JSONResponse:
        log.error("database unavailable: %s", error.orig)
        return problem(
            503, "Unavailable", "database_unavailable", "the database does not answer, try again shortly",
            "数据库暂不可用，请稍后重试", request.url.path,
        )  # fmt: skip

    @app.exception_handler(IntegrityError)
    async def _integrity(request: Request, error: IntegrityError) -> JSONResponse:
        log.warning("integrity: %s", error.orig)
        return problem(
            409, "Conflict", "conflict", "it contradicts what is already recorded", "与已有记录冲突", request.url.path
        )

    @app.exception_handler(Exception)
    async def _internal(request: Request, error: Exception) -> JSONResponse:
        error_id = secrets.token_hex(4)
        text = str(error.orig) if isinstance(error, DBAPIError) else ""
        log.error("internal error %s on %s %s %s", error_id, request.method, request.url.path, text, exc_info=error)
        return problem(
            500, "Internal error", "internal_error", f"an unexpected error, tell the operator: {error_id}",
            f"系统异常，请告知平台运营方：{error_id}", request.url.path, error_id=error_id,
        )  # fmt: skip
