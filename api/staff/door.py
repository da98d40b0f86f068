"""Who stands behind a request: a bearer token of an API client, or a person's session by bearer or cookie.

Looks up and refuses; what the caller may do once known is `api.auth`'s to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request

from api.control import Control
from api.db import SYSTEM
from api.errors import Forbidden, Unauthenticated
from api.staff import repository

COOKIE = "__Host-creditlab-staff"
_READING = frozenset({"GET", "HEAD"})
_TOUCH = timedelta(seconds=20)  # the last use is written no more often than this
_STANDINGS = {
    "preparing": ("institution_not_admitted", "is not admitted yet: agreement and assessment are missing", "尚未准入"),
    "rectifying": ("institution_rectifying", "must rectify its security first", "须先完成安全整改"),
    "suspended": ("institution_suspended", "is suspended", "已被暂停"),
    "removed": ("institution_removed", "was removed", "已被移除"),
}


# of these the nodes must learn by the signed feed; one that was never let in, or must rectify, is not connected (R52)
_SANCTIONED = frozenset({"suspended", "removed"})


@dataclass(frozen=True)
class Found:
    """An account whose credential is good, and how it stands."""

    account_id: str
    name: str
    institution: str
    roles: tuple[str, ...]
    level: str
    duties: tuple[str, ...] | None
    suspended_duties: tuple[str, ...]
    suspended: bool
    standing: str
    session_id: str | None
    method: str

    def check(self, *, serving: bool, own: bool) -> None:
        """Raises Forbidden for a session without its second factor, for a sanctioned account (R17), and for one of an
        institution that is not active.

        A node or witness goes on hearing the signed word of a sanction, which ends its work (`serving`); anybody may
        see and end what is his own (`own`).
        """
        if self.method == "password" and not own:
            raise Forbidden(
                "set up a second factor first: TOTP or a passkey", "请先设置第二因素：动态口令或通行密钥",
                code="second_factor_needed",
            )  # fmt: skip
        if self.suspended and not own:
            raise Forbidden(
                "this account is suspended: ask the platform operator", "该账户已被暂停：请联系平台运营方",
                code="account_suspended",
            )  # fmt: skip
        hears = serving and self.standing in _SANCTIONED
        if self.standing != "active" and not hears and not own:
            code, word, word_zh = _STANDINGS[self.standing]
            raise Forbidden(f"institution {self.institution} {word}", f"机构 {self.institution} {word_zh}", code=code)


def _given(request: Request, control: Control) -> str:
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer" and token:
            return token
    elif cookie := request.cookies.get(COOKIE):
        if request.method not in _READING and request.headers.get("origin") not in control.settings.origins:
            raise Forbidden(
                "the request was not sent from a page of this platform", "请求并非由本平台页面发出",
                code="wrong_origin",
            )  # fmt: skip
        return cookie
    raise Unauthenticated("a bearer token or a session is needed", "需要提供访问令牌或登录")


def identify(request: Request, digest: Callable[[str], str]) -> Found:
    """Raises Unauthenticated, or Forbidden for a cookie that another site sends."""
    control: Control = request.app.state.control
    token = _given(request, control)
    now = control.db.clock()
    idle = timedelta(seconds=control.settings.staff_idle_seconds)
    row = repository.credential(control.db, digest(token), now, now - idle)
    if row is None:
        raise Unauthenticated("the token is not known or no longer valid", "访问令牌未知或已失效")
    if row.session_id is not None and now - row.seen_at > _TOUCH:
        with control.db.unit(SYSTEM) as unit:
            repository.touch(unit.session, row.session_id, now)
    return Found(
        account_id=row.id,
        name=row.name,
        institution=row.institution,
        roles=tuple(row.roles),
        level=row.level,
        duties=None if row.duties is None else tuple(row.duties),
        suspended_duties=tuple(row.suspended_duties),
        suspended=row.suspended,
        standing=row.standing,
        session_id=row.session_id,
        method=row.method,
    )
