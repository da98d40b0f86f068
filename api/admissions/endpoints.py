"""/v1/admissions: applications to open, revoke, reset or change an institution's admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from api.admissions import service
from api.admissions.schemas import AdmissionIn, AdmissionOut, Admissions, CarriedOut, OpinionIn
from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import Limit

router = APIRouter(prefix="/v1/admissions", tags=["admissions"])
AdmissionId = Annotated[str, Path(pattern="^ad-[0-9a-f]{12}$")]
Submitter = Annotated[Caller, Depends(permits(Action.ADMISSION_SUBMIT))]
Decider = Annotated[Caller, Depends(permits(Action.ADMISSION_DECIDE))]


@router.post("", status_code=201)
def submit(control: ControlDep, caller: Submitter, body: AdmissionIn) -> AdmissionOut:
    """Enter a written application."""
    return service.submit(control, caller, body)


@router.get("")
def page(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.ADMISSION_READ))],
    state: Annotated[str | None, Query(pattern="^[a-z_]{1,20}$")] = None,
    limit: Limit = 100,
) -> Admissions:
    """Applications, the newest first."""
    return service.page(control, caller, state, limit)


@router.post("/{admission_id}/approve")
def approve(control: ControlDep, caller: Decider, admission_id: AdmissionId, body: OpinionIn) -> AdmissionOut:
    """Approve, with an opinion."""
    return service.decide(control, caller, admission_id, "approved", body.opinion)


@router.post("/{admission_id}/return")
def give_back(control: ControlDep, caller: Decider, admission_id: AdmissionId, body: OpinionIn) -> AdmissionOut:
    """Return, with an opinion."""
    return service.decide(control, caller, admission_id, "returned", body.opinion)


@router.post("/{admission_id}/carry-out")
def carry_out(control: ControlDep, caller: Decider, admission_id: AdmissionId) -> CarriedOut:
    """Do what was approved, from its day on. One-time codes are shown once."""
    return service.carry_out(control, caller, admission_id)


@router.post("/{admission_id}/withdraw")
def withdraw(control: ControlDep, caller: Submitter, admission_id: AdmissionId) -> AdmissionOut:
    """Take an application back."""
    return service.withdraw(control, caller, admission_id)
