"""The app factory: routers, errors, background work and health, over a `Control` that is given.

Refuses to be built with a route that names no permission.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api import errors
from api.audit import endpoints as audit
from api.auth import Action, actions_by_route, permits
from api.consents import endpoints as consents
from api.control import Control, ControlDep
from api.errors import Problem, Unavailable
from api.institutions import endpoints as institutions
from api.jobs import endpoints as jobs
from api.jobs import service as jobs_service
from api.limits import BodyLimit
from api.nodes import endpoints as nodes
from api.nodes.service import Deliveries
from api.releases import endpoints as releases
from api.scores import endpoints as scores
from api.scores import service as scores_service
from api.usage import endpoints as usage

log = logging.getLogger("creditlab.api")

VERSION = "1"
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": _PROBLEM}
    for status, description in (
        (400, "Bad request"),
        (401, "Unauthenticated"),
        (403, "Forbidden, or denied by policy"),
        (404, "Not found"),
        (409, "Conflict"),
        (413, "Too large"),
        (422, "Invalid"),
        (502, "A node answered with an error"),
        (503, "Unavailable"),
        (504, "Deadline exceeded"),
    )
}


class Health(BaseModel):
    status: str


async def _watch(control: Control) -> None:
    """Ends what no longer goes on by itself, every `sweep_seconds`."""
    while not control.hub.closing:
        try:
            await run_in_threadpool(jobs_service.sweep, control)
            await run_in_threadpool(scores_service.sweep, control)
        except SQLAlchemyError as error:
            log.error("the watchdog could not work, trying again: %s", error)
        await asyncio.sleep(control.settings.sweep_seconds)


def create_app(control: Control) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await control.hub.start()
        watchdog = asyncio.create_task(_watch(control), name="creditlab-watchdog")
        yield
        await control.hub.stop()
        watchdog.cancel()
        with suppress(asyncio.CancelledError):
            await watchdog

    app = FastAPI(
        title="creditlab control plane",
        version=VERSION,
        docs_url=None,  # the stock pages load scripts from a CDN
        redoc_url=None,
        lifespan=lifespan,
        responses=_RESPONSES,
    )
    app.state.control = control
    app.state.deliveries = Deliveries(control.settings.redelivery_seconds)
    errors.install(app)
    app.add_middleware(BodyLimit)
    for part in (institutions, consents, nodes, jobs, releases, scores, usage, audit):
        app.include_router(part.router)

    @app.get("/healthz", tags=["health"], dependencies=[Depends(permits(Action.PUBLIC))])
    def healthz() -> Health:
        """The process runs."""
        return Health(status="ok")

    @app.get("/readyz", tags=["health"], dependencies=[Depends(permits(Action.PUBLIC))])
    def readyz(control: ControlDep) -> Health:
        """The process runs and its database answers."""
        if control.hub.closing:
            raise Unavailable("shutting down", "正在关闭", code="closing")
        with control.db.read() as session:
            session.execute(sa.select(1))
        return Health(status="ok")

    actions_by_route(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document with our problem type in place of the framework's."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, summary="Joint-modelling lab", routes=app.routes)
        schemas = schema["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema()
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        actions = actions_by_route(app)
        for path, item in schema["paths"].items():
            for method, operation in item.items():
                operation["responses"]["422"] = {"description": "Invalid", "content": _PROBLEM}
                if actions[(method.upper(), path)] is not Action.PUBLIC:
                    operation["security"] = [{"token": []}]
        app.openapi_schema = schema
    return app.openapi_schema
