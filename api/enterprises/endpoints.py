"""/v1/enterprises: for the operator and the gateway. What an enterprise does itself is in the portal."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.enterprises import service
from api.enterprises.schemas import (
    CodeIn,
    EnterpriseDetail,
    EnterpriseIn,
    EnterpriseOut,
    Enterprises,
    NewCode,
    NewEnterprise,
    StateIn,
)
from api.fields import Limit

router = APIRouter(prefix="/v1/enterprises", tags=["enterprises"])
Uscc = Annotated[str, Path(pattern="^[0-9A-Z]{18}$")]


@router.post("", status_code=201)
def enrol(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.ENTERPRISE_ENROL))], body: EnterpriseIn
) -> NewEnterprise:
    """Put an enterprise on record after its identity was checked. The code is shown once."""
    return service.enrol(control, caller, body)


@router.get("", dependencies=[Depends(permits(Action.ENTERPRISE_READ))])
def list_enterprises(
    control: ControlDep, after: Annotated[str, Query(pattern="^[0-9A-Z]{0,18}$")] = "", limit: Limit = 100
) -> Enterprises:
    """Enterprises by code, after the one named."""
    return service.list_enterprises(control, after, limit)


@router.get("/{uscc}", dependencies=[Depends(permits(Action.ENTERPRISE_READ))])
def detail(control: ControlDep, uscc: Uscc) -> EnterpriseDetail:
    """One enterprise with its contact and its people."""
    return service.detail(control, uscc)


@router.post("/{uscc}/codes", status_code=201)
def issue_code(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.ENTERPRISE_ENROL))],
    uscc: Uscc,
    body: CodeIn,
) -> NewCode:
    """A one-time code for a person: to enrol, to recover from a lost key, or to sign in and confirm where allowed."""
    return service.issue_code(control, caller, uscc, body)


@router.post("/{uscc}/state")
def set_state(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.ENTERPRISE_STATE))],
    uscc: Uscc,
    body: StateIn,
) -> EnterpriseOut:
    """Suspend, reinstate or close the account."""
    return service.set_state(control, caller, uscc, body)
