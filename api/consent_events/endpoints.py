"""/v1/consent-events for an institution's systems, /v1/webhooks for the operator."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from api.auth import Action, Caller, permits
from api.consent_events import service, webhooks
from api.consent_events.schemas import (
    Acked,
    AckIn,
    DeadLetters,
    EventPage,
    NewWebhook,
    WebhookId,
    WebhookIn,
    WebhookOut,
    Webhooks,
)
from api.control import ControlDep
from api.fields import Limit, ReasonIn

router = APIRouter(prefix="/v1", tags=["consent events"])

System = Annotated[Caller, Depends(permits(Action.CONSENT_EVENTS))]
Manager = Annotated[Caller, Depends(permits(Action.WEBHOOK_MANAGE))]


@router.get("/consent-events")
async def events(
    control: ControlDep,
    caller: System,
    after: Annotated[int | None, Query(ge=0, le=2**53, description="default: the last acknowledged position")] = None,
    wait: Annotated[float, Query(ge=0, le=60)] = 0,
    limit: Limit = 100,
) -> EventPage:
    """Signed events that concern the caller's institution; waits up to `wait` seconds for the first one."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    with control.hub.listen(service.topic(caller.institution)) as bell:
        while True:
            found = await run_in_threadpool(service.page, control, caller, after, limit)
            left = deadline - loop.time()
            if found.events or left <= 0 or control.hub.closing:
                return found
            await bell.wait(left)


@router.post("/consent-events/ack")
def ack(control: ControlDep, caller: System, body: AckIn) -> Acked:
    """Everything up to a position has been taken."""
    return service.ack(control, caller, body)


@router.post("/webhooks", status_code=201)
def add_webhook(control: ControlDep, caller: Manager, body: WebhookIn) -> NewWebhook:
    """Deliver an institution's events to its own HTTPS address. The secret is shown once."""
    return webhooks.add(control, caller, body)


@router.get("/webhooks")
def list_webhooks(control: ControlDep, caller: Manager) -> Webhooks:
    return webhooks.page(control)


@router.post("/webhooks/{webhook_id}/remove")
def remove_webhook(control: ControlDep, caller: Manager, webhook_id: WebhookId, body: ReasonIn) -> WebhookOut:
    return webhooks.remove(control, caller, webhook_id, body.reason)


@router.get("/webhooks/{webhook_id}/dead-letters")
def dead_letters(control: ControlDep, caller: Manager, webhook_id: WebhookId, limit: Limit = 100) -> DeadLetters:
    """Events that were given up on, newest first; the institution can still poll them."""
    return webhooks.dead_letters(control, webhook_id, limit)
