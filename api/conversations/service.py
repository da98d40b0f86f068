"""Messages within a referral: its enterprise and its institution write and read them, and nobody else.

The platform is no party (R18): no route of its own leads here. Messages are never changed.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.applications import repository as applications
from api.applications.repository import Referral
from api.consent_events import service as consent_events
from api.consents.requests import inform
from api.control import Control
from api.conversations import repository
from api.conversations.repository import Message
from api.conversations.schemas import MessageIn, MessageOut
from api.db import Actor
from api.errors import NotFound
from api.paging import Order, Page, page

_OLDEST = Order("written", (Message.id,))


def _party(session: Session, actor: Actor, referral_id: str) -> tuple[Referral, str]:
    """The referral and on which side of it the actor is. Raises NotFound for anybody else."""
    row = applications.referral(session, referral_id)
    if row is not None and actor.institution == row.enterprise:
        return row, "enterprise"
    if row is not None and actor.institution == row.institution:
        return row, "institution"
    raise NotFound("referral", "受理单", referral_id)


def write(control: Control, actor: Actor, referral_id: str, body: MessageIn) -> MessageOut:
    """Adds a message; the other side is told that there is one, not what it says."""
    with control.db.unit(actor) as unit:
        row, side = _party(unit.session, actor, referral_id)
        message = Message(
            referral=row.id,
            institution=row.institution,
            enterprise=row.enterprise,
            side=side,
            author=actor.account_id,
            author_name=actor.name,
            text=body.text,
            at=unit.now,
        )
        unit.session.add(message)
        unit.session.flush()
        if side == "enterprise":
            told = {"referral_id": row.id, "message_id": message.id, "at": unit.now.isoformat()}
            consent_events.tell(unit, [(row.institution, "message", told)])
        else:
            inform(unit, row.enterprise, "message", row.id)
        return MessageOut.model_validate(message)


def messages(control: Control, actor: Actor, referral_id: str, cursor: str | None, limit: int) -> Page[MessageOut]:
    """In the order they were written."""
    with control.db.read(actor) as session:
        row, _ = _party(session, actor, referral_id)
        return page(session, repository.of_referral(row.id), _OLDEST, cursor, limit, MessageOut.model_validate)
