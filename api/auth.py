"""Who may call what: one typed table of actions: role × resource × right × state. Deny by default.

A route names its action by `Depends(permits(Action.X))`; the app refuses to start with a route that names none. An
account's roles are named bundles of duties (right × resource); a grant may narrow them, a sanction take some away.
Which institution's objects a caller sees is decided by the database (migration 0006) and the services. Tokens and
sessions are kept as SHA-256 only.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts

from api.admissions.states import ADMISSION, ONBOARDING
from api.applications.states import APPLICATION, REFERRAL
from api.credit.states import CREDIT
from api.db import Actor, Machine
from api.disputes.states import DISPUTE
from api.enterprises.states import CORRECTION, ENTERPRISE
from api.errors import Forbidden
from api.guarantees.states import GUARANTEE
from api.incidents.states import INCIDENT
from api.institutions.states import STANDING
from api.jobs.states import JOB
from api.products.states import PRODUCT
from api.projects.states import PROJECT
from api.publications.states import PUBLICATION, QUESTION
from api.recalls.states import NOTICE
from api.releases.states import RELEASE
from api.staff import door
from api.web.requests import current


class Role(StrEnum):
    OPERATOR = "operator"
    RISK = "risk"
    DATA_OWNER = "data_owner"
    REVIEWER = "reviewer"
    GATEWAY = "gateway"
    NODE = "node"
    WITNESS = "witness"
    ADMIN = "admin"  # of an institution's own people, and nothing else
    OFFICER = "officer"  # works on products and applications at a bank or guarantor


class Level(StrEnum):
    """No person holds two (R3): an admin grants, an operator works, a service is no person."""

    ADMIN = "admin"
    OPERATOR = "operator"
    SERVICE = "service"


class Right(StrEnum):
    """The six separate permissions (R47)."""

    QUERY = "query"
    ENTRY = "entry"
    REVIEW = "review"
    APPROVE = "approve"
    EXPORT = "export"
    MODIFY = "modify"


class Resource(StrEnum):
    """Kinds of what is acted on."""

    PLATFORM = "platform"
    SELF = "self"
    INSTITUTION = "institution"
    ACCOUNT = "account"
    CONSENT = "consent"
    ENTERPRISE = "enterprise"
    NODE = "node"
    JOB = "job"
    RELEASE = "release"
    SCORE = "score"
    REQUEST = "request"
    EVENT = "event"
    WEBHOOK = "webhook"
    DISPUTE = "dispute"
    NOTICE = "notice"
    USAGE = "usage"
    AUDIT = "audit"
    LEDGER = "ledger"
    RECEIPT = "receipt"
    SESSION = "session"
    ADMISSION = "admission"
    CORRECTION = "correction"
    REPORT = "report"
    FLOW = "flow"
    PROJECT = "project"
    TEMPLATE = "template"
    DATASET = "dataset"
    PRODUCT = "product"
    APPLICATION = "application"
    REFERRAL = "referral"
    CREDIT = "credit"
    GUARANTEE = "guarantee"
    MESSAGE = "message"
    PUBLICATION = "publication"
    QUESTION = "question"
    STATISTICS = "statistics"
    CLOCK = "clock"
    INCIDENT = "incident"
    DATA = "data"  # about one enterprise, from a lab's store
    OWN = "own"  # an enterprise's own, through its people


class Action(StrEnum):
    """What a route does; the rows of the permission table."""

    PUBLIC = "public"
    WHOAMI = "whoami"
    SELF_MANAGE = "self.manage"
    AUTHORITY_READ = "authority.read"
    INSTITUTION_CREATE = "institution.create"
    INSTITUTION_READ = "institution.read"
    INSTITUTION_SANCTION = "institution.sanction"
    ACCOUNT_CREATE = "account.create"
    ACCOUNT_READ = "account.read"
    ACCOUNT_CHANGE = "account.change"
    ACCOUNT_SANCTION = "account.sanction"
    STAFF_CREATE = "staff.create"
    SESSION_READ = "session.read"
    SESSION_END = "session.end"
    ADMISSION_SUBMIT = "admission.submit"
    ADMISSION_READ = "admission.read"
    ADMISSION_DECIDE = "admission.decide"
    INSTITUTION_ADMIT = "institution.admit"
    CONSENT_IMPORT = "consent.import"
    CONSENT_READ = "consent.read"
    ENTERPRISE_ENROL = "enterprise.enrol"
    ENTERPRISE_READ = "enterprise.read"
    ENTERPRISE_STATE = "enterprise.state"
    ENTERPRISE_VERIFY = "enterprise.verify"
    ENTERPRISE_CERTIFY = "enterprise.certify"
    CERTIFICATION_READ = "certification.read"
    CORRECTION_PROMPT = "correction.prompt"
    CORRECTION_READ = "correction.read"
    CORRECTION_ANSWER = "correction.answer"
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
    DATA_QUERY = "data.query"
    DATA_REPORT = "data.report"
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
    AUDIT_EXPORT = "audit.export"
    METRICS_READ = "metrics.read"
    REPORT_READ = "report.read"
    FLOW_READ = "flow.read"
    FLOW_START = "flow.start"
    PROJECT_PROPOSE = "project.propose"
    PROJECT_READ = "project.read"
    PROJECT_DECIDE = "project.decide"
    PROJECT_END = "project.end"
    TEMPLATE_MANAGE = "template.manage"
    DATASET_READ = "dataset.read"
    LEDGER_READ = "ledger.read"
    LEDGER_WITNESS = "ledger.witness"
    RECEIPT_READ = "receipt.read"
    PRODUCT_MANAGE = "product.manage"
    PRODUCT_READ = "product.read"
    PRODUCT_REVIEW = "product.review"
    APPLICATION_READ = "application.read"
    APPLICATION_REVIEW = "application.review"
    REFERRAL_READ = "referral.read"
    REFERRAL_ASK = "referral.ask"
    REFERRAL_DECIDE = "referral.decide"
    CREDIT_READ = "credit.read"
    CREDIT_REPORT = "credit.report"
    GUARANTEE_READ = "guarantee.read"
    GUARANTEE_ANSWER = "guarantee.answer"
    MESSAGE_READ = "message.read"
    MESSAGE_WRITE = "message.write"
    PUBLICATION_READ = "publication.read"
    PUBLICATION_WRITE = "publication.write"
    PUBLICATION_REVIEW = "publication.review"
    QUESTION_READ = "question.read"
    QUESTION_ANSWER = "question.answer"
    QUESTION_ASSIGN = "question.assign"
    STATISTICS_READ = "statistics.read"
    CLOCK_READ = "clock.read"
    INCIDENT_REPORT = "incident.report"
    INCIDENT_READ = "incident.read"
    INCIDENT_HANDLE = "incident.handle"
    MY_READ = "my.read"
    MY_WRITE = "my.write"


_O, _R, _D, _V, _G, _N, _W, _A = (
    Role.OPERATOR,
    Role.RISK,
    Role.DATA_OWNER,
    Role.REVIEWER,
    Role.GATEWAY,
    Role.NODE,
    Role.WITNESS,
    Role.ADMIN,
)
_F = Role.OFFICER


def before(machine: Machine, to: str) -> frozenset[str]:
    """The states from which `to` can be reached in one step."""
    return frozenset(state for state, after in machine.transitions.items() if to in after)


def any_of(machine: Machine, *states: str) -> frozenset[str]:
    """Raises KeyError for a state that the machine does not have."""
    return frozenset(state for state in states if machine.transitions[state] is not None)


def moving(machine: Machine) -> frozenset[str]:
    """Every state that something can follow."""
    return machine.states - machine.final


@dataclass(frozen=True)
class Permission:
    """One row of the table: on what, by which right, for whom, and in which states of the object (None: any)."""

    resource: Resource
    right: Right
    roles: frozenset[Role]
    states: frozenset[str] | None = None

    @property
    def duty(self) -> str:
        return f"{self.right}:{self.resource}"


def grant(resource: Resource, right: Right, *roles: Role, states: frozenset[str] | None = None) -> Permission:
    return Permission(resource, right, frozenset(roles), states)


# one row for each action: grant(resource, right, roles…, states=before/any_of/moving(machine, …) where a state matters)
PERMISSIONS: dict[Action, Permission] = {
    Action.PUBLIC: grant(Resource.PLATFORM, Right.QUERY, *Role),
    Action.WHOAMI: grant(Resource.SELF, Right.QUERY, *Role),
    Action.SELF_MANAGE: grant(Resource.SELF, Right.MODIFY, *Role),
    Action.AUTHORITY_READ: grant(Resource.SELF, Right.EXPORT, *Role),
    Action.INSTITUTION_CREATE: grant(Resource.INSTITUTION, Right.ENTRY, _O),
    Action.INSTITUTION_READ: grant(Resource.INSTITUTION, Right.QUERY, _O, _R, _D, _V, _A),
    Action.INSTITUTION_SANCTION: grant(
        Resource.INSTITUTION, Right.APPROVE, _O, states=any_of(STANDING, "active", "suspended")
    ),
    Action.ACCOUNT_CREATE: grant(Resource.ACCOUNT, Right.ENTRY, _O),
    Action.ACCOUNT_READ: grant(Resource.ACCOUNT, Right.QUERY, _O, _A),
    Action.ACCOUNT_CHANGE: grant(Resource.ACCOUNT, Right.MODIFY, _O, _A),
    Action.ACCOUNT_SANCTION: grant(Resource.ACCOUNT, Right.APPROVE, _O),
    Action.STAFF_CREATE: grant(Resource.ACCOUNT, Right.ENTRY, _A),
    Action.SESSION_READ: grant(Resource.SESSION, Right.QUERY, _O, _A),
    Action.SESSION_END: grant(Resource.SESSION, Right.MODIFY, _O, _A),
    Action.ADMISSION_SUBMIT: grant(Resource.ADMISSION, Right.ENTRY, _O, _A),
    Action.ADMISSION_READ: grant(Resource.ADMISSION, Right.QUERY, _O, _A),
    Action.ADMISSION_DECIDE: grant(Resource.ADMISSION, Right.APPROVE, _O, states=moving(ADMISSION)),
    Action.INSTITUTION_ADMIT: grant(Resource.INSTITUTION, Right.MODIFY, _O, states=moving(ONBOARDING)),
    Action.CONSENT_IMPORT: grant(Resource.CONSENT, Right.ENTRY, _G),
    Action.CONSENT_READ: grant(Resource.CONSENT, Right.QUERY, _O, _R),
    Action.ENTERPRISE_ENROL: grant(Resource.ENTERPRISE, Right.ENTRY, _O, _G),
    Action.ENTERPRISE_READ: grant(Resource.ENTERPRISE, Right.QUERY, _O),
    Action.ENTERPRISE_STATE: grant(Resource.ENTERPRISE, Right.MODIFY, _O, states=moving(ENTERPRISE)),
    Action.ENTERPRISE_VERIFY: grant(Resource.ENTERPRISE, Right.APPROVE, _O, states=before(ENTERPRISE, "invited")),
    Action.ENTERPRISE_CERTIFY: grant(Resource.ENTERPRISE, Right.REVIEW, _R, states=any_of(ENTERPRISE, "active")),
    Action.CERTIFICATION_READ: grant(Resource.ENTERPRISE, Right.EXPORT, _O, _R),
    Action.CORRECTION_PROMPT: grant(Resource.CORRECTION, Right.ENTRY, _R),
    Action.CORRECTION_READ: grant(Resource.CORRECTION, Right.QUERY, _O, _R),
    Action.CORRECTION_ANSWER: grant(Resource.CORRECTION, Right.MODIFY, _O, _G, states=before(CORRECTION, "corrected")),
    Action.FEED_READ: grant(Resource.CONSENT, Right.EXPORT, _N),
    Action.NODE_REGISTER: grant(Resource.NODE, Right.ENTRY, _N),
    Action.NODE_READ: grant(Resource.NODE, Right.QUERY, _O, _R, _D),
    Action.NODE_WORK: grant(Resource.NODE, Right.QUERY, _N),
    Action.NODE_REPORT: grant(Resource.NODE, Right.MODIFY, _N),
    Action.JOB_PROPOSE: grant(Resource.JOB, Right.ENTRY, _R),
    Action.JOB_READ: grant(Resource.JOB, Right.QUERY, _O, _R, _D, _V),
    Action.JOB_APPROVE: grant(Resource.JOB, Right.APPROVE, _O, _D, states=any_of(JOB, "proposed")),
    Action.JOB_CANCEL: grant(Resource.JOB, Right.MODIFY, _O, _R, states=before(JOB, "cancelled")),
    Action.JOB_RETRY: grant(
        Resource.JOB, Right.ENTRY, _O, _R, states=any_of(JOB, "failed", "cancelled", "stopped_by_consent")
    ),
    Action.RELEASE_REQUEST: grant(Resource.RELEASE, Right.ENTRY, _R),
    Action.RELEASE_READ: grant(Resource.RELEASE, Right.QUERY, _O, _R, _D, _V),
    Action.RELEASE_REVIEW: grant(
        Resource.RELEASE, Right.REVIEW, _V, states=any_of(RELEASE, "submitted", "partially_reviewed")
    ),
    Action.RELEASE_APPROVE: grant(Resource.RELEASE, Right.APPROVE, _O, states=before(RELEASE, "approved")),
    Action.RELEASE_VETO: grant(Resource.RELEASE, Right.APPROVE, _D, states=before(RELEASE, "rejected")),
    Action.SCORE: grant(Resource.SCORE, Right.QUERY, _R, states=any_of(RELEASE, "released")),
    Action.DATA_QUERY: grant(Resource.DATA, Right.QUERY, _R, _F),
    Action.DATA_REPORT: grant(Resource.DATA, Right.EXPORT, _R, _F),
    Action.CONSENT_REQUEST: grant(Resource.REQUEST, Right.ENTRY, _R),
    Action.CONSENT_REQUEST_READ: grant(Resource.REQUEST, Right.QUERY, _O, _R),
    Action.CONSENT_EVENTS: grant(Resource.EVENT, Right.EXPORT, _R),
    Action.WEBHOOK_MANAGE: grant(Resource.WEBHOOK, Right.MODIFY, _O),
    Action.DISPUTE_OPEN: grant(Resource.DISPUTE, Right.ENTRY, _O),
    Action.DISPUTE_READ: grant(Resource.DISPUTE, Right.QUERY, _O, _R),
    Action.DISPUTE_ANSWER: grant(Resource.DISPUTE, Right.REVIEW, _O, _R, states=before(DISPUTE, "answered")),
    Action.RELEASE_RECALL: grant(Resource.RELEASE, Right.MODIFY, _O, states=before(RELEASE, "recalled")),
    Action.CONSENT_IMPACT: grant(Resource.CONSENT, Right.QUERY, _O),
    Action.NOTICE_READ: grant(Resource.NOTICE, Right.QUERY, _O, _R),
    Action.NOTICE_CLOSE: grant(Resource.NOTICE, Right.MODIFY, _O, _R, states=moving(NOTICE)),
    Action.USAGE_READ: grant(Resource.USAGE, Right.QUERY, _O, _R),
    Action.USAGE_ASK: grant(Resource.USAGE, Right.ENTRY, _G),
    Action.AUDIT_READ: grant(Resource.AUDIT, Right.QUERY, _O),
    Action.AUDIT_EXPORT: grant(Resource.AUDIT, Right.EXPORT, _O),
    Action.METRICS_READ: grant(Resource.PLATFORM, Right.QUERY, _O),
    Action.REPORT_READ: grant(Resource.REPORT, Right.QUERY, _O, _R, _D),
    Action.FLOW_READ: grant(Resource.FLOW, Right.QUERY, _O),
    Action.FLOW_START: grant(Resource.FLOW, Right.ENTRY, _O),
    Action.PROJECT_PROPOSE: grant(Resource.PROJECT, Right.ENTRY, _R),
    Action.PROJECT_READ: grant(Resource.PROJECT, Right.QUERY, _O, _R, _D),
    Action.PROJECT_DECIDE: grant(Resource.PROJECT, Right.APPROVE, _O, _D, states=any_of(PROJECT, "proposed")),
    Action.PROJECT_END: grant(Resource.PROJECT, Right.MODIFY, _O, _R, _D, states=moving(PROJECT)),
    Action.TEMPLATE_MANAGE: grant(Resource.TEMPLATE, Right.ENTRY, _O, _R),
    Action.DATASET_READ: grant(Resource.DATASET, Right.QUERY, _O, _R, _D),
    Action.LEDGER_READ: grant(
        Resource.LEDGER, Right.QUERY, *Role
    ),  # salted hashes and heads: nothing that names anybody
    Action.LEDGER_WITNESS: grant(Resource.LEDGER, Right.ENTRY, _W),
    Action.RECEIPT_READ: grant(Resource.RECEIPT, Right.EXPORT, _O, _R),
    Action.PRODUCT_MANAGE: grant(Resource.PRODUCT, Right.ENTRY, _F, states=moving(PRODUCT)),
    Action.PRODUCT_READ: grant(Resource.PRODUCT, Right.QUERY, _O, _F),
    Action.PRODUCT_REVIEW: grant(Resource.PRODUCT, Right.REVIEW, _O, states=any_of(PRODUCT, "submitted", "on_shelf")),
    Action.APPLICATION_READ: grant(Resource.APPLICATION, Right.QUERY, _O),
    Action.APPLICATION_REVIEW: grant(
        Resource.APPLICATION, Right.REVIEW, _O, states=any_of(APPLICATION, "submitted", "pushed")
    ),
    Action.REFERRAL_READ: grant(Resource.REFERRAL, Right.QUERY, _O, _F),
    Action.REFERRAL_ASK: grant(Resource.REFERRAL, Right.ENTRY, _F),
    # the platform is no party (R18): no credit result is the operator's to give
    Action.REFERRAL_DECIDE: grant(Resource.REFERRAL, Right.APPROVE, _F, states=moving(REFERRAL)),
    Action.CREDIT_READ: grant(Resource.CREDIT, Right.QUERY, _O, _F),
    Action.CREDIT_REPORT: grant(Resource.CREDIT, Right.ENTRY, _F, states=moving(CREDIT)),
    Action.GUARANTEE_READ: grant(Resource.GUARANTEE, Right.QUERY, _F),
    Action.GUARANTEE_ANSWER: grant(Resource.GUARANTEE, Right.APPROVE, _F, states=any_of(GUARANTEE, "invited")),
    Action.MESSAGE_READ: grant(Resource.MESSAGE, Right.QUERY, _F),
    Action.MESSAGE_WRITE: grant(Resource.MESSAGE, Right.ENTRY, _F),
    Action.PUBLICATION_READ: grant(Resource.PUBLICATION, Right.QUERY, _O, _F),
    Action.PUBLICATION_WRITE: grant(Resource.PUBLICATION, Right.ENTRY, _O, _F, states=moving(PUBLICATION)),
    Action.PUBLICATION_REVIEW: grant(Resource.PUBLICATION, Right.REVIEW, _O, states=any_of(PUBLICATION, "submitted")),
    Action.QUESTION_READ: grant(Resource.QUESTION, Right.QUERY, _O, _F),
    Action.QUESTION_ANSWER: grant(Resource.QUESTION, Right.ENTRY, _O, _F, states=before(QUESTION, "answered")),
    Action.QUESTION_ASSIGN: grant(Resource.QUESTION, Right.REVIEW, _O, states=moving(QUESTION)),
    Action.STATISTICS_READ: grant(Resource.STATISTICS, Right.EXPORT, _O, _F),
    Action.CLOCK_READ: grant(Resource.CLOCK, Right.QUERY, _O, _F),
    # whoever notices one reports it (R16)
    Action.INCIDENT_REPORT: grant(Resource.INCIDENT, Right.ENTRY, *Role),
    Action.INCIDENT_READ: grant(Resource.INCIDENT, Right.QUERY, *Role),
    Action.INCIDENT_HANDLE: grant(Resource.INCIDENT, Right.REVIEW, _O, states=moving(INCIDENT)),
    # by no role: an enterprise's people come in by their own session (api.enterprises.persons)
    Action.MY_READ: grant(Resource.OWN, Right.QUERY),
    Action.MY_WRITE: grant(Resource.OWN, Right.ENTRY),
}


def duties_of(roles: Iterable[Role]) -> frozenset[str]:
    """The bundle of duties that roles stand for."""
    held = frozenset(roles)
    return frozenset(row.duty for row in PERMISSIONS.values() if row.roles & held)


@dataclass(frozen=True)
class Caller(Actor):
    """The account behind a request. `duties` None: the whole bundle of its roles."""

    roles: frozenset[Role]
    level: Level = Level.SERVICE
    duties: frozenset[str] | None = None
    session_id: str | None = None

    def may(self, action: Action) -> bool:
        row = PERMISSIONS.get(action)
        if row is None or not self.roles & row.roles:
            return False
        return self.duties is None or row.duty in self.duties or row.resource is Resource.SELF


# whose two approvals what uses a lab's data needs
CAPACITIES = frozenset({"data_owner", "operator"})


def capacity_for(caller: Caller, lab: str) -> str | None:
    """In which of the two capacities a caller decides on what uses a lab's data; None in neither."""
    if Role.DATA_OWNER in caller.roles and caller.institution == lab:
        return "data_owner"
    return "operator" if Role.OPERATOR in caller.roles else None


def new_token() -> str:
    return "clt_" + secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    """What is stored. A plain hash is enough: the token is 256 random bits, not a password."""
    return hashlib.sha256(token.encode()).hexdigest()


def caller_of(found: door.Found) -> Caller:
    """The caller as the account stands now: sanctions have taken their duties away."""
    roles = frozenset(Role(role) for role in found.roles)
    duties = None if found.duties is None else frozenset(found.duties)
    if found.suspended_duties:
        duties = (duties_of(roles) if duties is None else duties) - frozenset(found.suspended_duties)
    return Caller(found.account_id, found.name, found.institution, roles, Level(found.level), duties, found.session_id)


class Permits:
    """The dependency of a route: its action, and the caller once allowed."""

    def __init__(self, action: Action) -> None:
        self.action = action

    def __call__(self, request: Request) -> Caller:
        found = door.identify(request, token_digest)
        caller = caller_of(found)
        if (info := current.get()) is not None:
            info.account = caller.account_id
        row = PERMISSIONS.get(self.action)
        roles = frozenset() if row is None else row.roles
        if not caller.roles & roles:
            raise Forbidden(
                f"{self.action} needs one of the roles {', '.join(sorted(roles))}",
                f"操作 {self.action} 需要以下角色之一：{'、'.join(sorted(roles))}",
                code="role_missing",
            )
        assert row is not None
        if not caller.may(self.action):
            raise Forbidden(
                f"{self.action} needs the duty {row.duty}, which this account was not granted or is suspended from",
                f"操作 {self.action} 需要职责 {row.duty}，该账户未获授予或已被暂停",
                code="duty_missing",
            )
        found.check(serving=bool(caller.roles & {Role.NODE, Role.WITNESS}), own=row.resource is Resource.SELF)
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
