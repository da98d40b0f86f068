"""Admins of institutions by written application: entered, decided with an opinion, carried out on its day.

An admin is never opened in another way (R1, R2). A change of admins is asked for ahead of its day (R5). Nothing is
opened before the institution's agreement and security assessment are on record (R32, R52).
"""

from __future__ import annotations

import secrets
from datetime import datetime, time

from api.admissions import repository
from api.admissions.repository import Admission
from api.admissions.schemas import AdminIn, AdmissionIn, AdmissionOut, Admissions, CarriedOut
from api.auth import Caller, Level, Role
from api.control import Control
from api.db import Unit
from api.errors import Conflict, Forbidden, Invalid, NotFound
from api.institutions import repository as institutions
from api.staff import repository as staff
from api.staff import service as people
from api.staff.schemas import NewPerson, PersonIn
from api.workdays import ZONE, local_day, workdays_between


class SamePerson(Invalid):
    """Admins A and B are one person."""

    code = "admins_same_person"

    def __init__(self) -> None:
        super().__init__(
            "admins A and B must be two people: name, contact and login differ", "管理员 A 与 B 须为不同人员"
        )


class NoticeTooShort(Invalid):
    """A change of admins comes later than it must be asked for."""

    code = "notice_too_short"


def check_two_people(a: AdminIn, b: AdminIn) -> None:
    """Raises SamePerson (R2)."""
    if a.login == b.login or a.name == b.name or a.contact == b.contact:
        raise SamePerson


def check_notice(control: Control, body: AdmissionIn, now: datetime) -> None:
    """Raises NoticeTooShort for a change that takes effect too soon (R5), Invalid for a day that is over."""
    day = datetime.combine(body.effective_on, time(12), ZONE)
    if body.effective_on < local_day(now):
        raise Invalid("effective_on: this day is over", "effective_on：该日期已过", code="day_is_over")
    needed = control.settings.change_days
    if body.kind == "change" and (ahead := workdays_between(now, day)) < needed:
        raise NoticeTooShort(
            f"effective_on: a change of admins is applied for {needed} working days ahead, not {ahead}",
            f"effective_on：更换管理员须提前 {needed} 个工作日申请，现仅提前 {ahead} 个工作日",
        )


def _check_operations(body: AdmissionIn) -> None:
    """What is asked for each admin fits the kind of application. Raises Invalid."""
    operations = {body.admin_a.op, body.admin_b.op}
    fits = operations == {"open", "revoke"} if body.kind == "change" else operations == {body.kind}
    if not fits:
        raise Invalid(
            f"an application to {body.kind} does not go with {', '.join(sorted(operations))}",
            f"申请类型 {body.kind} 与所填操作不符",
            code="operations_do_not_fit",
        )


def submit(control: Control, caller: Caller, body: AdmissionIn) -> AdmissionOut:
    """Enters an application: the operator from paper, an admin for the own institution."""
    check_two_people(body.admin_a, body.admin_b)
    _check_operations(body)
    if Role.OPERATOR not in caller.roles and body.institution != caller.institution:
        raise Forbidden("an admin applies for the own institution", "管理员仅可为本机构申请", code="other_institution")
    with control.db.unit(caller) as unit:
        check_notice(control, body, unit.now)
        found = institutions.institution(unit.session, body.institution)
        if found is None:
            raise NotFound("institution", "机构", body.institution)
        if found.kind == "bank" and body.bank_code is None:
            raise Invalid("bank_code: a bank gives its code", "bank_code：银行须填写支付行号", code="bank_code_missing")
        row = Admission(
            id=f"ad-{secrets.token_hex(6)}",
            kind=body.kind,
            institution=body.institution,
            institution_name=body.institution_name,
            bank_code=body.bank_code,
            dated=body.dated,
            effective_on=body.effective_on,
            admins=[body.admin_a.model_dump(), body.admin_b.model_dump()],
            network_contact=body.network_contact.model_dump(),
            submitted_by=caller.account_id,
            submitted_at=unit.now,
        )
        unit.create(row, "admission.submit", f"application to {body.kind}", state="submitted", kind=body.kind)
        return AdmissionOut.model_validate(row)


def _found(unit: Unit, caller: Caller, admission_id: str) -> Admission:
    row = repository.locked(unit.session, admission_id)
    if row is None or (Role.OPERATOR not in caller.roles and row.institution != caller.institution):
        raise NotFound("application", "申请", admission_id)
    return row


def decide(control: Control, caller: Caller, admission_id: str, to: str, opinion: str) -> AdmissionOut:
    """The operator approves or returns it, with an opinion under the own name (R2)."""
    with control.db.unit(caller) as unit:
        row = _found(unit, caller, admission_id)
        row.opinion, row.decided_by, row.decided_at = opinion, caller.account_id, unit.now
        unit.transition(row, to, f"admission.{to}", opinion)
        return AdmissionOut.model_validate(row)


def withdraw(control: Control, caller: Caller, admission_id: str) -> AdmissionOut:
    with control.db.unit(caller) as unit:
        row = _found(unit, caller, admission_id)
        unit.transition(row, "withdrawn", "admission.withdraw", f"withdrawn by {caller.name}")
        return AdmissionOut.model_validate(row)


def carry_out(control: Control, caller: Caller, admission_id: str) -> CarriedOut:
    """Does what was approved, on its day or later. Raises Conflict before it, or for an institution not admitted."""
    with control.db.unit(caller) as unit:
        row = _found(unit, caller, admission_id)
        if local_day(unit.now) < row.effective_on:
            raise Conflict(
                f"this takes effect on {row.effective_on}", f"该申请自 {row.effective_on} 起生效", code="not_yet"
            )
        state = institutions.state(unit.session, row.institution)
        if row.kind in ("open", "change") and state != "active":
            raise Conflict(
                f"institution {row.institution} is {state}: record its agreement and security assessment first",
                f"机构 {row.institution} 状态为 {state}：请先登记协议与安全评估",
                code="institution_not_admitted",
            )
        unit.transition(row, "carried_out", "admission.carry_out", row.opinion or "approved")
        made = [one for admin in row.admins if (one := _carry_out(unit, control, row, AdminIn(**admin))) is not None]
        return CarriedOut(admission=AdmissionOut.model_validate(row), people=made)


def _carry_out(unit: Unit, control: Control, row: Admission, admin: AdminIn) -> NewPerson | None:
    reason = f"application {row.id}"
    if admin.op == "open":
        body = PersonIn(login=admin.login, name=admin.name, contact=admin.contact, post=admin.post, roles=[Role.ADMIN])
        return people.put(unit, control, row.institution, body, Level.ADMIN, reason)
    account = institutions.account_named(unit.session, admin.login)
    person = None if account is None else staff.staff(unit.session, account.id, lock=True)
    if account is None or person is None or account.institution != row.institution or account.level != Level.ADMIN:
        raise NotFound("admin of this institution", "该机构的管理员", admin.login)
    if person.name != admin.name:
        raise Conflict(
            f"{admin.login} is not {admin.name}: the application names another person",
            f"{admin.login} 并非 {admin.name}：申请所填人员不符",
            code="person_differs",
        )
    if admin.op == "reset":
        return people.reset_person(unit, control, person, account, reason)
    people.cancel_account(unit, account, reason)
    return None


def page(control: Control, caller: Caller, state: str | None, limit: int) -> Admissions:
    """The operator sees all, an admin those of the own institution; the newest first."""
    bound = None if Role.OPERATOR in caller.roles else caller.institution
    with control.db.read(caller) as session:
        rows = repository.page(session, bound, state, limit)
        return Admissions(items=[AdmissionOut.model_validate(row) for row in rows])
