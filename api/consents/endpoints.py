"""/v1/consents, /v1/consent-requests and /v1/feed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime
from starlette.concurrency import run_in_threadpool

from api.auth import Action, Caller, permits
from api.consents import asking, service
from api.consents import feed as feed_service
from api.consents.schemas import (
    Consents,
    Counts,
    FeedPage,
    ImportResult,
    RequestCounts,
    RequestFile,
    RequestIn,
    RequestOut,
    RequestPage,
    RequestState,
)
from api.control import ControlDep
from api.fields import Limit, ReasonIn, Text

router = APIRouter(prefix="/v1", tags=["consents"])


@router.post(
    "/consents/import",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        }
    },
)
async def import_consents(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.CONSENT_IMPORT))],
    request: Request,
) -> ImportResult:
    """Import enterprise-signed consents, refusals and transitions, one JSON document a line, in order."""
    result = ImportResult()
    batch: list[tuple[int, bytes]] = []
    number = documents = 0
    pending = b""
    limit = control.settings.max_consent_documents

    async def flush() -> None:
        if batch:
            await run_in_threadpool(service.import_batch, control, caller, list(batch), result)
            batch.clear()

    async for chunk in request.stream():
        pieces = (pending + chunk).split(b"\n") if chunk else [pending, b""]
        if not chunk:  # the end of the body ends the last line
            pending = b""
        else:
            pending = pieces.pop()
            if len(pending) > service.MAX_LINE:
                # a line without end: keep enough of it to be refused as too long, drop the rest as it comes
                pending = pending[: service.MAX_LINE + 1]
        for line in pieces:
            number += 1
            if not line.strip():
                continue
            documents += 1
            if documents > limit:
                await flush()
                service.too_many(result, number, limit)
                return result
            batch.append((number, line))
            if len(batch) >= control.settings.consent_batch:
                await flush()
    await flush()
    return result


@router.get("/consents")
def of_enterprise(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.CONSENT_READ))],
    enterprise: Text,
) -> Consents:
    """The consents and refusals of one enterprise; a bank sees those given to itself."""
    return service.of_enterprise(control, caller, enterprise)


@router.get("/consents/counts")
def counts(control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.CONSENT_READ))]) -> Counts:
    return service.counts(control, caller)


Asker = Annotated[Caller, Depends(permits(Action.CONSENT_REQUEST))]
RequestReader = Annotated[Caller, Depends(permits(Action.CONSENT_REQUEST_READ))]


@router.post("/consent-requests", status_code=201)
def ask(control: ControlDep, caller: Asker, body: RequestIn) -> RequestOut:
    """Ask an enterprise for its consent to the caller's institution."""
    return asking.ask(control, caller, body)


@router.post(
    "/consent-requests/import",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": {"type": "string"}} for kind in (asking.CSV, asking.NDJSON)},
        }
    },
)
async def ask_many(control: ControlDep, caller: Asker, request: Request) -> RequestFile:
    """Ask many: CSV with a header, or one JSON object a line. Good lines are asked, bad ones named."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return await run_in_threadpool(asking.ask_many, control, caller, kind, await request.body())


@router.get("/consent-requests")
def requests(
    control: ControlDep,
    caller: RequestReader,
    enterprise: Text | None = None,
    state: RequestState | None = None,
    before: AwareDatetime | None = None,
    limit: Limit = 100,
) -> RequestPage:
    """Requests, newest first; a bank sees its own."""
    return asking.page(control, caller, enterprise, state, before, limit)


@router.get("/consent-requests/counts")
def request_counts(control: ControlDep, caller: RequestReader) -> RequestCounts:
    return asking.counts(control, caller)


@router.get("/consent-requests/{consent_id}")
def request(control: ControlDep, caller: RequestReader, consent_id: Text) -> RequestOut:
    return asking.get(control, caller, consent_id)


@router.post("/consent-requests/{consent_id}/cancel")
def cancel(control: ControlDep, caller: Asker, consent_id: Text, body: ReasonIn) -> RequestOut:
    """Take a request back that the enterprise has not answered."""
    return asking.cancel(control, caller, consent_id, body.reason)


@router.get("/feed", response_model=FeedPage, dependencies=[Depends(permits(Action.FEED_READ))])
def feed(
    control: ControlDep,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=20_000)] = 5000,
) -> Response:
    """Consents, refusals and transitions in one order without gaps, after event number `after`."""
    return Response("".join(feed_service.page(control, after, limit)), media_type="application/json")
