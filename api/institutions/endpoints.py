"""/v1/institutions, /v1/accounts and /v1/whoami."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.institutions import service
from api.institutions.schemas import (
    AccountIn,
    Accounts,
    InstitutionIn,
    InstitutionOut,
    Institutions,
    NewAccount,
    Whoami,
)

router = APIRouter(prefix="/v1", tags=["institutions"])


@router.post("/institutions", status_code=201)
def create_institution(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.INSTITUTION_CREATE))],
    body: InstitutionIn,
) -> InstitutionOut:
    """Open an institution."""
    return service.create_institution(control, caller, body)


@router.get("/institutions", dependencies=[Depends(permits(Action.INSTITUTION_READ))])
def list_institutions(control: ControlDep) -> Institutions:
    return service.list_institutions(control)


@router.post("/accounts", status_code=201)
def create_account(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.ACCOUNT_CREATE))],
    body: AccountIn,
) -> NewAccount:
    """Make an account. The token is shown once."""
    return service.create_account(control, caller, body)


@router.get("/accounts", dependencies=[Depends(permits(Action.ACCOUNT_READ))])
def list_accounts(control: ControlDep) -> Accounts:
    return service.list_accounts(control)


@router.get("/whoami")
def whoami(caller: Annotated[Caller, Depends(permits(Action.WHOAMI))]) -> Whoami:
    """The account behind the token."""
    return Whoami(
        account_id=caller.account_id,
        name=caller.name,
        institution=caller.institution,
        roles=sorted(caller.roles),
    )
