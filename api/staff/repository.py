"""Tables and queries of people, their one-time codes, passkeys and sessions, of API tokens and of sanctions.

Passwords are kept as argon2id, codes as scrypt, tokens as SHA-256 of 256 random bits; a TOTP secret is kept nowhere:
it is derived from the platform's secret and the number kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import SYSTEM, Audited, Base, Database, Machine, Stateful
from api.institutions.repository import Account
from api.staff.states import ACCOUNT_SANCTION, STAFF, STAFF_PASSKEY


class ApiToken(Audited, Base):
    """One bearer token of an account; a new one is made before the old one ends."""

    __tablename__ = "api_tokens"
    AUDIT_KIND: ClassVar[str] = "api_token"

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (sa.Index("api_tokens_account", "account"),)


class Staff(Stateful, Base):
    """A person behind an account (the same number): real name, how to reach, what post, how to prove it."""

    __tablename__ = "staff"
    AUDIT_KIND: ClassVar[str] = "staff"
    MACHINE: ClassVar[Machine] = STAFF

    id: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"), primary_key=True)
    name: Mapped[str]
    contact: Mapped[str]
    post: Mapped[str]
    state: Mapped[str]
    password: Mapped[str | None]
    password_at: Mapped[datetime | None]
    totp: Mapped[str | None]  # which derived secret; None: no TOTP
    totp_step: Mapped[int] = mapped_column(sa.BigInteger)  # the last time step used: none is good twice
    external: Mapped[str | None]  # issuer and subject at the institution's own identity provider
    failures: Mapped[int]
    locked_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    left_on: Mapped[date | None]  # left or changed duty on this day; to be disabled within the period (R6)

    __table_args__ = (sa.UniqueConstraint("external", name="staff_external"),)


class StaffCode(Base):
    """A one-time code that lets a person set the password."""

    __tablename__ = "staff_codes"

    id: Mapped[str] = mapped_column(primary_key=True)
    staff: Mapped[str] = mapped_column(sa.ForeignKey("staff.id"))
    hash: Mapped[bytes]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (sa.Index("staff_codes_staff", "staff"),)


class StaffPasskey(Stateful, Base):
    __tablename__ = "staff_passkeys"
    AUDIT_KIND: ClassVar[str] = "staff_passkey"
    MACHINE: ClassVar[Machine] = STAFF_PASSKEY

    id: Mapped[str] = mapped_column(primary_key=True)
    staff: Mapped[str] = mapped_column(sa.ForeignKey("staff.id"))
    public_key: Mapped[str]
    label: Mapped[str]
    sign_count: Mapped[int] = mapped_column(sa.BigInteger)
    state: Mapped[str]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (sa.Index("staff_passkeys_staff", "staff"),)


class StaffSession(Base):
    """A signed-in person, with where from (R20). The token is kept as a hash."""

    __tablename__ = "staff_sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    token_sha256: Mapped[str] = mapped_column(unique=True)
    method: Mapped[str]
    address: Mapped[str]
    agent: Mapped[str]
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (sa.Index("staff_sessions_account", "account", "ended_at"),)


class LoginState(Base):
    """A login at an institution's own identity provider that is under way: good once and for minutes."""

    __tablename__ = "staff_login_states"

    id: Mapped[str] = mapped_column(primary_key=True)  # SHA-256 of the state
    nonce: Mapped[str]
    verifier: Mapped[str]
    expires_at: Mapped[datetime]


class AccountSanction(Stateful, Base):
    """Some or all of one account's duties suspended (R17). `duties` None: all."""

    __tablename__ = "account_sanctions"
    AUDIT_KIND: ClassVar[str] = "account_sanction"
    MACHINE: ClassVar[Machine] = ACCOUNT_SANCTION

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(sa.ForeignKey("accounts.id"))
    duties: Mapped[list[str] | None] = mapped_column(ARRAY(sa.Text))
    ground: Mapped[str]
    evidence: Mapped[str | None]
    since: Mapped[datetime]
    until: Mapped[datetime | None]
    state: Mapped[str]

    __table_args__ = (sa.Index("account_sanctions_account", "account", postgresql_where=sa.text("state = 'in_force'")),)


def staff(session: Session, account_id: str, *, lock: bool = False) -> Staff | None:
    return session.get(Staff, account_id, with_for_update=lock or None)


def staff_named(session: Session, login: str, *, lock: bool = False) -> Staff | None:
    query = sa.select(Staff).join(Account, Account.id == Staff.id).where(Account.name == login)
    return session.scalar(query.with_for_update(of=Staff) if lock else query)


def people(session: Session, institution: str | None) -> Sequence[tuple[Staff, Account]]:
    query = sa.select(Staff, Account).join(Account, Account.id == Staff.id).order_by(Account.institution, Account.name)
    if institution is not None:
        query = query.where(Account.institution == institution)
    return [(row, account) for row, account in session.execute(query)]


def open_code(session: Session, account_id: str, now: datetime) -> StaffCode | None:
    return session.scalar(
        sa.select(StaffCode)
        .where(StaffCode.staff == account_id, StaffCode.used_at.is_(None), StaffCode.expires_at > now)
        .with_for_update()
    )


def void_codes(session: Session, account_id: str, now: datetime) -> None:
    session.execute(
        sa.update(StaffCode).where(StaffCode.staff == account_id, StaffCode.used_at.is_(None)).values(used_at=now)
    )


def passkeys(session: Session, account_id: str) -> Sequence[StaffPasskey]:
    query = sa.select(StaffPasskey).where(StaffPasskey.staff == account_id, StaffPasskey.state == "active")
    return session.scalars(query.order_by(StaffPasskey.created_at)).all()


def live_sessions(session: Session, now: datetime, seen_after: datetime, *accounts: str) -> Sequence[StaffSession]:
    """Sessions that have neither ended nor run out; of the accounts named, or of all."""
    query = sa.select(StaffSession).where(
        StaffSession.ended_at.is_(None), StaffSession.expires_at > now, StaffSession.seen_at > seen_after
    )
    if accounts:
        query = query.where(StaffSession.account.in_(accounts))
    return session.scalars(query.order_by(StaffSession.account, StaffSession.created_at)).all()


def known_source(session: Session, account_id: str, address: str, agent: str) -> bool:
    """Whether the account has signed in from there before."""
    return bool(
        session.scalar(
            sa.select(
                sa.exists().where(
                    StaffSession.account == account_id, StaffSession.address == address, StaffSession.agent == agent
                )
            )
        )
    )


def end_sessions(session: Session, now: datetime, *conditions: sa.ColumnElement[bool]) -> int:
    query = sa.update(StaffSession).where(StaffSession.ended_at.is_(None), *conditions)
    return len(session.execute(query.values(ended_at=now).returning(StaffSession.id)).all())


def tokens(session: Session, account_id: str, now: datetime) -> Sequence[ApiToken]:
    """The account's tokens that are good."""
    query = sa.select(ApiToken).where(
        ApiToken.account == account_id,
        ApiToken.ended_at.is_(None),
        sa.or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now),
    )
    return session.scalars(query.order_by(ApiToken.created_at)).all()


def sanctions(session: Session, account_id: str | None) -> Sequence[AccountSanction]:
    query = sa.select(AccountSanction).order_by(AccountSanction.since.desc(), AccountSanction.id)
    if account_id is not None:
        query = query.where(AccountSanction.account == account_id)
    return session.scalars(query).all()


def ended_sanctions(session: Session, now: datetime) -> Sequence[str]:
    return session.scalars(
        sa.select(AccountSanction.id).where(AccountSanction.state == "in_force", AccountSanction.until <= now)
    ).all()


_CREDENTIAL = """
WITH given AS (
    SELECT account, NULL AS session_id, NULL::timestamptz AS seen_at, 'token' AS method FROM api_tokens
    WHERE sha256 = %(digest)s AND ended_at IS NULL AND (expires_at IS NULL OR expires_at > %(now)s)
    UNION ALL
    SELECT account, id, seen_at, method FROM staff_sessions
    WHERE token_sha256 = %(digest)s AND ended_at IS NULL AND expires_at > %(now)s AND seen_at > %(seen_after)s
)
SELECT a.id, COALESCE(p.name, a.name) AS name, a.institution, a.roles, a.level, a.duties, g.session_id, g.seen_at,
    g.method,
    COALESCE(s.state, o.state, 'preparing') AS standing,
    EXISTS (SELECT FROM account_sanctions x WHERE x.account = a.id AND x.state = 'in_force' AND x.duties IS NULL
            AND (x.until IS NULL OR x.until > %(now)s)) AS suspended,
    ARRAY(SELECT unnest(x.duties) FROM account_sanctions x WHERE x.account = a.id AND x.state = 'in_force'
          AND (x.until IS NULL OR x.until > %(now)s)) AS suspended_duties
FROM given g JOIN accounts a ON a.id = g.account AND a.disabled_at IS NULL
LEFT JOIN staff p ON p.id = a.id
LEFT JOIN institution_standings s ON s.institution = a.institution AND s.state <> 'active'
LEFT JOIN onboardings o ON o.institution = a.institution
"""


def credential(db: Database, digest: str, now: datetime, seen_after: datetime) -> Any:
    """The account behind a token or session that is good now, with how it and its institution stand; or None."""
    values = {"digest": digest, "now": now, "seen_after": seen_after}
    return db.look_up(SYSTEM, _CREDENTIAL, values)


def touch(session: Session, session_id: str, now: datetime) -> None:
    session.execute(sa.update(StaffSession).where(StaffSession.id == session_id).values(seen_at=now))
