"""Who may call what: bearer tokens, roles, and one typed table role × action. Deny by default.

A route names its action by `Depends(permits(Action.X))`; the app refuses to start with a route that names none.
Tokens are kept as SHA-256 only. Which institution's objects a caller sees is decided in the services.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts

from api.db import Actor
from api.errors import Forbidden, Unauthenticated
from api.institutions.repository import Account


class Role(StrEnum):
    OPERATOR = "operator"
    RISK = "risk"
    DATA_OWNER = "data_owner"
    REVIEWER = "reviewer"
    GATEWAY = "gateway"
    NODE = "node"
    WITNESS = "witness"


class Action(StrEnum):
    """What a route does; the rows of the permission table."""

    PUBLIC = "public"
    WHOAMI = "whoami"
    INSTITUTION_CREATE = "institution.create"
    INSTITUTION_READ = "institution.read"
    INSTITUTION_SANCTION = "institution.sanction"
    ACCOUNT_CREATE = "account.create"
    ACCOUNT_READ = "account.read"
    CONSENT_IMPORT = "consent.import"
    CONSENT_READ = "consent.read"
    ENTERPRISE_ENROL = "enterprise.enrol"
    ENTERPRISE_READ = "enterprise.read"
    ENTERPRISE_STATE = "enterprise.state"
    FEED_READ = "feed.read"
    NODE_REGISTER = "node.register"
    NODE_READ = "node.read"
    NODE_WORK = "node.work"
    NODE_REPORT = "node.report"
    JOB_PROPOSE = "job.propose"
    JOB_READ = "job.read"
    JOB_APPROVE = "job.approve"
    JOB_CANCEL = "job.cancel"
    JOB_RETRY = "job.retry"
    RELEASE_REQUEST = "release.request"
    RELEASE_READ = "release.read"
    RELEASE_REVIEW = "release.review"
    RELEASE_APPROVE = "release.approve"
    RELEASE_VETO = "release.veto"
    SCORE = "score"
    CONSENT_REQUEST = "consent.request"
    CONSENT_REQUEST_READ = "consent.request.read"
    CONSENT_EVENTS = "consent.events"
    WEBHOOK_MANAGE = "webhook.manage"
    DISPUTE_OPEN = "dispute.open"
    DISPUTE_READ = "dispute.read"
    DISPUTE_ANSWER = "dispute.answer"
    RELEASE_RECALL = "release.recall"
    CONSENT_IMPACT = "consent.impact"
    NOTICE_READ = "notice.read"
    NOTICE_CLOSE = "notice.close"
    USAGE_READ = "usage.read"
    USAGE_ASK = "usage.ask"
    AUDIT_READ = "audit.read"
    LEDGER_READ = "ledger.read"
    LEDGER_WITNESS = "ledger.witness"
    RECEIPT_READ = "receipt.read"


_O, _R, _D, _V, _G, _N, _W = (
    Role.OPERATOR,
    Role.RISK,
    Role.DATA_OWNER,
    Role.REVIEWER,
    Role.GATEWAY,
    Role.NODE,
    Role.WITNESS,
)

PERMISSIONS: dict[Action, frozenset[Role]] = {
    Action.PUBLIC: frozenset(Role),
    Action.WHOAMI: frozenset(Role),
    Action.INSTITUTION_CREATE: frozenset({_O}),
    Action.INSTITUTION_READ: frozenset({_O, _R, _D, _V}),
    Action.INSTITUTION_SANCTION: frozenset({_O}),
    Action.ACCOUNT_CREATE: frozenset({_O}),
    Action.ACCOUNT_READ: frozenset({_O}),
    Action.CONSENT_IMPORT: frozenset({_G}),
    Action.CONSENT_READ: frozenset({_O, _R}),
    Action.ENTERPRISE_ENROL: frozenset({_O, _G}),
    Action.ENTERPRISE_READ: frozenset({_O}),
    Action.ENTERPRISE_STATE: frozenset({_O}),
    Action.FEED_READ: frozenset({_N}),
    Action.NODE_REGISTER: frozenset({_N}),
    Action.NODE_READ: frozenset({_O, _R, _D}),
    Action.NODE_WORK: frozenset({_N}),
    Action.NODE_REPORT: frozenset({_N}),
    Action.JOB_PROPOSE: frozenset({_R}),
    Action.JOB_READ: frozenset({_O, _R, _D, _V}),
    Action.JOB_APPROVE: frozenset({_O, _D}),
    Action.JOB_CANCEL: frozenset({_O, _R}),
    Action.JOB_RETRY: frozenset({_O, _R}),
    Action.RELEASE_REQUEST: frozenset({_R}),
    Action.RELEASE_READ: frozenset({_O, _R, _D, _V}),
    Action.RELEASE_REVIEW: frozenset({_V}),
    Action.RELEASE_APPROVE: frozenset({_O}),
    Action.RELEASE_VETO: frozenset({_D}),
    Action.SCORE: frozenset({_R}),
    Action.CONSENT_REQUEST: frozenset({_R}),
    Action.CONSENT_REQUEST_READ: frozenset({_O, _R}),
    Action.CONSENT_EVENTS: frozenset({_R}),
    Action.WEBHOOK_MANAGE: frozenset({_O}),
    Action.DISPUTE_OPEN: frozenset({_O}),
    Action.DISPUTE_READ: frozenset({_O, _R}),
    Action.DISPUTE_ANSWER: frozenset({_O, _R}),
    Action.RELEASE_RECALL: frozenset({_O}),
    Action.CONSENT_IMPACT: frozenset({_O}),
    Action.NOTICE_READ: frozenset({_O, _R}),
    Action.NOTICE_CLOSE: frozenset({_O, _R}),
    Action.USAGE_READ: frozenset({_O, _R}),
    Action.USAGE_ASK: frozenset({_G}),
    Action.AUDIT_READ: frozenset({_O}),
    Action.LEDGER_READ: frozenset(Role),  # salted hashes and heads: nothing that names anybody
    Action.LEDGER_WITNESS: frozenset({_W}),
    Action.RECEIPT_READ: frozenset({_O, _R}),
}


@dataclass(frozen=True)
class Caller(Actor):
    """The account behind a request."""

    roles: frozenset[Role]

    def may(self, action: Action) -> bool:
        return bool(self.roles & PERMISSIONS.get(action, frozenset()))


def new_token() -> str:
    return "clt_" + secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    """What is stored. A plain hash is enough: the token is 256 random bits, not a password."""
    return hashlib.sha256(token.encode()).hexdigest()


class Permits:
    """The dependency of a route: its action, and the caller once allowed."""

    def __init__(self, action: Action) -> None:
        self.action = action

    def __call__(self, request: Request) -> Caller:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("a bearer token is needed", "需要提供访问令牌")
        with request.app.state.control.db.read() as session:
            found = session.scalar(
                sa.select(Account).where(Account.token_sha256 == token_digest(token), Account.disabled_at.is_(None))
            )
        if found is None:
            raise Unauthenticated("the token is not known or no longer valid", "访问令牌未知或已失效")
        caller = Caller(found.id, found.name, found.institution, frozenset(Role(r) for r in found.roles))
        if not caller.may(self.action):
            raise Forbidden(
                f"{self.action} needs one of the roles {', '.join(sorted(PERMISSIONS[self.action]))}",
                f"操作 {self.action} 需要以下角色之一：{'、'.join(sorted(PERMISSIONS[self.action]))}",
                code="role_missing",
            )
        return caller


class PublicRoute:
    """The dependency of a route that anybody may call."""

    action = Action.PUBLIC

    def __call__(self) -> None:
        return None


def permits(action: Action) -> Permits | PublicRoute:
    return PublicRoute() if action is Action.PUBLIC else Permits(action)


class RouteWithoutPermission(RuntimeError):
    """A route names no action: it would be open by mistake."""


# served by the framework itself, describes the API and nothing else
_FRAMEWORK_PATHS = frozenset({"/openapi.json"})
# an application of its own, which refuses to be built with a route that names no door (api.portal.access)
_MOUNTED = frozenset({"/portal"})


def actions_by_route(app: FastAPI) -> dict[tuple[str, str], Action]:
    """(method, path) → action for every route. Raises RouteWithoutPermission for one that has none."""
    table: dict[tuple[str, str], Action] = {}
    for context in iter_route_contexts(app.routes):
        path = context.path or ""
        if path in _FRAMEWORK_PATHS | _MOUNTED:
            continue
        dependant = getattr(context, "dependant", None)
        actions = {
            d.call.action
            for d in (dependant.dependencies if dependant else [])
            if isinstance(d.call, Permits | PublicRoute)
        }
        if len(actions) != 1:
            raise RouteWithoutPermission(f"{context.methods} {path}: exactly one permits(…) is needed")
        for method in context.methods or ():
            table[(method, path)] = next(iter(actions))
    return table
