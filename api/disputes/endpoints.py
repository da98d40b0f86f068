"""/v1/disputes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.disputes import service
from api.disputes.schemas import AnswerIn, DisputeId, DisputeIn, DisputeOut, Disputes, DisputeState
from api.fields import Limit, ReasonIn, Text

router = APIRouter(prefix="/v1/disputes", tags=["disputes"])

# for an enterprise that came to the counter; its own page calls the service itself
Clerk = Annotated[Caller, Depends(permits(Action.DISPUTE_OPEN))]
Reader = Annotated[Caller, Depends(permits(Action.DISPUTE_READ))]


@router.post("", status_code=201)
def open_dispute(control: ControlDep, caller: Clerk, body: DisputeIn) -> DisputeOut:
    """Open a dispute or complaint for an enterprise. The clock starts now."""
    return service.open_dispute(control, caller, body)


@router.get("")
def disputes(
    control: ControlDep,
    caller: Reader,
    enterprise: Text | None = None,
    state: DisputeState | None = None,
    overdue: bool = False,
    limit: Limit = 100,
) -> Disputes:
    """Disputes and complaints, newest first; with `overdue`, those whose day has passed, the longest first."""
    return service.page(control, caller, enterprise, state, overdue, limit)


@router.get("/{dispute_id}")
def get(control: ControlDep, caller: Reader, dispute_id: DisputeId) -> DisputeOut:
    return service.get(control, caller, dispute_id)


@router.post("/{dispute_id}/answer")
def answer(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.DISPUTE_ANSWER))],
    dispute_id: DisputeId,
    body: AnswerIn,
) -> DisputeOut:
    """Answer a dispute that concerns the caller's institution; a complaint is the operator's to answer."""
    return service.answer(control, caller, dispute_id, body.answer)


@router.post("/{dispute_id}/close")
def close(control: ControlDep, caller: Clerk, dispute_id: DisputeId, body: ReasonIn) -> DisputeOut:
    """The enterprise accepts the answer."""
    return service.close(control, caller, dispute_id, body.reason)


@router.post("/{dispute_id}/reopen")
def reopen(control: ControlDep, caller: Clerk, dispute_id: DisputeId, body: ReasonIn) -> DisputeOut:
    """The answer does not settle it: a new clock starts."""
    return service.reopen(control, caller, dispute_id, body.reason)


@router.post("/{dispute_id}/withdraw")
def take_back(control: ControlDep, caller: Clerk, dispute_id: DisputeId, body: ReasonIn) -> DisputeOut:
    """The enterprise takes it back."""
    return service.take_back(control, caller, dispute_id, body.reason)
