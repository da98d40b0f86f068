"""A person's session: opaque token, idle and absolute end, and the source it came from (R3, R20).

Owns opening and ending. Which account a token stands for is looked up at every request (`api.staff.door`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request

from api.auth import Caller, token_digest
from api.control import Control
from api.db import SYSTEM, Actor, Unit
from api.errors import Conflict, NotFound
from api.institutions.repository import Account
from api.staff import repository
from api.staff.repository import Staff, StaffSession
from api.staff.schemas import NewSession, SessionOut, Sessions

PASSWORD = "password"  # noqa: S105 (a method's name) no second factor yet: good for setting one up and nothing else
TOTP, PASSKEY, OIDC = "totp", "passkey", "oidc"
_MAX_AGENT = 200


@dataclass(frozen=True)
class Source:
    """Where a request comes from."""

    address: str
    agent: str

    @classmethod
    def of(cls, request: Request) -> Source:
        agent = request.headers.get("user-agent", "")
        printable = "".join(c for c in agent if c.isprintable())[:_MAX_AGENT]
        return cls(request.client.host if request.client else "unknown", printable)


class SignedInElsewhere(Conflict):
    """The operator allows one source at a time, and the account is signed in from another."""

    code = "signed_in_elsewhere"

    def __init__(self) -> None:
        super().__init__(
            "this account is signed in from another place: sign out there, or ask your admin to end that session; if "
            "it was not you, tell the platform operator",
            "该账户已在其他位置登录：请先在该处退出，或请管理员结束该会话；若非本人登录，请告知平台运营方",
        )


def acting(unit: Unit, person: Staff) -> Actor:
    """The person as the audit names them."""
    account = unit.session.get(Account, person.id)
    assert account is not None, "a person has an account"
    return Actor(person.id, person.name, account.institution)


def open_session(unit: Unit, control: Control, person: Staff, method: str, source: Source) -> NewSession:
    """A new session in the caller's transaction; its token is told once. Raises SignedInElsewhere."""
    unit.identified(acting(unit, person))
    idle = unit.now - timedelta(seconds=control.settings.staff_idle_seconds)
    live = repository.live_sessions(unit.session, unit.now, idle, person.id)
    elsewhere = sorted({one.address for one in live if (one.address, one.agent) != (source.address, source.agent)})
    if elsewhere and control.settings.staff_one_source:
        raise SignedInElsewhere
    new_source = not repository.known_source(unit.session, person.id, source.address, source.agent)
    token = "css_" + secrets.token_urlsafe(32)
    row = StaffSession(
        id=f"ss-{secrets.token_hex(8)}",
        account=person.id,
        token_sha256=token_digest(token),
        method=method,
        address=source.address,
        agent=source.agent,
        created_at=unit.now,
        seen_at=unit.now,
        expires_at=unit.now + timedelta(seconds=control.settings.staff_session_seconds),
        ended_at=None,
    )
    unit.session.add(row)
    unit.session.flush()
    detail = {"session": row.id, "method": method, "address": source.address, "new_source": new_source}
    unit.record("session.open", person, f"signed in: {method}", detail={**detail, "elsewhere": elsewhere})
    return NewSession(
        session_id=row.id,
        token=token,
        method=method,
        second_factor_needed=method == PASSWORD,
        new_source=new_source,
        elsewhere=elsewhere,
        expires_at=row.expires_at,
    )


def page(control: Control, caller: Caller) -> Sessions:
    """Live sessions that the caller may see, each with whether its account is signed in from two places (R3)."""
    now = control.db.clock()
    idle = now - timedelta(seconds=control.settings.staff_idle_seconds)
    with control.db.read(caller) as session:
        rows = repository.live_sessions(session, now, idle)
        accounts = {row.account: session.get(Account, row.account) for row in rows}
    sources: dict[str, set[tuple[str, str]]] = {}
    for row in rows:
        sources.setdefault(row.account, set()).add((row.address, row.agent))
    items = []
    for row in rows:
        account = accounts[row.account]
        assert account is not None
        items.append(
            SessionOut(
                id=row.id,
                account_id=row.account,
                login=account.name,
                institution=account.institution,
                method=row.method,
                address=row.address,
                agent=row.agent,
                created_at=row.created_at,
                seen_at=row.seen_at,
                concurrent=len(sources[row.account]) > 1,
            )
        )
    return Sessions(items=items)


def end(control: Control, caller: Caller, session_id: str) -> None:
    """Ends somebody's session at once. Raises NotFound, also for one that the caller may not see."""
    with control.db.unit(caller) as unit:
        row = unit.session.get(StaffSession, session_id)
        person = None if row is None else repository.staff(unit.session, row.account)
        if row is None or person is None:
            raise NotFound("session", "会话", session_id)
        if repository.end_sessions(unit.session, unit.now, StaffSession.id == session_id):
            unit.record("session.end", person, f"ended by {caller.name}", detail={"session": session_id})


def end_all(unit: Unit, account_id: str) -> int:
    """Every session of an account, in the caller's transaction. Returns how many."""
    return repository.end_sessions(unit.session, unit.now, StaffSession.account == account_id)


def logout(control: Control, caller: Caller, *, everywhere: bool) -> None:
    """Ends the caller's own session, or all of them."""
    with control.db.unit(SYSTEM) as unit:
        person = repository.staff(unit.session, caller.account_id)
        if person is None:
            return  # an API client has tokens, which are rotated
        unit.identified(caller)
        where = StaffSession.account == person.id if everywhere else StaffSession.id == caller.session_id
        if repository.end_sessions(unit.session, unit.now, where):
            said = "signed out everywhere" if everywhere else "signed out"
            unit.record("session.end", person, said, detail={"session": caller.session_id})
