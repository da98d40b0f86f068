"""The portal as an application of its own below /portal: its doors, its strict headers, its error pages."""

from __future__ import annotations

import logging
import secrets

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from api.control import Control
from api.enterprises.sessions import SignedOut
from api.errors import ApiError
from api.portal import arriving, corrections, disputes, endpoints, financing, own, told
from api.portal.access import doors_by_route
from api.portal.assets import AssetsMissing
from api.portal.rendering import StrictHeaders, redirect, refusal, wants_json
from consent.errors import MalformedDocument, Refused
from consent.policy import Denied

log = logging.getLogger("creditlab.portal")

_HTTP = {
    404: ("not_found", "there is no such page", "没有此页面"),
    405: ("method_not_allowed", "this page is not opened in that way", "不支持以此方式访问该页面"),
    413: ("too_large", "what was sent is too large", "提交的内容过大"),
}


def create_portal(control: Control) -> FastAPI:
    """Raises RouteWithoutPermission for a route that names no door."""
    app = FastAPI(title="creditlab portal", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.control = control
    app.add_middleware(StrictHeaders)
    for part in (endpoints, disputes, told, own, corrections, financing, arriving):
        app.router.routes.extend(part.router.routes)  # not analysed once more, as in api.app
    _errors(app)
    doors_by_route(app)
    return app


def _errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def _api(request: Request, error: ApiError) -> Response:
        if isinstance(error, SignedOut) and not wants_json(request):
            return redirect("/portal/login")
        return refusal(request, error.status, error.code, error.message, error.message_zh)

    @app.exception_handler(Refused)
    @app.exception_handler(MalformedDocument)
    async def _refused(request: Request, error: Refused | MalformedDocument) -> Response:
        return refusal(request, 422, error.code, error.message, error.message_zh)

    @app.exception_handler(Denied)
    async def _denied(request: Request, error: Denied) -> Response:
        return refusal(request, 403, error.code, error.message, error.message_zh)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        return refusal(request, 404, *_HTTP[404])

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        code, text, zh = _HTTP.get(error.status_code, ("http_error", str(error.detail), str(error.detail)))
        return refusal(request, error.status_code, code, text, zh)

    @app.exception_handler(OperationalError)
    async def _database(request: Request, error: OperationalError) -> Response:
        log.error("database unavailable: %s", error.orig)
        return refusal(
            request,
            503,
            "database_unavailable",
            "the service is not available, try again shortly",
            "服务暂不可用，请稍后重试",
        )

    @app.exception_handler(AssetsMissing)
    async def _assets(request: Request, error: AssetsMissing) -> Response:
        log.error("%s", error.message)
        return Response("portal assets are missing: run `make assets`\n", 503, media_type="text/plain")

    @app.exception_handler(Exception)
    async def _internal(request: Request, error: Exception) -> Response:
        error_id = secrets.token_hex(4)
        log.error("internal error %s on %s %s", error_id, request.method, request.url.path, exc_info=error)
        return refusal(
            request, 500, "internal_error", f"an unexpected error, tell the operator: {error_id}",
            f"系统异常，请告知平台运营方：{error_id}",
        )  # fmt: skip
