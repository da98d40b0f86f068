"""Events to institutions: appended with the change they tell of, polled and acknowledged by position, or delivered.

An event says no more than the institution may read anyway. Each is signed when it is handed out, so that a bank's
system can keep it as evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from api.consent_events import repository
from api.consent_events.schemas import Acked, AckIn, EventPage
from api.control import Control
from api.db import Unit
from api.errors import Conflict, Forbidden
from consent.keys import SigningKey
from consent.signed import Document, sign
from consent.times import stamp

if TYPE_CHECKING:
    from api.auth import Caller
    from api.consents.repository import Consent
    from api.consents.requests import ConsentRequest

VERSION = 1
Event = tuple[str, str, dict[str, Any]]  # institution, kind, body


def topic(institution: str) -> str:
    """What a waiting poll of an institution listens to."""
    return f"events:{institution}"


def of_consent(row: Consent, state: str, seq: int, at: str) -> Event:
    """A consent to this institution is in `state` since event `seq` of the feed."""
    body = {"consent_id": row.consent_id, "enterprise": row.enterprise, "purpose": row.purpose}
    return row.recipient, "consent", {**body, "state": state, "seq": seq, "at": at}


def of_request(row: ConsentRequest, at: datetime) -> Event:
    """A request of this institution has changed its state."""
    body = {"consent_id": row.consent_id, "enterprise": row.enterprise, "purpose": row.purpose}
    return row.recipient, "request", {**body, "state": row.state, "reference": row.reference, "at": stamp(at)}


def tell(unit: Unit, events: Sequence[Event]) -> None:
    """Adds events to the caller's transaction. One to an institution that is not on record is nobody's."""
    if not events:
        return
    for institution in repository.append(unit.session, events, unit.now):
        unit.notify(topic(institution))


def plain(row: repository.InstitutionEvent) -> dict[str, Any]:
    """The event as a system reads it."""
    return {"position": row.position, "kind": row.kind, "recorded_at": stamp(row.at), "event": row.body}


def signed(key: SigningKey, row: repository.InstitutionEvent) -> Document:
    body = {"type": "consent_event", "version": VERSION, "institution": row.institution, **plain(row)}
    return sign(body, key, "platform")


def _own(caller: Caller) -> str:
    if caller.institution == "platform":
        raise Forbidden(
            "events are an institution's own: ask with one of its accounts",
            "事件仅供机构本身读取：请使用该机构的账户",
            code="other_institution",
        )
    return caller.institution


def page(control: Control, caller: Caller, after: int | None, limit: int) -> EventPage:
    """Events after `after`; when it is not given, after the last acknowledged one."""
    institution = _own(caller)
    with control.db.read(caller) as session:
        head = repository.event_head(session, institution)
        acked = head.acked if head is not None else 0
        rows = repository.events(session, institution, acked if after is None else after, limit)
        last = head.position if head is not None else 0
    return EventPage(events=[signed(control.key, row) for row in rows], last=last, acked=acked)


def ack(control: Control, caller: Caller, body: AckIn) -> Acked:
    """Says that everything up to a position has been taken. It never goes back."""
    institution = _own(caller)
    with control.db.unit(caller) as unit:
        head = repository.event_head(unit.session, institution, lock=True)
        last = head.position if head is not None else 0
        if body.position > last:
            raise Conflict(
                f"position {body.position} was not given yet: the last one is {last}",
                f"位置 {body.position} 尚未产生：当前最后位置为 {last}",
                code="position_unknown",
            )
        if head is None:
            return Acked(acked=0, last=0)
        head.acked = max(head.acked, body.position)
        return Acked(acked=head.acked, last=last)
