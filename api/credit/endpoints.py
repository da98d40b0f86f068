"""/v1/credits, and the result of a referral that opens one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.applications.schemas import ReferralId
from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.credit import mediation, service
from api.credit.schemas import (
    CreditDetail,
    CreditId,
    CreditOut,
    CreditState,
    DisbursementIn,
    LapseIn,
    MediationAnswer,
    MediationEnd,
    MediationId,
    MediationIn,
    MediationOut,
    Mediations,
    ResultIn,
    StatusIn,
)
from api.enterprises.persons import as_person
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.etags import tell
from api.fields import Limit
from api.paging import CursorParam, Page

router = APIRouter(tags=["credit"])

Officer = Annotated[Caller, Depends(permits(Action.CREDIT_REPORT))]
Reader = Annotated[Caller, Depends(permits(Action.CREDIT_READ))]
Looking = Annotated[Visitor, Depends(as_person(Action.MY_READ, Right.VIEW))]
Deciding = Annotated[Visitor, Depends(as_person(Action.MY_WRITE, Right.DECIDE))]


@router.post("/v1/referrals/{referral_id}/result", status_code=201)
def grant(control: ControlDep, caller: Officer, referral_id: ReferralId, body: ResultIn) -> CreditDetail:
    """Report the signed contract of an approved referral: it enters the credit ledger."""
    return service.grant(control, caller, referral_id, body)


@router.get("/v1/credits")
def ledger(
    control: ControlDep,
    caller: Reader,
    state: CreditState | None = None,
    cursor: CursorParam = None,
    limit: Limit = 100,
) -> Page[CreditOut]:
    """The credit ledger, newest first."""
    return service.ledger(control, caller, state, cursor, limit)


@router.get("/v1/credits/warnings")
def warnings(control: ControlDep, caller: Reader, cursor: CursorParam = None, limit: Limit = 100) -> Page[CreditOut]:
    """Credits of special mention or overdue, the longest overdue first."""
    return service.warnings(control, caller, cursor, limit)


@router.get("/v1/credits/{credit_id}")
def get(control: ControlDep, caller: Reader, credit_id: CreditId, response: Response) -> CreditDetail:
    found = service.get(control, caller, credit_id)
    tell(response, found.version)
    return found


@router.post("/v1/credits/{credit_id}/disbursements", status_code=201)
def disburse(control: ControlDep, caller: Officer, credit_id: CreditId, body: DisbursementIn) -> CreditDetail:
    """Report a payment. The same voucher again changes nothing."""
    return service.disburse(control, caller, credit_id, body)


@router.post("/v1/credits/{credit_id}/status", status_code=201)
def report(control: ControlDep, caller: Officer, credit_id: CreditId, body: StatusIn) -> CreditDetail:
    """Report how it stands on a day."""
    return service.report(control, caller, credit_id, body)


@router.post("/v1/credits/{credit_id}/lapse")
def lapse(control: ControlDep, caller: Officer, credit_id: CreditId, body: LapseIn) -> CreditDetail:
    """It ends without a payment."""
    return service.lapse(control, caller, credit_id, body.reason)


@router.get("/v1/my/credits")
def mine(control: ControlDep, who: Looking, cursor: CursorParam = None, limit: Limit = 50) -> Page[CreditOut]:
    return service.mine(control, who, cursor, limit)


@router.get("/v1/my/credits/{credit_id}")
def get_mine(control: ControlDep, who: Looking, credit_id: CreditId) -> CreditDetail:
    return service.get(control, who, credit_id)


# ---- mediation


@router.get("/v1/credits/{credit_id}/mediations")
def mediations(control: ControlDep, caller: Reader, credit_id: CreditId) -> Mediations:
    return mediation.of_credit(control, caller, credit_id)


@router.post("/v1/credits/{credit_id}/mediations", status_code=201)
def propose(control: ControlDep, caller: Officer, credit_id: CreditId, body: MediationIn) -> MediationOut:
    """Propose to hand a dispute over a lent credit to a mediator."""
    return mediation.propose(control, caller, credit_id, body)


@router.post("/v1/mediations/{mediation_id}/answer")
def answer(control: ControlDep, caller: Officer, mediation_id: MediationId, body: MediationAnswer) -> MediationOut:
    """Agree to what the enterprise proposed, or refuse it."""
    return mediation.answer(control, caller, mediation_id, body)


@router.post("/v1/mediations/{mediation_id}/end")
def end(control: ControlDep, caller: Officer, mediation_id: MediationId, body: MediationEnd) -> MediationOut:
    """Report how the mediation ended."""
    return mediation.end(control, caller, mediation_id, body)


@router.get("/v1/my/credits/{credit_id}/mediations")
def my_mediations(control: ControlDep, who: Looking, credit_id: CreditId) -> Mediations:
    return mediation.of_credit(control, who, credit_id)


@router.post("/v1/my/credits/{credit_id}/mediations", status_code=201)
def propose_mine(control: ControlDep, who: Deciding, credit_id: CreditId, body: MediationIn) -> MediationOut:
    """Propose to hand a dispute over a lent credit to a mediator."""
    return mediation.propose(control, who, credit_id, body)


@router.post("/v1/my/mediations/{mediation_id}/answer")
def answer_mine(control: ControlDep, who: Deciding, mediation_id: MediationId, body: MediationAnswer) -> MediationOut:
    """Agree to what the institution proposed, or refuse it."""
    return mediation.answer(control, who, mediation_id, body)
