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
from anyio import CapacityLimiter
from fastapi import Depends, FastAPI, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse

from api import authority, errors, examples, standing
from api.admissions import endpoints as admissions
from api.applications import endpoints as applications
from api.audit import endpoints as audit
from api.auth import Action, actions_by_route, permits
from api.clocks import endpoints as clocks
from api.consent_events import endpoints as consent_events
from api.consent_events import webhooks
from api.consents import endpoints as consents
from api.consents import expiry
from api.control import Control, ControlDep
from api.conversations import endpoints as conversations
from api.credit import endpoints as credit
from api.data import endpoints as data
from api.datasets import endpoints as datasets
from api.db import SYSTEM
from api.disputes import endpoints as disputes
from api.enterprises import endpoints as enterprises
from api.errors import Problem, Unavailable
from api.flows import endpoints as flows
from api.guarantees import endpoints as guarantees
from api.incidents import endpoints as incidents
from api.institutions import endpoints as institutions
from api.institutions import sanctions
from api.jobs import endpoints as jobs
from api.jobs import service as jobs_service
from api.ledger import endpoints as ledger
from api.ledger import service as ledger_service
from api.nodes import endpoints as nodes
from api.nodes import questions
from api.nodes.service import Deliveries
from api.permits import service as permits_service
from api.portal.app import create_portal
from api.products import endpoints as products
from api.projects import endpoints as projects
from api.publications import endpoints as publications
from api.recalls import endpoints as recalls
from api.receipts import endpoints as receipts
from api.reference import endpoints as reference
from api.registry import endpoints as registry
from api.releases import endpoints as releases
from api.reports import endpoints as reports
from api.scores import endpoints as scores
from api.staff import endpoints as staff
from api.staff import service as staff_service
from api.statistics import endpoints as statistics
from api.usage import endpoints as usage
from api.web import idempotency, logs, metrics, tracing
from api.web.idempotency import Idempotency
from api.web.limits import BodyLimit
from api.web.metrics import Metrics
from api.web.observing import Observe
from api.web.rates import RateLimit
from api.web.requests import RequestIds
from api.web.routing import RouteIndex
from api.web.threads import THREADS, in_one_thread

log = logging.getLogger("creditlab.api")

VERSION = "1"
HEAD_SECONDS = 1.0
_DELIVERIES = 8  # to institutions' addresses at one time
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_RESPONSES: dict[str, dict[str, Any]] = {
    str(status): {"description": description, "content": _PROBLEM}
    for status, description in (
        (400, "Bad request"),
        (401, "Unauthenticated"),
        (403, "Forbidden, or denied by policy"),
        (404, "Not found"),
        (409, "Conflict"),
        (412, "Changed since it was read"),
        (413, "Too large"),
        (422, "Invalid"),
        (429, "Too many requests"),
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
            await run_in_threadpool(permits_service.sweep, control)
            await run_in_threadpool(expiry.sweep, control)
            await run_in_threadpool(questions.sweep, control)
            await run_in_threadpool(sanctions.sweep, control)
            await run_in_threadpool(staff_service.sweep, control)
            await run_in_threadpool(idempotency.sweep, control.db)
        except SQLAlchemyError as error:
            log.error("the watchdog could not work, trying again: %s", error)
        await asyncio.sleep(control.settings.sweep_seconds)


async def _keep_heads(control: Control) -> None:
    """Signs the ledger's heads, about one a second."""
    keeper = ledger_service.HeadKeeper(control)
    while not control.hub.closing:
        try:
            await run_in_threadpool(keeper.tick)
        except SQLAlchemyError as error:
            log.error("no head of the ledger could be signed, trying again: %s", error)
        await asyncio.sleep(HEAD_SECONDS)


async def _deliver(control: Control) -> None:
    """Takes events to institutions' addresses, a few at a time, apart from what must not wait for strangers."""
    while not control.hub.closing:
        try:
            waiting = await run_in_threadpool(webhooks.due, control)
            attempts = (run_in_threadpool(webhooks.deliver, control, one) for one in waiting[:_DELIVERIES])
            for failed in await asyncio.gather(*attempts, return_exceptions=True):
                if isinstance(failed, BaseException):
                    log.error("a delivery could not be made, trying again: %s", failed)
        except SQLAlchemyError as error:
            log.error("deliveries could not be made, trying again: %s", error)
        await asyncio.sleep(control.settings.sweep_seconds)


def create_app(control: Control) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await control.hub.start()
        await run_in_threadpool(ledger_service.open_log, control)
        watchdog = asyncio.create_task(_watch(control), name="creditlab-watchdog")
        heads = asyncio.create_task(_keep_heads(control), name="creditlab-heads")
        deliveries = asyncio.create_task(_deliver(control), name="creditlab-deliveries")
        yield
        await control.hub.stop()
        if traces is not None:
            await run_in_threadpool(traces.shutdown)
        for task in (watchdog, heads, deliveries):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    app = FastAPI(
        title="creditlab control plane",
        version=VERSION,
        docs_url=None,  # the stock pages load scripts from a CDN
        redoc_url=None,
        lifespan=lifespan,
        # the framework's own would tell addresses and texts of errors; ours is `api.web.tracing`
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.control = control
    app.state.deliveries = Deliveries(control.settings.redelivery_seconds)
    errors.install(app)
    metering = Metrics(lambda: standing.gauges(control))
    # the last one added is the outermost
    app.add_middleware(Idempotency, db=control.db)
    app.add_middleware(BodyLimit)
    app.add_middleware(
        RateLimit,
        per_minute=control.settings.rate_per_minute,
        failures_per_minute=control.settings.rate_failures_per_minute,
    )
    app.add_middleware(Observe, observers=(metering.request, logs.request))
    app.add_middleware(RequestIds)
    control.db.before_commit = idempotency.claim
    parts = (
        institutions,
        admissions,
        staff,
        authority,
        enterprises,
        consents,
        consent_events,
        nodes,
        jobs,
        releases,
        recalls,
        disputes,
        scores,
        data,
        usage,
        audit,
        ledger,
        receipts,
        reports,
        flows,
        projects,
        datasets,
        registry,
        reference,
        products,
        applications,
        credit,
        guarantees,
        conversations,
        publications,
        statistics,
        clocks,
        incidents,
    )
    for part in parts:
        # the routes themselves: `include_router` analyses every signature again, .4 s for each app
        app.router.routes.extend(part.router.routes)

    @app.get("/healthz", tags=["health"], dependencies=[Depends(permits(Action.PUBLIC))])
    def healthz() -> Health:
        """The process runs."""
        return Health(status="ok")

    @app.get("/readyz", tags=["health"], dependencies=[Depends(permits(Action.PUBLIC))])
    def readyz(control: ControlDep) -> Health:
        """The process runs and its database answers."""
        if control.hub.closing:
            raise Unavailable("shutting down", "正在关闭", code="closing")
        with control.db.read(SYSTEM) as session:
            session.execute(sa.select(1))
        return Health(status="ok")

    @app.get(
        "/metrics",
        tags=["health"],
        dependencies=[Depends(permits(Action.METRICS_READ))],
        response_class=PlainTextResponse,
    )
    def scrape() -> Response:
        """Prometheus metrics."""
        return Response(metering.text(), media_type=metrics.MEDIA_TYPE)

    app.mount("/portal", create_portal(control))
    actions_by_route(app)
    threads = CapacityLimiter(THREADS)
    for route in app.router.routes:
        if isinstance(route, APIRoute):
            in_one_thread(route, threads)
    app.router.middleware_stack = RouteIndex(app.router)
    endpoint = control.settings.otlp_endpoint
    traces = tracing.install(app, tracing.otlp(endpoint)) if endpoint is not None else None
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
                operation["responses"] = _RESPONSES | operation["responses"] | {"422": _RESPONSES["422"]}
                if actions[(method.upper(), path)] is not Action.PUBLIC:
                    operation["security"] = [{"token": []}]
        examples.add(schema)
        app.openapi_schema = schema
    return app.openapi_schema
