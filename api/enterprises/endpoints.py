"""/v1/enterprises: for the operator and the gateway. What an enterprise does itself is in the portal."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.enterprises import own, service, upkeep
from api.enterprises.schemas import (
    AnswerIn,
    CertificationIn,
    CertificationOut,
    Certifications,
    CodeIn,
    ConsentPersonIn,
    ConsentPersons,
    CorrectionIn,
    CorrectionOut,
    Corrections,
    EnterpriseDetail,
    EnterpriseIn,
    EnterpriseOut,
    Enterprises,
    FollowUpIn,
    NewCode,
    NewConsentPerson,
    NewEnterprise,
    Registered,
    StateIn,
)
from api.fields import Limit, ReasonIn, Slug

router = APIRouter(prefix="/v1/enterprises", tags=["enterprises"])
Uscc = Annotated[str, Path(pattern="^[0-9A-Z]{18}$")]
CorrectionId = Annotated[str, Path(pattern="^ec-[0-9a-f]{12}$")]


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


@router.post("/registrations", status_code=202, dependencies=[Depends(permits(Action.PUBLIC))])
def register(control: ControlDep, request: Request, body: EnterpriseIn) -> Registered:
    """An enterprise registers itself. Nothing is issued before the operator has verified it."""
    return upkeep.register(control, body, request.client.host if request.client else "unknown")


Corrector = Annotated[Caller, Depends(permits(Action.CORRECTION_PROMPT))]


@router.get("/corrections")
def corrections(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.CORRECTION_READ))],
    overdue: bool = False,
    limit: Limit = 100,
) -> Corrections:
    """Prompts to correct what is out of date, the next due first."""
    return upkeep.corrections(control, caller, overdue=overdue, limit=limit)


@router.post("/corrections/{correction_id}/follow-up")
def follow_up(control: ControlDep, caller: Corrector, correction_id: CorrectionId, body: FollowUpIn) -> CorrectionOut:
    """Close a prompt, prompt again, or take it back."""
    return upkeep.follow_up(control, caller, correction_id, body.to, body.outcome)


@router.post("/corrections/{correction_id}/answer")
def answer_correction(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.CORRECTION_ANSWER))],
    correction_id: CorrectionId,
    body: AnswerIn,
) -> CorrectionOut:
    """Say for an enterprise that it has corrected it."""
    return upkeep.correct(control, caller, correction_id, body.answer)


@router.post("/{uscc}/corrections", status_code=201)
def prompt(control: ControlDep, caller: Corrector, uscc: Uscc, body: CorrectionIn) -> CorrectionOut:
    """Prompt an enterprise to correct what is out of date, within ten working days."""
    return upkeep.prompt(control, caller, uscc, body)


Verifier = Annotated[Caller, Depends(permits(Action.ENTERPRISE_VERIFY))]


@router.post("/{uscc}/verify", status_code=201)
def verify(control: ControlDep, caller: Verifier, uscc: Uscc, body: ReasonIn) -> NewEnterprise:
    """The registration was checked and is right. The code is shown once."""
    return upkeep.verify(control, caller, uscc, body.reason)


@router.post("/{uscc}/reject")
def reject(control: ControlDep, caller: Verifier, uscc: Uscc, body: ReasonIn) -> EnterpriseOut:
    """The registration is not right."""
    return upkeep.reject(control, caller, uscc, body.reason)


@router.put("/{uscc}/certification")
def certify(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.ENTERPRISE_CERTIFY))],
    uscc: Uscc,
    body: CertificationIn,
) -> CertificationOut:
    """Certify an enterprise that the own institution has checked offline."""
    return upkeep.certify(control, caller, uscc, body)


@router.get("/{uscc}/certifications")
def certifications(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.CERTIFICATION_READ))], uscc: Uscc
) -> Certifications:
    """Which institutions have certified it."""
    return upkeep.certifications(control, caller, uscc)


@router.post("/{uscc}/certifications/{institution_id}/revoke")
def revoke(control: ControlDep, caller: Verifier, uscc: Uscc, institution_id: Slug, body: ReasonIn) -> CertificationOut:
    """Take a false certification away."""
    return upkeep.revoke(control, caller, uscc, institution_id, body.reason)


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


@router.get("/{uscc}/persons", dependencies=[Depends(permits(Action.ENTERPRISE_READ))])
def consent_persons(control: ControlDep, uscc: Uscc) -> ConsentPersons:
    """Who consents in person besides the enterprise, by pseudonym and role."""
    return own.listed(control, uscc)


@router.post("/{uscc}/persons", status_code=201)
def name_person(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.ENTERPRISE_ENROL))],
    uscc: Uscc,
    body: ConsentPersonIn,
) -> NewConsentPerson:
    """Say, at the counter, who the sole trader or a named key person is. A code to enrol is shown once."""
    return own.name(control, caller, uscc, body)


@router.post("/{uscc}/persons/{pseudonym}/retire", status_code=204)
def retire_person(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.ENTERPRISE_ENROL))],
    uscc: Uscc,
    pseudonym: Annotated[str, Path(pattern="^cp-[0-9a-f]{16}$")],
    body: ReasonIn,
) -> None:
    """Somebody else has the role now. What was said under the pseudonym stays that person's."""
    own.retire(control, caller, uscc, pseudonym, body.reason)


@router.post("/{uscc}/state")
def set_state(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.ENTERPRISE_STATE))],
    uscc: Uscc,
    body: StateIn,
) -> EnterpriseOut:
    """Suspend, reinstate or close the account."""
    return service.set_state(control, caller, uscc, body)
