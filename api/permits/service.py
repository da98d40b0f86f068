"""One use: permit and usage record in one transaction, then the node's answer within the deadline, handed on once.

The consent is looked at in that transaction and held against a withdrawal until it commits: a withdrawal that
was confirmed before is always seen, one that comes after finds the use recorded. Owns the way of a permit whatever it
is for; what is asked and what an answer holds is its kind's to say.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.auth import Caller
from api.consents import persons
from api.consents import repository as consents
from api.consents.repository import Consent
from api.control import Control
from api.db import SYSTEM, Actor, Unit
from api.disputes import repository as disputes
from api.errors import ApiError, DeadlineExceeded, Forbidden, Invalid, NotFound
from api.institutions import repository as institutions
from api.ledger import service as ledger
from api.nodes import repository as nodes
from api.permits import repository
from api.permits.repository import Kind, Permit, Transit
from api.permits.schemas import NodeError, Taken
from api.usage import repository as usage
from consent.ledger import Kind as Entry
from consent.policy import Facts
from consent.purposes import Mode, Purpose
from consent.signed import Document
from consent.times import stamp

# a permit's times are whole seconds: it must outlive the wait it is made for
ROUNDING_SECONDS = 2
_FORGET_SECONDS = 60
_ENTRIES = {Kind.SCORE: Entry.SCORE, Kind.DATA: Entry.DATA_USE}
# what a node answers when its own gate finds no live consent
_CONSENT_CODES = frozenset(
    {
        "no_consent", "consent_refused", "consent_withdrawn", "consent_paused", "expired", "not_yet_valid",
        "person_consent_missing", "person_consent_withdrawn", "use_not_consented", "uses_exhausted",
        "frequency_exceeded", "institution_suspended", "institution_removed", "data_not_covered", "window_exceeded",
        "sharing_never", "sharing_category", "sharing_item", "sharing_mode",
    }
)  # fmt: skip
# what it answers when what was asked makes no sense of the catalogue
_ASKED_CODES = frozenset({"verify_item", "verify_value", "verify_nothing", "catalogue_unknown_name"})


class NodeRefused(ApiError):
    """The node answered with an error of its own."""

    status, code, title = 502, "node_failed", "The node could not do it"


@dataclass(frozen=True)
class Issued:
    """What the waiting call remembers of its permit."""

    permit_id: str
    usage_id: str
    consent_id: str
    node: str
    disputed: bool


def new_id() -> str:
    return f"p-{secrets.token_hex(8)}"


def topic(permit_id: str) -> str:
    return f"permit:{permit_id}"


# ---- allowing


def _standing(unit: Unit, *parties: str) -> str | None:
    """The state that forbids most: nothing of a sanctioned lab is used either."""
    states = [institutions.state(unit.session, party) for party in parties]
    return next((state for state in states if state != "active"), "active")


def _uses(unit: Unit, found: Consent | None) -> tuple[int, int]:
    """Uses under a consent, in all and in the period of its limit."""
    if found is None:
        return 0, 0
    days = found.terms["limits"]["period_days"] or 0
    return usage.counted(unit.session, found.consent_id, unit.now - timedelta(days=days))


def facts(
    unit: Unit, *, enterprise: str, recipient: str, provider: str, purpose: Purpose, use: Mode
) -> tuple[Consent | None, Facts]:
    """The newest word of the enterprise, held until the transaction ends, and what the policy asks of it."""
    found = consents.newest(unit.session, enterprise, recipient, provider, purpose, lock=True)
    return found, consents.facts_of(
        found,
        stamp(unit.now),
        purpose=purpose,
        use=use,
        institution=_standing(unit, recipient, provider),
        uses=_uses(unit, found),
        persons=persons.found(unit.session, found, stamp(unit.now), lock=True),
    )


def times(unit: Unit, seconds: float) -> tuple[datetime, dict[str, str]]:
    """Until when the answer is waited for, and the times of the document."""
    expires_at = unit.now + timedelta(seconds=seconds)
    until = expires_at + timedelta(seconds=ROUNDING_SECONDS)
    return expires_at, {"issued_at": stamp(unit.now), "expires_at": stamp(until)}


def issue(
    unit: Unit,
    kind: Kind,
    document: Document,
    *,
    usage_id: str,
    node: str,
    expires_at: datetime,
    release_id: str | None = None,
    release_sha256: str | None = None,
    request: dict[str, Any] | None = None,
) -> Issued:
    """Puts a signed permit on record, into the ledger and before its node. `request` goes beside it and is not kept."""
    body = document["body"]
    row = Permit(
        id=body["permit_id"],
        kind=kind,
        usage_id=usage_id,
        release_id=release_id,
        release_sha256=release_sha256,
        node=node,
        permit=document,
        issued_at=unit.now,
        expires_at=expires_at,
    )
    unit.create(row, f"{kind}.permit", body["reason"], state="pending", usage_id=usage_id)
    ledger.append(unit, _ENTRIES[kind], document, of=(f"{kind}_permit", row.id))
    if request is not None:
        unit.session.add(Transit(permit_id=row.id, request=request, at=unit.now))
    unit.notify(f"node:{node}")
    disputed = disputes.is_disputed(unit.session, body["enterprise"])
    return Issued(row.id, usage_id, body["consent_id"], node, disputed)


# ---- answering


def _close(unit: Unit, row: Permit, state: str, reason: str, code: str | None = None) -> None:
    unit.transition(row, state, f"{row.kind}.close", reason, code=code)
    usage.outcome(unit, row.usage_id, state, code)


def answer(
    control: Control, caller: Caller, kind: Kind, permit_id: str, body: dict[str, Any], error: NodeError | None
) -> Taken:
    """Takes the node's answer; a late or repeated one changes nothing.

    A lab's node closes what is on record for the bank, so this is seen by the platform and written in the node's name.
    """
    with control.db.unit(SYSTEM) as unit:
        unit.identified(caller)
        nodes.heard(unit.session, caller.name, unit.now)
        row = repository.locked(unit.session, permit_id)
        if row is None or row.node != caller.name or row.kind != kind:
            raise NotFound("permit", "许可", permit_id)
        if row.state == "pending":
            if error is None:
                _close(unit, row, "answered", "answered by the node")
            else:
                _close(unit, row, "failed", error.message, error.code)
            repository.put_answer(unit.session, permit_id, body, unit.now)
            unit.notify(topic(permit_id))
        return Taken(state=row.state)


def fetch(control: Control, permit_id: str) -> dict[str, Any] | None:
    """The answer, once: it is deleted as it is read."""
    with control.db.unit(SYSTEM) as unit:
        return repository.take_answer(unit.session, permit_id)


def expire(control: Control, actor: Actor, permit_id: str) -> None:
    with control.db.unit(actor) as unit:
        row = repository.locked(unit.session, permit_id)
        if row is not None and row.state == "pending":
            _close(unit, row, "expired", "no answer within the deadline", "deadline_exceeded")
            repository.drop(unit.session, permit_id)


def sweep(control: Control) -> None:
    """Closes permits whose caller has gone, and forgets what nobody fetched."""
    with control.db.read(SYSTEM) as session:
        now = control.db.clock()
        # the waiting call closes its own permit at the deadline: this is for those that were killed
        late = repository.overdue(session, now - timedelta(seconds=ROUNDING_SECONDS))
    for permit_id in late:
        expire(control, SYSTEM, permit_id)
    longest = max(control.settings.score_seconds, control.settings.data_seconds)
    with control.db.unit(SYSTEM) as unit:
        repository.forget(unit.session, unit.now - timedelta(seconds=longest + _FORGET_SECONDS))


async def wait[T: Issued](
    control: Control, caller: Caller, issued_by: Callable[[str], T], seconds: float, late: str
) -> tuple[T, dict[str, Any]]:
    """Issues a permit by `issued_by(permit id)` and waits for its node: the permit, and what the node answered.

    Raises DeadlineExceeded (504, code `late`) when the node does not answer in time, Forbidden where its own gate
    refuses, NodeRefused with any other error of its own.
    """
    permit_id = new_id()
    with control.hub.listen(topic(permit_id)) as bell:
        issued = await run_in_threadpool(issued_by, permit_id)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            found = await run_in_threadpool(fetch, control, permit_id)
            left = deadline - loop.time()
            if found is not None:
                return issued, _told(issued, found)
            if left <= 0 or control.hub.closing:
                break
            await bell.wait(left)
    await run_in_threadpool(expire, control, caller, permit_id)
    if (found := await run_in_threadpool(fetch, control, permit_id)) is not None:
        return issued, _told(issued, found)
    raise DeadlineExceeded(
        f"node {issued.node} did not answer within {seconds:.0f} s: see that it runs",
        f"节点 {issued.node} 未在 {seconds:.0f} 秒内应答：请确认其正在运行",
        code=late,
        usage_id=issued.usage_id,
    )


def _told(issued: Issued, found: dict[str, Any]) -> dict[str, Any]:
    if (error := found.get("error")) is not None:
        code = error["code"]
        kind = Forbidden if code in _CONSENT_CODES else Invalid if code in _ASKED_CODES else NodeRefused
        raise kind(
            error["message"],
            error["message_zh"] or error["message"],
            code=code,
            usage_id=issued.usage_id,
        )
    result: dict[str, Any] = found["result"]
    return result
