"""Signed-in browsers: an opaque cookie, a hash of it in the database, idle and absolute expiry, and a CSRF token.

Owns who a visitor is and which rights come with it. A session never outlives its person, its passkey or its
enterprise's standing: each is looked up at every request.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from api.control import Control
from api.db import SYSTEM, Actor, Unit
from api.enterprises import repository
from api.enterprises.repository import Person, PortalSession
from api.enterprises.states import Right
from api.errors import Forbidden, Unauthenticated

COOKIE = "__Host-creditlab"
PORTAL = "portal"  # signed in by passkey
CODE = "code"  # signed in by a one-time code, where the operator allows it
ENROL = "enrol"  # may register a passkey and nothing else
KINDS = (PORTAL, CODE, ENROL)
# before anybody is known
NOBODY = Actor("visitor", "visitor", "platform")
ENROL_SECONDS = 900
# keys and people are changed by whoever has just shown a passkey, not by whoever found an open browser
FRESH = timedelta(minutes=10)
_TOUCH = timedelta(seconds=20)  # the last use is written no more often than this
_MAX_AGENT = 200
_KEPT = timedelta(days=30)  # after its end; the audit keeps that there was one


class SignedOut(Unauthenticated):
    """No session, or one that has ended: sign in (again)."""

    code = "signed_out"

    def __init__(self) -> None:
        super().__init__("sign in: there is no session, or it has ended", "请登录：尚未登录或登录已失效")


class RightMissing(Forbidden):
    """The person may not do this for the enterprise."""

    code = "right_missing"


class CsrfMissing(Forbidden):
    """A write that does not come from one of our own pages."""

    code = "csrf_missing"

    def __init__(self) -> None:
        super().__init__(
            "the request does not come from a page of this session: reload the page and try again",
            "请求并非来自本次登录的页面：请刷新页面后重试",
        )


class FreshSignInNeeded(Forbidden):
    """Signed in too long ago for a change of keys or people."""

    code = "fresh_sign_in_needed"

    def __init__(self) -> None:
        minutes = int(FRESH.total_seconds() // 60)
        super().__init__(
            f"for this you must have signed in within the last {minutes} minutes: sign out and in again",
            f"此操作要求在最近 {minutes} 分钟内登录：请退出后重新登录",
        )


@dataclass(frozen=True)
class Visitor(Actor):
    """The person behind a session; as an actor, `institution` is the enterprise's USCC."""

    session_id: str
    kind: str
    enterprise_name: str
    subject: str
    rights: frozenset[Right]
    since: datetime
    code_id: str | None
    token: str = field(repr=False)

    @property
    def uscc(self) -> str:
        return self.institution

    @property
    def csrf(self) -> str:
        """Known to whoever has the cookie, and to pages made for it."""
        return hmac.new(self.token.encode(), b"creditlab/csrf/1", hashlib.sha256).hexdigest()

    def need(self, right: Right) -> None:
        """Raises RightMissing."""
        if right not in self.rights:
            raise RightMissing(
                f"your rights for {self.enterprise_name} do not include {right}: ask who manages its people",
                f"您在 {self.enterprise_name} 的权限不含此项操作：请联系本企业的管理人员",
            )

    def check_csrf(self, given: str | None) -> None:
        """Raises CsrfMissing."""
        if given is None or not hmac.compare_digest(given.encode(), self.csrf.encode()):
            raise CsrfMissing

    def check_fresh(self, now: datetime) -> None:
        """Raises FreshSignInNeeded."""
        if now - self.since > FRESH:
            raise FreshSignInNeeded


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def open_session(
    unit: Unit,
    control: Control,
    person: Person,
    kind: str,
    agent: str,
    *,
    passkey: str | None = None,
    code: str | None = None,
) -> str:
    """A new session; returns its token, which is kept nowhere."""
    repository.forget_sessions(unit.session, person.id, unit.now - _KEPT)
    token = secrets.token_urlsafe(32)
    seconds = ENROL_SECONDS if kind == ENROL else control.settings.portal_session_seconds
    row = PortalSession(
        id=f"es-{secrets.token_hex(8)}",
        token_sha256=_hash(token),
        kind=kind,
        person=person.id,
        passkey=passkey,
        code=code,
        agent="".join(c for c in agent if c.isprintable())[:_MAX_AGENT],
        created_at=unit.now,
        seen_at=unit.now,
        expires_at=unit.now + timedelta(seconds=seconds),
        ended_at=None,
    )
    unit.session.add(row)
    unit.record("session.open", person, f"signed in: {kind}", detail={"session": row.id, "passkey": passkey})
    return token


def visitor(control: Control, token: str | None, kinds: tuple[str, ...]) -> Visitor:
    """Who is behind a cookie. Raises SignedOut."""
    if not token:
        raise SignedOut
    now = control.db.clock()
    idle = timedelta(seconds=control.settings.portal_idle_seconds)
    with control.db.read(SYSTEM) as session:
        row = repository.session_by_token(session, _hash(token))
        if row is None or row.ended_at is not None or row.expires_at <= now or row.seen_at + idle <= now:
            raise SignedOut
        person = repository.person(session, row.person)
        enterprise = None if person is None else repository.enterprise(session, person.enterprise)
        if person is None or enterprise is None or row.kind not in kinds:
            raise SignedOut
        if not stands(row.kind, person, enterprise.state):
            raise SignedOut
        if row.passkey is not None:
            key = repository.passkey(session, row.passkey)
            if key is None or key.state != "active":
                raise SignedOut
        stale = now - row.seen_at > _TOUCH
        found = Visitor(
            account_id=person.id,
            name=person.name,
            institution=enterprise.uscc,
            session_id=row.id,
            kind=row.kind,
            enterprise_name=enterprise.name,
            subject=enterprise.subject,
            rights=frozenset(Right(right) for right in person.rights),
            since=row.created_at,
            code_id=row.code,
            token=token,
        )
    if stale:
        with control.db.unit(found) as unit:
            repository.touch(unit.session, found.session_id, now)
    return found


def stands(kind: str, person: Person, state: str) -> bool:
    """Whether a session of this kind may be, by the state of its person and enterprise."""
    if kind == ENROL:
        return person.state in ("invited", "active") and state in ("invited", "active")
    # who has no right in the enterprise acts for nobody else: its standing takes no own withdrawal away (PIPL §15)
    return person.state == "active" and (state == "active" or not person.rights)


def end(control: Control, who: Visitor, session_id: str | None = None) -> None:
    """Ends one session of the visitor's own, or of the enterprise's for who manages it; the current one by default."""
    with control.db.unit(who) as unit:
        person = repository.person(unit.session, who.account_id)
        assert person is not None
        wanted = session_id or who.session_id
        ids = [who.account_id]
        if Right.MANAGE in who.rights:
            ids = [each.id for each in repository.people(unit.session, who.uscc)]
        ended = repository.end_sessions(
            unit.session, unit.now, PortalSession.id == wanted, PortalSession.person.in_(ids)
        )
        if ended:
            unit.record("session.end", person, "signed out", detail={"session": wanted})
