"""/v1/applications for the platform, /v1/referrals and /v1/needs for institutions, /v1/my for enterprises."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.applications import handling, service
from api.applications.profiles import ProfileIn, ProfileOut
from api.applications.schemas import (
    AcceptIn,
    ApplicationDetail,
    ApplicationId,
    ApplicationIn,
    ApplicationOut,
    ApplicationState,
    ApprovalIn,
    ChoiceIn,
    FollowUpIn,
    Need,
    PushIn,
    ReferralDetail,
    ReferralId,
    ReferralOut,
    ReferralState,
    ReviewIn,
    SessionOut,
)
from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.enterprises.persons import as_person
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.etags import IfMatch, tell
from api.fields import Limit, ReasonIn
from api.paging import CursorParam, Page

router = APIRouter(tags=["applications"])

Platform = Annotated[Caller, Depends(permits(Action.APPLICATION_REVIEW))]
Seeing = Annotated[Caller, Depends(permits(Action.APPLICATION_READ))]
Officer = Annotated[Caller, Depends(permits(Action.REFERRAL_DECIDE))]
Asking = Annotated[Caller, Depends(permits(Action.REFERRAL_ASK))]
Reader = Annotated[Caller, Depends(permits(Action.REFERRAL_READ))]
Looking = Annotated[Visitor, Depends(as_person(Action.MY_READ, Right.VIEW))]
Deciding = Annotated[Visitor, Depends(as_person(Action.MY_WRITE, Right.DECIDE))]

# ---- the platform


@router.get("/v1/applications")
def queue(
    control: ControlDep,
    caller: Seeing,
    state: ApplicationState = "submitted",
    cursor: CursorParam = None,
    limit: Limit = 100,
) -> Page[ApplicationOut]:
    """What was handed in and is in `state`, the oldest first."""
    return service.queue(control, caller, state, cursor, limit)


@router.get("/v1/applications/{application_id}")
def application(control: ControlDep, caller: Seeing, application_id: ApplicationId) -> ApplicationDetail:
    return service.get(control, caller, application_id)


@router.post("/v1/applications/{application_id}/review")
def review(control: ControlDep, caller: Platform, application_id: ApplicationId, body: ReviewIn) -> ApplicationDetail:
    """Pass it on to institutions, or return it. The platform says nothing of the credit."""
    return service.review(control, caller, application_id, body)


@router.post("/v1/applications/{application_id}/push")
def push(control: ControlDep, caller: Platform, application_id: ApplicationId, body: PushIn) -> ApplicationDetail:
    """Refer an open need to further institutions."""
    return service.push(control, caller, application_id, body.institutions, body.reason)


# ---- institutions


@router.get("/v1/referrals")
def referrals(
    control: ControlDep,
    caller: Reader,
    state: ReferralState | None = None,
    cursor: CursorParam = None,
    limit: Limit = 100,
) -> Page[ReferralOut]:
    """Applications before the institution, newest first."""
    return handling.listed(control, caller, state, cursor, limit)


@router.get("/v1/referrals/{referral_id}")
def referral(control: ControlDep, caller: Reader, referral_id: ReferralId, response: Response) -> ReferralDetail:
    found = handling.get(control, caller, referral_id)
    tell(response, found.version)
    return found


@router.post("/v1/referrals/{referral_id}/accept")
def accept(control: ControlDep, caller: Officer, referral_id: ReferralId, body: AcceptIn) -> ReferralDetail:
    """Take it up. Due five working days after it was received."""
    return handling.accept(control, caller, referral_id, body)


@router.post("/v1/referrals/{referral_id}/refuse")
def refuse(control: ControlDep, caller: Officer, referral_id: ReferralId, body: ReasonIn) -> ReferralDetail:
    """Do not take it up, with a reason."""
    return handling.refuse(control, caller, referral_id, body.reason)


@router.post("/v1/referrals/{referral_id}/follow-up")
def follow_up(control: ControlDep, caller: Officer, referral_id: ReferralId, body: FollowUpIn) -> ReferralDetail:
    """The offline follow-up took place. Due one month after it was accepted."""
    return handling.follow_up(control, caller, referral_id, body)


@router.post("/v1/referrals/{referral_id}/progress", status_code=201)
def progress(control: ControlDep, caller: Officer, referral_id: ReferralId, body: FollowUpIn) -> ReferralDetail:
    """Anything else that happened while it is open."""
    return handling.note(control, caller, referral_id, body)


@router.post("/v1/referrals/{referral_id}/approve")
def approve(control: ControlDep, caller: Officer, referral_id: ReferralId, body: ApprovalIn) -> ReferralDetail:
    """The institution approved it; the result is due five working days after that day."""
    return handling.approve(control, caller, referral_id, body)


@router.post("/v1/referrals/{referral_id}/decline")
def decline(control: ControlDep, caller: Officer, referral_id: ReferralId, body: FollowUpIn) -> ReferralDetail:
    """After the follow-up, no credit is given."""
    return handling.decline(control, caller, referral_id, body)


@router.get("/v1/needs")
def board(control: ControlDep, caller: Reader, cursor: CursorParam = None, limit: Limit = 100) -> Page[Need]:
    """Open needs that any institution may ask for, without names."""
    return handling.board(control, caller, cursor, limit)


@router.post("/v1/needs/{application_id}/ask", status_code=201)
def ask(control: ControlDep, caller: Asking, application_id: ApplicationId) -> ReferralDetail:
    """Ask for an open need: it is before the institution from now on, and its clock runs."""
    return handling.ask(control, caller, application_id)


# ---- enterprises


@router.get("/v1/my/session")
def session(who: Looking) -> SessionOut:
    """Who is signed in, and the token that writes carry."""
    return SessionOut(
        enterprise=who.uscc,
        enterprise_name=who.enterprise_name,
        person=who.name,
        rights=sorted(str(right) for right in who.rights),
        csrf=who.csrf,
    )


@router.get("/v1/my/profile")
def profile(control: ControlDep, who: Looking, response: Response) -> ProfileOut:
    found = service.get_profile(control, who)
    tell(response, found.version)
    return found


@router.put("/v1/my/profile")
def save_profile(
    control: ControlDep, who: Deciding, body: ProfileIn, response: Response, if_match: IfMatch = None
) -> ProfileOut:
    """The basic information that goes with every application."""
    saved = service.save_profile(control, who, body, if_match)
    tell(response, saved.version)
    return saved


@router.post("/v1/my/applications", status_code=201)
def draft(control: ControlDep, who: Deciding, body: ApplicationIn) -> ApplicationDetail:
    """Begin an application for a product, or without one an open need."""
    return service.draft(control, who, body)


@router.get("/v1/my/applications")
def mine(
    control: ControlDep,
    who: Looking,
    state: ApplicationState | None = None,
    cursor: CursorParam = None,
    limit: Limit = 50,
) -> Page[ApplicationOut]:
    return service.mine(control, who, state, cursor, limit)


@router.get("/v1/my/applications/{application_id}")
def get_mine(control: ControlDep, who: Looking, application_id: ApplicationId, response: Response) -> ApplicationDetail:
    found = service.get_mine(control, who, application_id)
    tell(response, found.version)
    return found


@router.put("/v1/my/applications/{application_id}")
def change(
    control: ControlDep,
    who: Deciding,
    application_id: ApplicationId,
    body: ApplicationIn,
    response: Response,
    if_match: IfMatch = None,
) -> ApplicationDetail:
    """Fill it in anew, while it is a draft or was returned."""
    changed = service.change(control, who, application_id, body, if_match)
    tell(response, changed.version)
    return changed


@router.post("/v1/my/applications/{application_id}/submit")
def submit(control: ControlDep, who: Deciding, application_id: ApplicationId) -> ApplicationDetail:
    """Hand it in for review."""
    return service.submit(control, who, application_id)


@router.post("/v1/my/applications/{application_id}/withdraw")
def withdraw(control: ControlDep, who: Deciding, application_id: ApplicationId, body: ReasonIn) -> ApplicationDetail:
    """End it, and take it back from every institution that has not come to a result."""
    return service.withdraw(control, who, application_id, body.reason)


@router.post("/v1/my/applications/{application_id}/choose")
def choose(control: ControlDep, who: Deciding, application_id: ApplicationId, body: ChoiceIn) -> ApplicationDetail:
    """Go on with one institution, and take it back from the others."""
    return service.choose(control, who, application_id, body.referral, body.reason)
