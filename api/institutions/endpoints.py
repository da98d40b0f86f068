"""/v1/institutions, /v1/accounts and /v1/whoami."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Action, Caller, duties_of, permits
from api.control import ControlDep
from api.fields import Slug
from api.institutions import sanctions, service
from api.institutions.schemas import (
    AccountIn,
    Accounts,
    AgreementIn,
    AssessmentIn,
    InstitutionIn,
    InstitutionOut,
    Institutions,
    NewAccount,
    OnboardingOut,
    Onboardings,
    RectifyIn,
    SanctionIn,
    StandingOut,
    Standings,
    Whoami,
)

router = APIRouter(prefix="/v1", tags=["institutions"])
Reader = Annotated[Caller, Depends(permits(Action.INSTITUTION_READ))]


@router.post("/institutions", status_code=201)
def create_institution(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.INSTITUTION_CREATE))],
    body: InstitutionIn,
) -> InstitutionOut:
    """Open an institution."""
    return service.create_institution(control, caller, body)


@router.get("/institutions")
def list_institutions(control: ControlDep, caller: Reader) -> Institutions:
    return service.list_institutions(control, caller)


@router.get("/institutions/onboardings")
def onboardings(control: ControlDep, caller: Reader) -> Onboardings:
    """On which papers each institution was let in."""
    return service.onboardings(control, caller)


Admitter = Annotated[Caller, Depends(permits(Action.INSTITUTION_ADMIT))]


@router.put("/institutions/{institution_id}/agreement")
def agree(control: ControlDep, caller: Admitter, institution_id: Slug, body: AgreementIn) -> OnboardingOut:
    """Record the signed agreement. Active once the security assessment is there too."""
    return service.agree(control, caller, institution_id, body)


@router.put("/institutions/{institution_id}/assessment")
def assess(control: ControlDep, caller: Admitter, institution_id: Slug, body: AssessmentIn) -> OnboardingOut:
    """Record a security assessment that was passed. Active once the agreement is there too."""
    return service.assess(control, caller, institution_id, body)


@router.post("/institutions/{institution_id}/rectify")
def rectify(control: ControlDep, caller: Admitter, institution_id: Slug, body: RectifyIn) -> OnboardingOut:
    """End access until a new security assessment is passed."""
    return service.rectify(control, caller, institution_id, body.ground)


Sanctioner = Annotated[Caller, Depends(permits(Action.INSTITUTION_SANCTION))]


@router.post("/institutions/{institution_id}/suspend")
def suspend(control: ControlDep, caller: Sanctioner, institution_id: Slug, body: SanctionIn) -> StandingOut:
    """Suspend an institution: at once and everywhere, running jobs included."""
    return sanctions.sanction(control, caller, institution_id, "suspended", body)


@router.post("/institutions/{institution_id}/reinstate")
def reinstate(control: ControlDep, caller: Sanctioner, institution_id: Slug, body: SanctionIn) -> StandingOut:
    """Lift a suspension."""
    return sanctions.reinstate(control, caller, institution_id, body)


@router.post("/institutions/{institution_id}/remove")
def remove(control: ControlDep, caller: Sanctioner, institution_id: Slug, body: SanctionIn) -> StandingOut:
    """Remove an institution for good."""
    return sanctions.sanction(control, caller, institution_id, "removed", body)


@router.get("/institutions/standings", dependencies=[Depends(permits(Action.INSTITUTION_READ))])
def standings(control: ControlDep) -> Standings:
    """Institutions that were ever sanctioned, and how they stand."""
    return Standings(items=list(sanctions.standings(control).values()))


@router.post("/accounts", status_code=201)
def create_account(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.ACCOUNT_CREATE))],
    body: AccountIn,
) -> NewAccount:
    """Make an account. The token is shown once."""
    return service.create_account(control, caller, body)


@router.get("/accounts")
def list_accounts(control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.ACCOUNT_READ))]) -> Accounts:
    """API clients and people: the operator sees all, an admin those of the own institution."""
    return service.list_accounts(control, caller)


@router.get("/whoami")
def whoami(caller: Annotated[Caller, Depends(permits(Action.WHOAMI))]) -> Whoami:
    """The account behind the token."""
    return Whoami(
        account_id=caller.account_id,
        name=caller.name,
        institution=caller.institution,
        roles=sorted(caller.roles),
        level=caller.level,
        duties=sorted(duties_of(caller.roles) if caller.duties is None else caller.duties),
    )
