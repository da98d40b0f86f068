"""Putting enterprises on record, naming people, issuing codes, suspending; and what a person does with a code.

Each function is one transaction. An enterprise is enrolled by the operator or the gateway, never by itself (R19), and
a key that is lost comes back only by the operator, with a reason that stays in the audit.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from api.auth import Caller
from api.control import Control
from api.db import SYSTEM, Unit
from api.enterprises import attempts, codes, repository, sessions
from api.enterprises.repository import Enterprise, PortalSession
from api.enterprises.repository import Person as PersonRow
from api.enterprises.schemas import (
    CodeIn,
    EnterpriseDetail,
    EnterpriseIn,
    EnterpriseOut,
    Enterprises,
    NewCode,
    NewEnterprise,
    PersonOut,
    StateIn,
)
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.errors import Conflict, Forbidden, Invalid, NotFound
from consent import uscc as usccs

MAX_PEOPLE = 50
_ALL = tuple(str(right) for right in Right)


class CodesNotAllowed(Forbidden):
    """The operator's configuration takes passkeys only."""

    code = "session_code_not_allowed"

    def __init__(self) -> None:
        super().__init__(
            "one-time codes do not stand for a passkey here: the operator's configuration does not allow it",
            "平台未启用以验证码代替通行密钥的方式",
        )


def checked(code: str) -> str:
    try:
        return usccs.check(code)
    except usccs.BadUscc as error:
        raise Invalid(error.message, error.message_zh, code=error.code) from error


def _enterprise(unit: Unit, uscc: str) -> Enterprise:
    found = repository.enterprise(unit.session, uscc, lock=True)
    if found is None:
        raise NotFound("enterprise", "企业", uscc)
    return found


# ---- the operator and the gateway


def enrol(control: Control, caller: Caller, body: EnterpriseIn) -> NewEnterprise:
    """An enterprise on record, its contact as the first person with every right, and the code to begin with."""
    uscc = checked(body.uscc)
    with control.db.unit(caller) as unit:
        if repository.enterprise(unit.session, uscc) is not None:
            raise Conflict(f"enterprise {uscc} is on record already", f"企业 {uscc} 已登记", code="exists")
        row = Enterprise(
            uscc=uscc,
            name=body.name,
            subject=body.subject,
            contact_name=body.contact_name,
            contact=body.contact,
            created_at=unit.now,
        )
        unit.create(row, "enterprise.create", f"enrolled by {caller.name}", state="invited")
        person, code, expires_at = first_person(unit, control, row)
        return NewEnterprise(
            enterprise=EnterpriseOut.model_validate(row),
            person=PersonOut.model_validate(person),
            code=code,
            expires_at=expires_at,
        )


def first_person(unit: Unit, control: Control, row: Enterprise) -> tuple[PersonRow, str, datetime]:
    """The enterprise's contact as its first person, with every right; and the code to begin with."""
    person = add_account(unit, row.uscc, row.contact_name, _ALL)
    code, expires_at = codes.issue(unit, control, row.uscc, person.id, codes.ENROL)
    unit.record("code.issue", person, "first enrolment", detail={"use": codes.ENROL})
    return person, code, expires_at


def add_account(unit: Unit, uscc: str, name: str, rights: tuple[str, ...]) -> PersonRow:
    """An account for somebody of an enterprise; without a right it opens the own pages only."""
    row = PersonRow(
        id=f"ep-{secrets.token_hex(6)}", enterprise=uscc, name=name, rights=list(rights), created_at=unit.now
    )
    return unit.create(row, "person.create", f"named by {unit.actor.name}", state="invited", rights=list(rights))


def list_enterprises(control: Control, after: str, limit: int) -> Enterprises:
    with control.db.read(SYSTEM) as session:
        rows = repository.enterprises(session, after, limit)
        return Enterprises(items=[EnterpriseOut.model_validate(row) for row in rows])


def detail(control: Control, uscc: str) -> EnterpriseDetail:
    with control.db.read(SYSTEM) as session:
        row = repository.enterprise(session, uscc)
        if row is None:
            raise NotFound("enterprise", "企业", uscc)
        people = [PersonOut.model_validate(each) for each in repository.people(session, uscc)]
        return EnterpriseDetail(
            **EnterpriseOut.model_validate(row).model_dump(),
            contact_name=row.contact_name,
            contact=row.contact,
            people=people,
        )


def issue_code(control: Control, caller: Caller, uscc: str, body: CodeIn) -> NewCode:
    """A one-time code for one person. To recover removes the person's passkeys and sessions at once."""
    if body.use in (codes.LOGIN, codes.CONFIRM) and not control.settings.portal_session_code:
        raise CodesNotAllowed
    with control.db.unit(caller) as unit:
        enterprise = _enterprise(unit, uscc)
        person = repository.person(unit.session, body.person, lock=True)
        if person is None or person.enterprise != uscc or person.state == "removed":
            raise NotFound("person of this enterprise", "该企业的人员", body.person)
        if enterprise.state not in ("invited", "active"):
            raise Conflict(f"enterprise {uscc} is {enterprise.state}", f"企业 {uscc} 状态为 {enterprise.state}")
        if body.use == codes.ENROL and person.state != "invited":
            raise Conflict(
                f"{body.person} is enrolled already: use `recover` for a lost key",
                f"{body.person} 已完成登记：遗失密钥请用 recover",
                code="enrolled_already",
            )
        if body.use == codes.RECOVER:
            _remove_keys(unit, person, f"recovery: {body.reason}")
        use = codes.ENROL if body.use == codes.RECOVER else body.use
        code, expires_at = codes.issue(unit, control, uscc, person.id, use)
        unit.record("code.issue", person, body.reason, detail={"use": body.use})
        return NewCode(code=code, expires_at=expires_at)


def _remove_keys(unit: Unit, person: PersonRow, reason: str) -> None:
    for key in repository.passkeys(unit.session, [person.id]):
        unit.transition(key, "removed", "passkey.remove", reason)
    repository.end_sessions(unit.session, unit.now, PortalSession.person == person.id)


def set_state(control: Control, caller: Caller, uscc: str, body: StateIn) -> EnterpriseOut:
    """Suspends, reinstates or closes an enterprise's account; sessions end at once. Consents stay as they are."""
    with control.db.unit(caller) as unit:
        row = _enterprise(unit, uscc)
        unit.transition(row, body.state, f"enterprise.{body.state}", body.reason)
        if body.state != "active":
            ids = [each.id for each in repository.people(unit.session, uscc)]
            repository.end_sessions(unit.session, unit.now, PortalSession.person.in_(ids))
        return EnterpriseOut.model_validate(row)


# ---- a person with a code


def enter_code(control: Control, uscc: str, typed: str, use: str, address: str, agent: str) -> str:
    """A session for who typed the right code: to enrol a passkey, or to work where codes are allowed.

    Returns its token. The enrolment's code is used up with the passkey, so that a slip on the way costs nothing.
    Raises CodeRefused, TooManyAttempts or CodesNotAllowed.
    """
    if use == codes.LOGIN and not control.settings.portal_session_code:
        raise CodesNotAllowed
    attempts.code(control, uscc, address)
    hashed = codes.digest(uscc, typed)
    with control.db.unit(sessions.NOBODY) as unit:
        people = {each.id: each for each in repository.people(unit.session, uscc)}
        found = codes.match(repository.open_codes(unit.session, list(people), use, unit.now), hashed)
        if found is None:
            raise codes.CodeRefused
        person = people[found.person]
        if use == codes.LOGIN:
            if not repository.use_code(unit.session, found.id, unit.now):
                raise codes.CodeRefused
            _first_time(unit, person)
            return sessions.open_session(unit, control, person, sessions.CODE, agent, code=found.id)
        return sessions.open_session(unit, control, person, sessions.ENROL, agent, code=found.id)


def _first_time(unit: Unit, person: PersonRow) -> None:
    """A person whose device has no passkeys is enrolled by the first code."""
    if person.state == "invited":
        unit.transition(person, "active", "person.enrol", "enrolled by a one-time code")
    enterprise = repository.enterprise(unit.session, person.enterprise, lock=True)
    if enterprise is not None and enterprise.state == "invited" and person.rights:
        unit.transition(enterprise, "active", "enterprise.enrol", f"enrolled by {person.name}")


def confirm(control: Control, unit: Unit, who: Visitor, typed: str) -> str:
    """Uses up a confirmation code of the visitor; returns its number. Raises CodeRefused or CodesNotAllowed."""
    if not control.settings.portal_session_code:
        raise CodesNotAllowed
    hashed = codes.digest(who.uscc, typed)
    found = codes.match(repository.open_codes(unit.session, [who.account_id], codes.CONFIRM, unit.now), hashed)
    if found is None or not repository.use_code(unit.session, found.id, unit.now):
        raise codes.CodeRefused
    return found.id


def idle_since(control: Control, now: datetime) -> datetime:
    """A session last seen before this has ended."""
    return now - timedelta(seconds=control.settings.portal_idle_seconds)


# ---- the enterprise's own people


def add_person(control: Control, who: Visitor, name: str, rights: frozenset[Right]) -> tuple[PersonRow, str, datetime]:
    """Names a delegate with some of the visitor's own rights. Returns the person and the code to hand over."""
    who.need(Right.MANAGE)
    who.check_fresh(control.db.clock())
    if not rights or not rights <= who.rights:
        raise Invalid("choose rights that you have yourself", "请选择您本人具有的权限", code="rights_invalid")
    with control.db.unit(who) as unit:
        _enterprise(unit, who.uscc)
        if len(repository.people(unit.session, who.uscc)) >= MAX_PEOPLE:
            raise Conflict(f"at most {MAX_PEOPLE} people", f"人员至多 {MAX_PEOPLE} 名", code="too_many")
        person = add_account(unit, who.uscc, name, tuple(sorted(rights | {Right.VIEW})))
        code, expires_at = codes.issue(unit, control, who.uscc, person.id, codes.ENROL)
        unit.record("code.issue", person, f"named by {who.name}", detail={"use": codes.ENROL})
        return person, code, expires_at


def remove_person(control: Control, who: Visitor, person_id: str) -> None:
    """Ends a person's rights, passkeys and sessions at once. The last who manages stays."""
    who.need(Right.MANAGE)
    who.check_fresh(control.db.clock())
    with control.db.unit(who) as unit:
        _enterprise(unit, who.uscc)
        people = {each.id: each for each in repository.people(unit.session, who.uscc)}
        person = people.get(person_id)
        if person is None:
            raise NotFound("person of this enterprise", "该企业的人员", person_id)
        if repository.consents_in_person(unit.session, person.id):
            raise Conflict(
                "this person consents in own right here, and must be able to withdraw: only the operator removes them",
                "该人员在此有个人单独同意，须保留其撤回途径：如需移除请联系平台运营方",
                code="person_of_consent",
            )
        managers = [each for each in people.values() if Right.MANAGE in each.rights and each.state == "active"]
        if managers == [person]:
            raise Conflict(
                "somebody must manage the people: name another one first",
                "须至少保留一名管理人员：请先指定另一名",
                code="last_manager",
            )
        _remove_keys(unit, person, f"person removed by {who.name}")
        for use in (codes.ENROL, codes.LOGIN, codes.CONFIRM):
            repository.void_codes(unit.session, person.id, use, unit.now)
        unit.transition(person, "removed", "person.remove", f"removed by {who.name}")


def record_confirmation(unit: Unit, who: Visitor, checked: dict[str, str]) -> None:
    """Keeps in the audit what the evidence of a session-code act refers to."""
    person = repository.person(unit.session, who.account_id)
    assert person is not None
    unit.record("code.confirm", person, "confirmed with a one-time code", detail={"checked": checked})
