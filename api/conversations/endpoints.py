"""/v1/referrals/{id}/messages and the enterprise's side of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.applications.schemas import ReferralId
from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.conversations import service
from api.conversations.schemas import MessageIn, MessageOut
from api.enterprises.persons import as_person
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.fields import Limit
from api.paging import CursorParam, Page

router = APIRouter(tags=["conversations"])

Officer = Annotated[Caller, Depends(permits(Action.MESSAGE_WRITE))]
Reader = Annotated[Caller, Depends(permits(Action.MESSAGE_READ))]
Person = Annotated[Visitor, Depends(as_person(Action.MY_WRITE, Right.DECIDE))]
Looking = Annotated[Visitor, Depends(as_person(Action.MY_READ, Right.VIEW))]


@router.post("/v1/referrals/{referral_id}/messages", status_code=201)
def write(control: ControlDep, caller: Officer, referral_id: ReferralId, body: MessageIn) -> MessageOut:
    """Write to the enterprise."""
    return service.write(control, caller, referral_id, body)


@router.get("/v1/referrals/{referral_id}/messages")
def messages(
    control: ControlDep, caller: Reader, referral_id: ReferralId, cursor: CursorParam = None, limit: Limit = 100
) -> Page[MessageOut]:
    return service.messages(control, caller, referral_id, cursor, limit)


@router.post("/v1/my/referrals/{referral_id}/messages", status_code=201)
def write_mine(control: ControlDep, who: Person, referral_id: ReferralId, body: MessageIn) -> MessageOut:
    """Write to the institution."""
    return service.write(control, who, referral_id, body)


@router.get("/v1/my/referrals/{referral_id}/messages")
def my_messages(
    control: ControlDep, who: Looking, referral_id: ReferralId, cursor: CursorParam = None, limit: Limit = 100
) -> Page[MessageOut]:
    return service.messages(control, who, referral_id, cursor, limit)
