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
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from api.web.language import Language
from api.web.language import of as language_of
from api.web.routes import template
from consent.artefact import MalformedDocument
from consent.policy import Denied

log = logging.getLogger("creditlab.api")

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """A problem document (RFC 9457). `code` is stable; `detail` is for a person, in the language he asked for."""

    type: str
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
    status: int,
    title: str,
    code: str,
    detail: str,
    detail_zh: str,
    path: str = "",
    language: Language = "en",
    **extra: Any,
) -> JSONResponse:
    """A problem document; `detail` speaks `language`, `detail_zh` Chinese always."""
    body = {
        "type": f"urn:creditlab:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail_zh if language == "zh" else detail,
        "detail_zh": detail_zh,
        **({"instance": path} if path else {}),
        **extra,
    }
    headers = {"Content-Language": language, "Vary": "Accept-Language"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def _answer(
    request: Request, status: int, title: str, code: str, detail: str, detail_zh: str, **extra: Any
) -> JSONResponse:
    language = language_of(request.headers.get("accept-language"))
    return problem(status, title, code, detail, detail_zh, request.url.path, language, **extra)


def _fault(error: DBAPIError) -> str:
    """What of a database's error may be logged: its code and the rule's name. Its text may quote a row."""
    diagnosis = getattr(error.orig, "diag", None)
    state = getattr(error.orig, "sqlstate", None)
    return f"{type(error.orig).__name__} {state or ''} {getattr(diagnosis, 'constraint_name', None) or ''}".strip()


def _methods(request: Request) -> set[str]:
    """Every method that the address takes; the framework names those of the first route only (RFC 9110, 15.5.6)."""
    fitting = (c for c in iter_route_contexts(request.app.routes) if c.matches(request.scope)[0] is not Match.NONE)
    return {method for context in fitting for method in context.methods or ()}


_HTTP_TEXTS = {
    404: ("not_found", "no such address", "没有此地址"),
    405: ("method_not_allowed", "this address does not take that method", "此地址不支持该方法"),
    413: ("too_large", "the body is larger than this address takes", "请求体过大"),
}


def install(app: FastAPI) -> None:
    """Registers the handlers on the app."""

    @app.exception_handler(ApiError)
    async def _api(request: Request, error: ApiError) -> JSONResponse:
        return _answer(request, error.status, error.title, error.code, error.message, error.message_zh, **error.extra)

    @app.exception_handler(Denied)
    async def _denied(request: Request, error: Denied) -> JSONResponse:
        return _answer(request, 403, "Denied by policy", error.code, error.message, error.message_zh)

    @app.exception_handler(MalformedDocument)
    async def _malformed(request: Request, error: MalformedDocument) -> JSONResponse:
        return _answer(request, 422, "Invalid", error.code, error.message, error.message_zh)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {"pointer": "/" + "/".join(map(str, e["loc"])), "code": e["type"], "detail": e["msg"]}
            for e in error.errors()
        ]
        first = errors[0]
        where = f"{first['pointer']}: {first['detail']}"
        return _answer(request, 422, "Invalid", "invalid_request", where, f"请求不符合要求：{where}", errors=errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        code, text, zh = _HTTP_TEXTS.get(error.status_code, ("http_error", str(error.detail), str(error.detail)))
        answer = _answer(request, error.status_code, str(error.detail), code, text, zh)
        answer.headers.update(error.headers or {})
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(sorted(_methods(request)))
        return answer

    @app.exception_handler(ClientDisconnect)
    async def _gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return _answer(request, 400, "Bad request", "client_gone", "the caller hung up", "调用方已断开")

    @app.exception_handler(OperationalError)
    async def _database(request: Request, error: OperationalError) -> JSONResponse:
        log.error("database unavailable: %s", _fault(error))
        return _answer(
            request, 503, "Unavailable", "database_unavailable", "the database does not answer, try again shortly",
            "数据库暂不可用，请稍后重试",
        )  # fmt: skip

    @app.exception_handler(StaleDataError)
    async def _stale(request: Request, error: StaleDataError) -> JSONResponse:
        return _answer(
            request, 409, "Conflict", "changed_meanwhile", "somebody changed it at the same moment: read it again",
            "内容同时被他人修改：请重新读取",
        )  # fmt: skip

    @app.exception_handler(IntegrityError)
    async def _integrity(request: Request, error: IntegrityError) -> JSONResponse:
        log.warning("integrity: %s", _fault(error))
        return _answer(
            request, 409, "Conflict", "conflict", "it contradicts what is already recorded", "与已有记录冲突"
        )

    @app.exception_handler(Exception)
    async def _internal(request: Request, error: Exception) -> JSONResponse:
        error_id = secrets.token_hex(4)
        where = template(request.scope)
        if isinstance(error, DBAPIError):
            # the traceback would end in the database's own words, which may quote a row
            log.error("internal error %s on %s %s: %s", error_id, request.method, where, _fault(error))
        else:
            log.error("internal error %s on %s %s", error_id, request.method, where, exc_info=error)
        return _answer(
            request, 500, "Internal error", "internal_error", f"an unexpected error, tell the operator: {error_id}",
            f"系统异常，请告知平台运营方：{error_id}", error_id=error_id,
        )  # fmt: skip
