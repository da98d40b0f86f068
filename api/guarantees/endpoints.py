"""/v1/guarantees for guarantors, and what banks and enterprises see of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.applications.schemas import ApplicationId, ReferralId
from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.enterprises.persons import as_person
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.fields import Limit, ReasonIn
from api.guarantees import service
from api.guarantees.schemas import (
    AnswerIn,
    GuaranteeDetail,
    GuaranteeId,
    GuaranteeOut,
    Guarantees,
    GuaranteeState,
    InvitationIn,
)
from api.paging import CursorParam, Page

router = APIRouter(tags=["guarantees"])

Guarantor = Annotated[Caller, Depends(permits(Action.GUARANTEE_ANSWER))]
Invited = Annotated[Caller, Depends(permits(Action.GUARANTEE_READ))]
Reader = Annotated[Caller, Depends(permits(Action.REFERRAL_READ))]
Looking = Annotated[Visitor, Depends(as_person(Action.MY_READ, Right.VIEW))]
Deciding = Annotated[Visitor, Depends(as_person(Action.MY_WRITE, Right.DECIDE))]


@router.get("/v1/guarantees")
def own(
    control: ControlDep,
    caller: Invited,
    state: GuaranteeState | None = None,
    cursor: CursorParam = None,
    limit: Limit = 100,
) -> Page[GuaranteeOut]:
    """Invitations to the caller's institution, newest first."""
    return service.own(control, caller, state, cursor, limit)


@router.get("/v1/guarantees/{guarantee_id}")
def get(control: ControlDep, caller: Invited, guarantee_id: GuaranteeId) -> GuaranteeDetail:
    return service.get(control, caller, guarantee_id)


@router.post("/v1/guarantees/{guarantee_id}/answer")
def answer(control: ControlDep, caller: Guarantor, guarantee_id: GuaranteeId, body: AnswerIn) -> GuaranteeOut:
    """Accept or refuse to stand for the application."""
    return service.answer(control, caller, guarantee_id, body)


@router.get("/v1/referrals/{referral_id}/guarantees")
def of_referral(control: ControlDep, caller: Reader, referral_id: ReferralId) -> Guarantees:
    return service.of_referral(control, caller, referral_id)


@router.post("/v1/my/applications/{application_id}/guarantees", status_code=201)
def invite(control: ControlDep, who: Deciding, application_id: ApplicationId, body: InvitationIn) -> GuaranteeOut:
    """Invite a guarantor to an application."""
    return service.invite(control, who, application_id, body)


@router.get("/v1/my/applications/{application_id}/guarantees")
def of_mine(control: ControlDep, who: Looking, application_id: ApplicationId) -> Guarantees:
    return service.of_mine(control, who, application_id)


@router.post("/v1/my/guarantees/{guarantee_id}/withdraw")
def withdraw(control: ControlDep, who: Deciding, guarantee_id: GuaranteeId, body: ReasonIn) -> GuaranteeOut:
    """The enterprise takes the invitation back."""
    return service.withdraw(control, who, guarantee_id, body.reason)
