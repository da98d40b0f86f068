"""Delivering events to institutions' own addresses: in order, signed, repeated with growing pauses, then given up on.

The body is signed by the platform like every document; a keyed hash of it beside lets the receiver drop a stranger's
call before it reads one. Redirects are not followed and answers are not read beyond their status.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
import ssl
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

import httpx

from api.auth import Caller
from api.consent_events import repository
from api.consent_events.repository import DeadLetter, Webhook, WebhookCursor
from api.consent_events.schemas import DeadLetterOut, DeadLetters, NewWebhook, WebhookIn, WebhookOut, Webhooks
from api.consent_events.service import VERSION, plain
from api.control import Control
from api.db import SYSTEM
from api.errors import Invalid, NotFound
from api.institutions import repository as institutions
from consent.canonical import canonical
from consent.signed import sign

log = logging.getLogger("creditlab.webhooks")
BATCH = 100
SECONDS = 5.0  # for one delivery
LONGEST_PAUSE = 3600.0
SIGNATURE_HEADER = "X-Creditlab-Signature"


def add(control: Control, caller: Caller, body: WebhookIn) -> NewWebhook:
    """Deliveries begin with the next event."""
    with control.db.unit(caller) as unit:
        found = institutions.institution(unit.session, body.institution)
        if found is None:
            raise NotFound("institution", "机构", body.institution)
        if found.kind == "platform":
            raise Invalid("events are for institutions, not for the platform", "事件仅发送给机构，不发送给平台")
        head = repository.event_head(unit.session, body.institution)
        row = Webhook(
            id=f"w-{secrets.token_hex(6)}",
            institution=body.institution,
            url=body.url,
            created_by=caller.account_id,
            created_at=unit.now,
        )
        unit.create(row, "webhook.add", "added by the operator", state="active", institution=body.institution)
        position = head.position if head is not None else 0
        unit.session.add(WebhookCursor(webhook_id=row.id, position=position, attempts=0, next_at=unit.now))
        return NewWebhook(id=row.id, secret=secret_of(control, row.id))


def secret_of(control: Control, webhook_id: str) -> str:
    """The secret that the platform and the receiver share, made anew from the home's secret whenever it is needed."""
    raw = control.secret.derive("webhook", webhook_id)
    return "whs_" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _view(row: Webhook, cursor: WebhookCursor) -> WebhookOut:
    return WebhookOut(
        id=row.id,
        institution=row.institution,
        url=row.url,
        state=row.state,
        created_at=row.created_at,
        position=cursor.position,
        attempts=cursor.attempts,
        next_at=cursor.next_at,
        last_fault=cursor.last_fault,
    )


def page(control: Control) -> Webhooks:
    with control.db.read(SYSTEM) as session:
        return Webhooks(items=[_view(row, cursor) for row, cursor in repository.webhooks(session)])


def remove(control: Control, caller: Caller, webhook_id: str, reason: str) -> WebhookOut:
    with control.db.unit(caller) as unit:
        row = repository.webhook(unit.session, webhook_id)
        cursor = unit.session.get(WebhookCursor, webhook_id)
        if row is None or cursor is None:
            raise NotFound("webhook", "回调地址", webhook_id)
        unit.transition(row, "removed", "webhook.remove", reason)
        return _view(row, cursor)


def dead_letters(control: Control, webhook_id: str, limit: int) -> DeadLetters:
    with control.db.read(SYSTEM) as session:
        if session.get(Webhook, webhook_id) is None:
            raise NotFound("webhook", "回调地址", webhook_id)
        rows = repository.dead_letters(session, webhook_id, limit)
        return DeadLetters(items=[DeadLetterOut.model_validate(row, from_attributes=True) for row in rows])


# ---- delivering


def due(control: Control) -> list[str]:
    with control.db.read(SYSTEM) as session:
        return list(repository.due(session, control.db.clock()))


def pause(attempts: int, first: float) -> float:
    """Seconds before the next attempt after `attempts` failed ones: doubled each time, an hour at most."""
    return min(first * 2 ** (attempts - 1), LONGEST_PAUSE)


def signature(secret: str, body: bytes) -> str:
    """What the signature header carries: HMAC-SHA256 of the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@lru_cache
def _context(ca: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=None if ca is None else str(ca))


def _post(control: Control, row: Webhook, body: bytes) -> str | None:
    """None when it was taken, else what went wrong. Names no part of the address."""
    headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature(secret_of(control, row.id), body)}
    try:
        with httpx.Client(verify=_context(control.settings.webhook_ca), timeout=SECONDS, trust_env=False) as client:
            answer = client.post(row.url, content=body, headers=headers, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return type(error).__name__
    return None if answer.is_success else f"HTTP {answer.status_code}"


def deliver(control: Control, webhook_id: str) -> bool:
    """One attempt at the next batch; True when it was taken. Another process that delivers now is left to it."""
    with control.db.unit(SYSTEM) as unit:
        cursor = repository.cursor(unit.session, webhook_id)
        row = unit.session.get(Webhook, webhook_id)
        if cursor is None or row is None or row.state != "active" or cursor.next_at > unit.now:
            return False
        events = repository.events(unit.session, row.institution, cursor.position, BATCH)
        if not events:
            return False
        said = {
            "type": "consent_events",
            "version": VERSION,
            "institution": row.institution,
            "webhook": row.id,
            "events": [plain(event) for event in events],
        }
        fault = _post(control, row, canonical(sign(said, control.key, "platform")))
        cursor.last_fault = fault
        if fault is None:
            cursor.position, cursor.attempts, cursor.next_at = events[-1].position, 0, unit.now
            return True
        cursor.attempts += 1
        cursor.next_at = unit.now + timedelta(seconds=pause(cursor.attempts, control.settings.webhook_pause_seconds))
        log.warning("webhook %s: attempt %d failed (%s)", row.id, cursor.attempts, fault)
        if cursor.attempts >= control.settings.webhook_attempts:
            first, last = events[0].position, events[-1].position
            unit.session.add(
                DeadLetter(
                    webhook_id=row.id, first=first, last=last, attempts=cursor.attempts, fault=fault, at=unit.now
                )
            )
            cursor.position, cursor.attempts, cursor.next_at = last, 0, unit.now
            log.error("webhook %s: events %d to %d given up on", row.id, first, last)
        return False
