"""What others do so that an enterprise's record stays true: verify its registration, certify it, prompt corrections.

An enterprise may register itself; nothing is issued to it before the operator has verified it (R19). An institution
certifies what it has seen offline (R12), and prompts what is out of date; ten working days are the enterprise's (R13).
"""

from __future__ import annotations

import secrets
from datetime import datetime

import sqlalchemy as sa

from api.auth import Caller, Role
from api.consents.requests import inform
from api.control import Control
from api.db import SYSTEM, Actor, Unit, tenant
from api.enterprises import attempts, repository, service
from api.enterprises.repository import Certification, Correction, Enterprise
from api.enterprises.schemas import (
    CertificationIn,
    CertificationOut,
    Certifications,
    CorrectionIn,
    CorrectionOut,
    Corrections,
    EnterpriseIn,
    EnterpriseOut,
    NewEnterprise,
    PersonOut,
    Registered,
)
from api.errors import Conflict, NotFound
from api.workdays import add_workdays, local_day

# ---- registering and verifying


def register(control: Control, body: EnterpriseIn, address: str) -> Registered:
    """Takes a registration that waits to be verified. Raises Invalid for a wrong code, TooManyAttempts.

    The answer is the same for an enterprise on record already, which is left as it is: it tells nobody who is.
    """
    uscc = service.checked(body.uscc)
    attempts.code(control, uscc, address)
    with control.db.unit(SYSTEM) as unit:
        row = repository.enterprise(unit.session, uscc, lock=True)
        values = {"name": body.name, "subject": body.subject, "contact_name": body.contact_name}
        if row is None:
            row = Enterprise(uscc=uscc, contact=body.contact, created_at=unit.now, **values)
            unit.create(row, "enterprise.register", "registered by itself", state="registered")
        elif row.state == "rejected":
            for name, value in {**values, "contact": body.contact}.items():
                setattr(row, name, value)
            unit.transition(row, "registered", "enterprise.register", "registered by itself again")
    return Registered(uscc=uscc, state="registered")


def _enterprise(unit: Unit, uscc: str) -> Enterprise:
    row = repository.enterprise(unit.session, uscc, lock=True)
    if row is None:
        raise NotFound("enterprise", "企业", uscc)
    return row


def verify(control: Control, caller: Caller, uscc: str, reason: str) -> NewEnterprise:
    """The registration was checked and is right: its contact is the first person, with the code to begin with."""
    with control.db.unit(caller) as unit:
        row = _enterprise(unit, uscc)
        unit.transition(row, "invited", "enterprise.verify", reason)
        person, code, expires_at = service.first_person(unit, control, row)
        return NewEnterprise(
            enterprise=EnterpriseOut.model_validate(row),
            person=PersonOut.model_validate(person),
            code=code,
            expires_at=expires_at,
        )


def reject(control: Control, caller: Caller, uscc: str, reason: str) -> EnterpriseOut:
    with control.db.unit(caller) as unit:
        row = _enterprise(unit, uscc)
        unit.transition(row, "rejected", "enterprise.reject", reason)
        return EnterpriseOut.model_validate(row)


# ---- certifying


def certify(control: Control, caller: Caller, uscc: str, body: CertificationIn) -> CertificationOut:
    """The caller's institution has checked the enterprise offline (R12)."""
    with control.db.unit(caller) as unit:
        known = repository.known(unit.session, uscc)
        if known is None or known.state != "active":
            raise NotFound("active enterprise", "有效企业", uscc)
        if body.visited_on > local_day(unit.now):
            raise Conflict("visited_on lies ahead", "visited_on 为将来日期", code="not_yet")
        row = unit.session.get(Certification, (caller.institution, uscc), with_for_update=True)
        values = {"certified_by": caller.account_id, "certified_at": unit.now}
        said = f"checked offline on {body.visited_on}"
        if row is None:
            row = Certification(
                institution=caller.institution, enterprise=uscc, visited_on=body.visited_on, found=body.found, **values
            )
            unit.create(row, "enterprise.certify", said, state="standing")
        else:
            row.visited_on, row.found = body.visited_on, body.found
            row.certified_by, row.certified_at = caller.account_id, unit.now
            if row.state == "revoked":
                unit.transition(row, "standing", "enterprise.certify", said)
            else:
                unit.session.flush()
                unit.record("enterprise.certify", row, said)
        return CertificationOut.model_validate(row)


def revoke(control: Control, caller: Caller, uscc: str, institution: str, reason: str) -> CertificationOut:
    """The operator takes a false certification away; who gave it is sanctioned apart (R12, R17)."""
    with control.db.unit(caller) as unit:
        row = unit.session.get(Certification, (institution, uscc), with_for_update=True)
        if row is None:
            raise NotFound("certification", "认证", f"{institution}/{uscc}")
        unit.transition(row, "revoked", "enterprise.certification.revoke", reason)
        return CertificationOut.model_validate(row)


def certifications(control: Control, caller: Caller, uscc: str) -> Certifications:
    """Of one enterprise: the operator sees every institution's, an institution its own."""
    with control.db.read(caller) as session:
        query = sa.select(Certification).where(Certification.enterprise == uscc).order_by(Certification.institution)
        return Certifications(items=[CertificationOut.model_validate(row) for row in session.scalars(query)])


# ---- corrections


def _view(row: Correction, now: datetime) -> CorrectionOut:
    values = {name: getattr(row, name) for name in CorrectionOut.model_fields if name != "overdue"}
    return CorrectionOut(**values, overdue=row.state == "prompted" and row.due_at <= now)


def prompt(control: Control, caller: Caller, uscc: str, body: CorrectionIn) -> CorrectionOut:
    """An institution says what is out of date; the enterprise is told, and its clock of working days begins."""
    with control.db.unit(caller) as unit:
        known = repository.known(unit.session, uscc)
        if known is None or known.state != "active":
            raise NotFound("active enterprise", "有效企业", uscc)
        row = Correction(
            id=f"ec-{secrets.token_hex(6)}",
            institution=caller.institution,
            enterprise=uscc,
            item=body.item,
            text=body.text,
            prompted_by=caller.account_id,
            prompted_at=unit.now,
            due_at=add_workdays(unit.now, control.settings.correction_days),
        )
        unit.create(row, "correction.prompt", body.text, state="prompted", item=body.item)
        inform(unit, uscc, "correction_prompted", row.id)
        return _view(row, unit.now)


def _correction(unit: Unit, correction_id: str) -> Correction:
    row = unit.session.get(Correction, correction_id, with_for_update=True)
    if row is None:
        raise NotFound("prompt for correction", "更正提示", correction_id)
    return row


def correct(control: Control, actor: Actor, correction_id: str, answer: str) -> CorrectionOut:
    """The enterprise has corrected it; `actor` is its person, or the operator or gateway for it."""
    with control.db.unit(actor) as unit:
        row = _correction(unit, correction_id)
        row.answer, row.corrected_at = answer, unit.now
        unit.transition(row, "corrected", "correction.answer", answer, late=unit.now > row.due_at)
        return _view(row, unit.now)


def follow_up(control: Control, caller: Caller, correction_id: str, to: str, outcome: str) -> CorrectionOut:
    """The institution that prompted closes it, prompts again (a new clock), or takes it back."""
    with control.db.unit(caller) as unit:
        row = _correction(unit, correction_id)
        if row.institution != caller.institution:
            raise NotFound("prompt for correction", "更正提示", correction_id)
        if to == "prompted":
            row.due_at = add_workdays(unit.now, control.settings.correction_days)
        else:
            row.outcome, row.ended_at = outcome, unit.now
        unit.transition(row, to, f"correction.{to}", outcome)
        if to == "prompted":
            inform(unit, row.enterprise, "correction_prompted", row.id)
        return _view(row, unit.now)


def corrections(control: Control, caller: Caller, *, overdue: bool, limit: int) -> Corrections:
    """The operator sees all, an institution those that it prompted; with `overdue` those past their day."""
    bound = None if Role.OPERATOR in caller.roles else caller.institution
    return _page(control, caller, Correction.institution == bound if bound else sa.true(), overdue, limit)


def of_enterprise(control: Control, uscc: str, limit: int = 100) -> Corrections:
    """An enterprise's own, for its page."""
    return _page(control, tenant(uscc), Correction.enterprise == uscc, False, limit)


def _page(control: Control, reader: Actor, bound: sa.ColumnElement[bool], overdue: bool, limit: int) -> Corrections:
    now = control.db.clock()
    query = sa.select(Correction).where(bound).order_by(Correction.due_at, Correction.id).limit(limit)
    if overdue:
        query = query.where(Correction.state == "prompted", Correction.due_at <= now)
    with control.db.read(reader) as session:
        return Corrections(items=[_view(row, now) for row in session.scalars(query)])
