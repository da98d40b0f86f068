"""People of institutions: put on record by their admin, signing in, leaving; sanctions against accounts; API tokens.

Each function is one transaction. What a wrong password does is written even though the answer is a refusal. Which
institution's people a caller reaches is decided by row-level security, and for the platform's own admin here.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from datetime import datetime, timedelta

import pyotp
import sqlalchemy as sa

from api.auth import Caller, Level, Role, new_token
from api.control import Control
from api.db import SYSTEM, Unit
from api.enterprises import attempts, codes
from api.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from api.institutions import service as institutions
from api.institutions.repository import Account
from api.staff import passwords, repository, sessions
from api.staff.repository import AccountSanction, ApiToken, Staff, StaffCode, StaffSession
from api.staff.schemas import (
    AccountSanctionIn,
    AccountSanctionOut,
    AccountSanctions,
    DutiesIn,
    FirstPasswordIn,
    LeaverIn,
    LoginIn,
    NewPerson,
    NewSession,
    NewToken,
    People,
    PersonIn,
    PersonOut,
    TokenIn,
    TokenOut,
    Tokens,
    TotpIn,
    TotpOut,
)
from api.staff.sessions import Source
from api.workdays import ZONE, add_workdays

_STEP = 30  # seconds of one TOTP (RFC 6238)


class LoginRefused(Unauthenticated):
    """Which of name, password and second factor was wrong is not said."""

    code = "login_refused"

    def __init__(self) -> None:
        super().__init__("name, password or one-time password is not right", "账号、密码或动态口令不正确")


class Locked(ApiError):
    """Too many wrong ones in a row: each more makes the pause longer."""

    status, code, title = 429, "account_locked", "Too many attempts"

    def __init__(self, until: datetime) -> None:
        local = until.astimezone(ZONE).strftime("%H:%M:%S")
        super().__init__(f"too many wrong attempts: wait until {local}", f"错误次数过多：请在 {local} 之后重试")


# ---- finding


def reach(unit: Unit, caller: Caller, account_id: str) -> Account:
    """The account, for who may act on it: the platform's operator, or an admin of its own institution.

    Raises NotFound, also for another institution's.
    """
    account = unit.session.get(Account, account_id)
    if account is None or (Role.OPERATOR not in caller.roles and account.institution != caller.institution):
        raise NotFound("account", "账户", account_id)
    return account


def reach_person(unit: Unit, caller: Caller, account_id: str) -> tuple[Staff, Account]:
    """As `reach`, of a person. An admin does not act on admins: they change by written application (R2)."""
    account = reach(unit, caller, account_id)
    person = repository.staff(unit.session, account_id, lock=True)
    if person is None:
        raise NotFound("person", "人员", account_id)
    if Role.OPERATOR not in caller.roles and account.level == Level.ADMIN:
        raise Forbidden(
            "an admin is changed by a written application to the platform operator", "管理员变更须书面申请",
            code="admin_by_application",
        )  # fmt: skip
    return person, account


def _view(control: Control, person: Staff, account: Account, keys: int, now: datetime) -> PersonOut:
    due = None
    if person.left_on is not None and account.disabled_at is None:
        noon = datetime.combine(person.left_on, datetime.min.time(), ZONE) + timedelta(hours=12)
        due = add_workdays(noon, control.settings.leave_days)
    factors = (["totp"] if person.totp else []) + (["passkey"] if keys else [])
    return PersonOut(
        account_id=account.id,
        login=account.name,
        institution=account.institution,
        name=person.name,
        contact=person.contact,
        post=person.post,
        level=Level(account.level),
        roles=[Role(role) for role in account.roles],
        duties=account.duties,
        state=person.state,
        second_factor=factors,
        left_on=person.left_on,
        disable_by=due,
        overdue=due is not None and due <= now,
    )


def people(control: Control, caller: Caller, *, overdue: bool = False) -> People:
    """People with how they stand; with `overdue` only leavers who should be disabled by now (R6)."""
    now = control.db.clock()
    bound = None if Role.OPERATOR in caller.roles else caller.institution
    with control.db.read(caller) as session:
        items = [
            _view(control, person, account, len(repository.passkeys(session, person.id)), now)
            for person, account in repository.people(session, bound)
        ]
    return People(items=[one for one in items if one.overdue or not overdue])


# ---- putting people on record


def put(unit: Unit, control: Control, institution: str, body: PersonIn, level: Level, reason: str) -> NewPerson:
    """A person with an account and the code for the first password, in the caller's transaction."""
    same = (
        sa.select(Account.level)
        .join(Staff, Staff.id == Account.id)
        .where(
            Account.institution == institution,
            Account.disabled_at.is_(None),
            Staff.name == body.name,
            Staff.contact == body.contact,
        )
    )
    if held := unit.session.scalars(same).all():
        raise Conflict(
            f"{body.name} has an account of level {held[0]}: no person holds two (R3)",
            f"{body.name} 已有 {held[0]} 级账户：一人不得兼具两级或持有两个账户",
            code="person_has_account",
        )
    account = institutions.add_account(
        unit, body.login, institution, sorted(set(body.roles)), level, reason, duties=body.duties
    )
    person = Staff(
        id=account.id, name=body.name, contact=body.contact, post=body.post, external=body.external,
        failures=0, totp_step=0, created_at=unit.now,
    )  # fmt: skip
    unit.create(person, "staff.create", reason, state="invited")
    code, expires_at = _issue(unit, control, person)
    return NewPerson(account_id=account.id, login=body.login, code=code, expires_at=expires_at)


def _issue(unit: Unit, control: Control, person: Staff) -> tuple[str, datetime]:
    repository.void_codes(unit.session, person.id, unit.now)
    code = codes.new_code()
    expires_at = unit.now + timedelta(seconds=control.settings.staff_code_seconds)
    row = StaffCode(
        id=f"sc-{secrets.token_hex(6)}", staff=person.id, hash=codes.digest(person.id, code), expires_at=expires_at
    )
    unit.session.add(row)
    unit.session.flush()
    unit.record("staff.code", person, "one-time code for a first password")
    return code, expires_at


def create(control: Control, caller: Caller, body: PersonIn) -> NewPerson:
    """An admin puts an operator of the own institution on record (R3, R4)."""
    with control.db.unit(caller) as unit:
        return put(unit, control, caller.institution, body, Level.OPERATOR, f"put on record by {caller.name}")


def reset(control: Control, caller: Caller, account_id: str, reason: str) -> NewPerson:
    """A forgotten password or lost second factor: both end, with every session; a new code begins again."""
    with control.db.unit(caller) as unit:
        person, account = reach_person(unit, caller, account_id)
        return reset_person(unit, control, person, account, reason)


def reset_person(unit: Unit, control: Control, person: Staff, account: Account, reason: str) -> NewPerson:
    """As `reset`, in the caller's transaction."""
    if person.state == "active":
        unit.transition(person, "invited", "staff.reset", reason)
    elif person.state == "cancelled":
        raise Conflict(f"{account.name} is cancelled", f"账户 {account.name} 已注销", code="illegal_transition")
    person.password = person.password_at = person.totp = person.locked_until = None
    person.failures = 0
    for key in repository.passkeys(unit.session, person.id):
        unit.transition(key, "removed", "staff.passkey.remove", reason)
    sessions.end_all(unit, person.id)
    code, expires_at = _issue(unit, control, person)
    return NewPerson(account_id=account.id, login=account.name, code=code, expires_at=expires_at)


def change_duties(control: Control, caller: Caller, account_id: str, body: DutiesIn) -> None:
    """Narrows or widens a grant within the account's roles, at once (R3, R6)."""
    with control.db.unit(caller) as unit:
        account = reach(unit, caller, account_id)
        account.duties = institutions.check_duties((Role(role) for role in account.roles), body.duties)
        unit.session.flush()
        unit.record("account.duties", account, body.reason, detail={"duties": account.duties})


def leave(control: Control, caller: Caller, account_id: str, body: LeaverIn) -> None:
    """Records that a person left or changed duty: the account is to be disabled within the period (R6)."""
    with control.db.unit(caller) as unit:
        person, _ = reach_person(unit, caller, account_id)
        person.left_on = body.left_on
        unit.session.flush()
        unit.record("staff.leave", person, body.reason, detail={"left_on": body.left_on.isoformat()})


def cancel(control: Control, caller: Caller, account_id: str, reason: str) -> None:
    """Ends an account for good, a person's or a program's: sessions and tokens at once (R6, R17)."""
    with control.db.unit(caller) as unit:
        account = reach(unit, caller, account_id)
        if account.id == caller.account_id:
            raise Forbidden("nobody cancels the own account", "不得注销本人账户", code="own_account")
        if repository.staff(unit.session, account_id) is not None:
            reach_person(unit, caller, account_id)
        cancel_account(unit, account, reason)


def cancel_account(unit: Unit, account: Account, reason: str) -> None:
    """As `cancel`, in the caller's transaction."""
    if account.disabled_at is not None:
        raise Conflict(f"{account.name} is cancelled already", f"账户 {account.name} 已注销", code="illegal_transition")
    account.disabled_at = unit.now
    unit.session.flush()
    unit.record("account.cancel", account, reason)
    person = repository.staff(unit.session, account.id, lock=True)
    if person is not None:
        unit.transition(person, "cancelled", "staff.cancel", reason)
        repository.void_codes(unit.session, account.id, unit.now)
        sessions.end_all(unit, account.id)
    for token in repository.tokens(unit.session, account.id, unit.now):
        _end_token(unit, token, unit.now, reason)


# ---- signing in


def _failed(unit: Unit, person: Staff, source: Source, what: str) -> ApiError:
    """Counts a wrong one; the pause grows with each."""
    person.failures += 1
    wait = passwords.pause(person.failures)
    person.locked_until = None if wait is None else unit.now + wait
    unit.session.flush()
    detail = {"address": source.address, "failures": person.failures}
    unit.record("login.fail", person, f"wrong {what}", detail=detail)
    return LoginRefused() if person.locked_until is None else Locked(person.locked_until)


def _nobody(control: Control, login: str, now: datetime) -> ApiError:
    """The same answers, in the same order, as for a person on record: who is one is not told."""
    wait = passwords.pause(attempts.unknown(control, login))
    return LoginRefused() if wait is None else Locked(now + wait)


def _locked(person: Staff, now: datetime) -> ApiError | None:
    return Locked(person.locked_until) if person.locked_until is not None and person.locked_until > now else None


def first_password(control: Control, body: FirstPasswordIn, source: Source) -> None:
    """Sets the password of who holds the one-time code. Raises LoginRefused, Locked or WeakPassword."""
    attempts.staff(control, source.address)
    refused: ApiError | None = None
    with control.db.unit(SYSTEM) as unit:
        person = repository.staff_named(unit.session, body.login, lock=True)
        if person is None or person.state != "invited":
            passwords.matches(None, body.password)
            raise _nobody(control, body.login, unit.now)
        code = repository.open_code(unit.session, person.id, unit.now)
        refused = _locked(person, unit.now)
        if refused is None and (code is None or not _same(code, person.id, body.code)):
            refused = _failed(unit, person, source, "one-time code")
        if refused is None:
            assert code is not None
            unit.identified(sessions.acting(unit, person))
            passwords.check_strength(body.password, body.login, person.name, person.contact)
            code.used_at = unit.now
            person.password, person.password_at = passwords.make(body.password), unit.now
            person.failures, person.locked_until = 0, None
            unit.transition(person, "active", "staff.password", "first password set with the one-time code")
    if refused is not None:
        raise refused


def _same(code: StaffCode, person_id: str, typed: str) -> bool:
    return hmac.compare_digest(code.hash, codes.digest(person_id, typed))


def login(control: Control, body: LoginIn, source: Source) -> NewSession:
    """A session for name, password and, once it is set up, TOTP. Raises LoginRefused, Locked or SignedInElsewhere."""
    attempts.staff(control, source.address)
    refused: ApiError | None = None
    opened: NewSession | None = None
    with control.db.unit(SYSTEM) as unit:
        person = repository.staff_named(unit.session, body.login, lock=True)
        if person is None or person.state != "active":
            passwords.matches(None, body.password)
            raise _nobody(control, body.login, unit.now)
        refused = _locked(person, unit.now)
        if refused is None and not passwords.matches(person.password, body.password):
            refused = _failed(unit, person, source, "password")
        if refused is None and person.totp is not None and not _check_totp(control, unit, person, body.totp):
            refused = _failed(unit, person, source, "one-time password")
        if refused is None and person.totp is None and repository.passkeys(unit.session, person.id):
            refused = Forbidden(
                "sign in with your passkey: this account's second factor", "请使用通行密钥登录", code="passkey_needed"
            )
        if refused is None:
            assert person.password is not None
            person.failures, person.locked_until = 0, None
            if passwords.is_outdated(person.password):
                person.password = passwords.make(body.password)
            method = sessions.PASSWORD if person.totp is None else sessions.TOTP
            opened = sessions.open_session(unit, control, person, method, source)
    if refused is not None:
        raise refused
    assert opened is not None
    return opened


# ---- the second factor


def _totp(control: Control, person_id: str, number: str) -> pyotp.TOTP:
    """The secret is kept nowhere: it is derived from the platform's, for this person and this number."""
    raw = control.secret.derive("staff-totp", f"{person_id}/{number}")[:20]
    return pyotp.TOTP(base64.b32encode(raw).decode(), interval=_STEP)


def _check_totp(control: Control, unit: Unit, person: Staff, typed: str | None) -> bool:
    """Whether this is the one-time password of now or of the step before; none is good twice (RFC 6238 §5.2)."""
    assert person.totp is not None
    return typed is not None and _use_totp(_totp(control, person.id, person.totp), person, typed, unit.now)


def _use_totp(totp: pyotp.TOTP, person: Staff, typed: str, now: datetime) -> bool:
    step = int(now.timestamp()) // _STEP
    for candidate in (step, step - 1):
        if candidate > person.totp_step and hmac.compare_digest(totp.at(candidate * _STEP), typed):
            person.totp_step = candidate
            return True
    return False


def start_totp(control: Control, caller: Caller) -> TotpOut:
    """A new secret for the caller's authenticator, shown once; in force once a code of it was typed."""
    with control.db.read(SYSTEM) as session:
        person = repository.staff(session, caller.account_id)
        account = session.get(Account, caller.account_id)
        if person is None or account is None:
            raise Conflict("a program has no second factor", "程序账户没有第二因素", code="not_a_person")
    number = secrets.token_hex(8)
    totp = _totp(control, person.id, number)
    return TotpOut(uri=totp.provisioning_uri(name=account.name, issuer_name=control.settings.platform), number=number)


def finish_totp(control: Control, caller: Caller, body: TotpIn) -> None:
    """Takes the second factor into use; the caller's session counts as signed in with it from now on."""
    with control.db.unit(SYSTEM) as unit:
        person = oneself(unit, caller)
        person.totp_step = 0 if person.totp is None else person.totp_step
        if not _use_totp(_totp(control, person.id, body.number), person, body.code, unit.now):
            raise LoginRefused
        person.totp = body.number
        unit.session.flush()
        unit.record("staff.totp", person, "second factor set up")
        raise_session(unit, caller, sessions.TOTP)


def oneself(unit: Unit, caller: Caller) -> Staff:
    """The caller's own row, held. A new second factor needs a session without one, or one just opened with the old."""
    person = repository.staff(unit.session, caller.account_id, lock=True)
    row = None if caller.session_id is None else unit.session.get(StaffSession, caller.session_id)
    if person is None or row is None:
        raise Conflict("a program has no second factor", "程序账户没有第二因素", code="not_a_person")
    unit.identified(caller)
    has_one = person.totp is not None or bool(repository.passkeys(unit.session, person.id))
    if has_one and (row.method == sessions.PASSWORD or unit.now - row.created_at > timedelta(minutes=10)):
        raise Forbidden(
            "for this you must have signed in with your second factor within the last 10 minutes",
            "此操作要求在最近 10 分钟内以第二因素登录",
            code="fresh_sign_in_needed",
        )
    return person


def raise_session(unit: Unit, caller: Caller, method: str) -> None:
    """The caller's session has shown its second factor."""
    unit.session.execute(sa.update(StaffSession).where(StaffSession.id == caller.session_id).values(method=method))


# ---- API tokens


def rotate(control: Control, caller: Caller, account_id: str, body: TokenIn) -> NewToken:
    """A new token; the earlier ones end after `keep_hours`, so that a program can be changed over."""
    with control.db.unit(caller) as unit:
        account = reach(unit, caller, account_id)
        if account.level != Level.SERVICE:
            raise Conflict("a person signs in and has no token", "人员账户须登录使用，不签发令牌", code="not_a_program")
        if account.disabled_at is not None:
            raise Conflict(f"{account.name} is cancelled", f"账户 {account.name} 已注销", code="illegal_transition")
        end = unit.now + timedelta(hours=body.keep_hours)
        for row in repository.tokens(unit.session, account.id, unit.now):
            if row.expires_at is None or row.expires_at > end:
                _end_token(unit, row, end, body.reason)
        token = new_token()
        expires_at = institutions.token_end(control, unit, body.expires_at)
        row = institutions.add_token(unit, account, token, expires_at, body.reason)
        return NewToken(id=row.id, token=token, expires_at=expires_at)


def _end_token(unit: Unit, row: ApiToken, at: datetime, reason: str) -> None:
    if at <= unit.now:
        row.ended_at = at
    else:
        row.expires_at = at
    unit.session.flush()
    unit.record("token.end", row, reason, detail={"at": at.isoformat()})


def end_token(control: Control, caller: Caller, account_id: str, token_id: str, reason: str) -> None:
    """Ends one token at once."""
    with control.db.unit(caller) as unit:
        reach(unit, caller, account_id)
        row = unit.session.get(ApiToken, token_id)
        if row is None or row.account != account_id or row.ended_at is not None:
            raise NotFound("token", "令牌", token_id)
        _end_token(unit, row, unit.now, reason)


def tokens(control: Control, caller: Caller, account_id: str) -> Tokens:
    with control.db.unit(caller) as unit:
        reach(unit, caller, account_id)
        rows = repository.tokens(unit.session, account_id, unit.now)
        return Tokens(items=[TokenOut(id=r.id, created_at=r.created_at, expires_at=r.expires_at) for r in rows])


# ---- sanctions on one user (R17)


def _sanction_view(row: AccountSanction) -> AccountSanctionOut:
    return AccountSanctionOut(
        id=row.id, account_id=row.account, duties=row.duties, ground=row.ground, evidence=row.evidence,
        since=row.since, until=row.until, state=row.state,
    )  # fmt: skip


def sanction(control: Control, caller: Caller, account_id: str, body: AccountSanctionIn) -> AccountSanctionOut:
    """Suspends some or all duties of one account, at once: its next request is refused (R17)."""
    with control.db.unit(caller) as unit:
        account = reach(unit, caller, account_id)
        if account.id == caller.account_id:
            raise Forbidden("nobody sanctions the own account", "不得处分本人账户", code="own_account")
        if body.until is not None and body.until <= unit.now:
            raise Invalid("until: a time ahead is needed", "until：须为将来时间")
        duties = None
        if body.duties is not None:
            duties = institutions.check_duties((Role(role) for role in account.roles), body.duties)
        row = AccountSanction(
            id=f"as-{secrets.token_hex(6)}", account=account.id, duties=duties, ground=body.ground,
            evidence=body.evidence, since=unit.now, until=body.until,
        )  # fmt: skip
        unit.create(row, "account.sanction", body.ground, state="in_force", account=account.id, duties=duties)
        if duties is None:
            sessions.end_all(unit, account.id)
        return _sanction_view(row)


def lift(control: Control, caller: Caller, sanction_id: str, reason: str) -> AccountSanctionOut:
    with control.db.unit(caller) as unit:
        row = unit.session.get(AccountSanction, sanction_id, with_for_update=True)
        if row is None:
            raise NotFound("sanction", "处分", sanction_id)
        unit.transition(row, "lifted", "account.sanction.lift", reason)
        return _sanction_view(row)


def sanctions(control: Control, caller: Caller, account_id: str | None) -> AccountSanctions:
    with control.db.read(caller) as session:
        return AccountSanctions(items=[_sanction_view(row) for row in repository.sanctions(session, account_id)])


def sweep(control: Control) -> int:
    """Marks sanctions whose time is over as ended: they stopped counting by themselves."""
    with control.db.read(SYSTEM) as session:
        over = repository.ended_sanctions(session, control.db.clock())
    for sanction_id in over:
        with control.db.unit(SYSTEM) as unit:
            row = unit.session.get(AccountSanction, sanction_id, with_for_update=True)
            if row is not None and row.state == "in_force":
                unit.transition(row, "ended", "account.sanction.end", "its time is over")
    return len(over)
