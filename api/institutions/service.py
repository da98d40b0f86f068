"""Opening institutions and API clients; each function is one transaction.

An institution is opened by the operator, and active once its agreement and its security assessment are on record
(R1, R32, R52). An API client is an account of a program: its token has an end and a person who answers for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from api.auth import Caller, Level, Role, duties_of, new_token, token_digest
from api.control import Control
from api.db import SYSTEM, Unit
from api.errors import Conflict, Invalid, NotFound
from api.institutions import repository
from api.institutions.repository import Account, Institution, Onboarding
from api.institutions.schemas import (
    AccountIn,
    AccountOut,
    Accounts,
    AgreementIn,
    AssessmentIn,
    InstitutionIn,
    InstitutionOut,
    Institutions,
    NewAccount,
    OnboardingOut,
    Onboardings,
)
from api.staff import repository as staff
from api.staff.repository import ApiToken

PLATFORM = "platform"
OPERATOR = "operator"

# a role belongs to one kind of institution; reviewers may sit anywhere, duties are checked per release
HOMES = {
    Role.OPERATOR: {"platform"},
    Role.GATEWAY: {"platform"},
    Role.RISK: {"bank", "guarantor"},
    Role.DATA_OWNER: {"lab"},
    Role.REVIEWER: {"bank", "lab", "platform"},
    Role.NODE: {"bank", "lab"},
    Role.WITNESS: {"bank", "lab", "witness"},  # a platform that witnesses itself proves nothing
    Role.ADMIN: {"bank", "lab", "platform", "guarantor", "witness"},
    Role.OFFICER: {"bank", "guarantor"},
}


# ---- institutions and their admission


def create_institution(control: Control, caller: Caller, body: InstitutionIn) -> InstitutionOut:
    """Puts an institution on record; with both papers it is active at once, else it is being prepared."""
    with control.db.unit(caller) as unit:
        if repository.institution(unit.session, body.id) is not None:
            raise Conflict(f"institution {body.id!r} exists already", f"机构 {body.id!r} 已存在", code="exists")
        row = Institution(id=body.id, name=body.name, kind=body.kind, created_at=unit.now)
        unit.create(row, "institution.create", "opened by the operator", kind=body.kind)
        _open(unit, body.id)
        if body.papers is not None:
            _agree(unit, body.id, body.papers.agreement)
            _assess(unit, body.id, body.papers.assessment)
        return InstitutionOut.model_validate(row)


def _open(unit: Unit, institution_id: str) -> Onboarding:
    row = Onboarding(institution=institution_id)
    return unit.create(row, "onboarding.open", "access is being prepared", state="preparing")


def _onboarding(unit: Unit, institution_id: str) -> Onboarding:
    row = repository.onboarding(unit.session, institution_id)
    if row is None:
        raise NotFound("institution", "机构", institution_id)
    return row


def _agree(unit: Unit, institution_id: str, body: AgreementIn) -> Onboarding:
    row = _onboarding(unit, institution_id)
    row.agreement, row.signed_on = body.reference, body.signed_on
    unit.session.flush()
    unit.record("onboarding.agreement", row, f"agreement {body.reference}")
    return _perhaps_active(unit, row)


def _assess(unit: Unit, institution_id: str, body: AssessmentIn) -> Onboarding:
    row = _onboarding(unit, institution_id)
    row.assessment, row.assessor, row.assessed_on = body.reference, body.assessor, body.assessed_on
    unit.session.flush()
    unit.record("onboarding.assessment", row, f"security assessment {body.reference} by {body.assessor}")
    return _perhaps_active(unit, row)


def _perhaps_active(unit: Unit, row: Onboarding) -> Onboarding:
    if row.state != "active" and row.agreement is not None and row.assessment is not None:
        unit.transition(row, "active", "onboarding.active", "agreement and security assessment are on record")
    return row


def agree(control: Control, caller: Caller, institution_id: str, body: AgreementIn) -> OnboardingOut:
    """Records the signed agreement (R32)."""
    with control.db.unit(caller) as unit:
        return OnboardingOut.model_validate(_agree(unit, institution_id, body))


def assess(control: Control, caller: Caller, institution_id: str, body: AssessmentIn) -> OnboardingOut:
    """Records a security assessment that was passed (R52); after a rectification it opens access again."""
    with control.db.unit(caller) as unit:
        return OnboardingOut.model_validate(_assess(unit, institution_id, body))


def rectify(control: Control, caller: Caller, institution_id: str, ground: str) -> OnboardingOut:
    """Access ends until a new assessment is passed (R52)."""
    with control.db.unit(caller) as unit:
        row = _onboarding(unit, institution_id)
        if institution_id == PLATFORM:
            raise Invalid("the platform does not rectify itself away", "平台不能对自身作此处理", code="own_institution")
        row.assessment = row.assessor = row.assessed_on = None
        unit.transition(row, "rectifying", "onboarding.rectify", ground)
        return OnboardingOut.model_validate(row)


def onboardings(control: Control, caller: Caller) -> Onboardings:
    with control.db.read(caller) as session:
        return Onboardings(items=[OnboardingOut.model_validate(row) for row in repository.onboardings(session)])


def list_institutions(control: Control, caller: Caller) -> Institutions:
    with control.db.read(caller) as session:
        rows = repository.institutions(session)
        return Institutions(items=[InstitutionOut.model_validate(row) for row in rows])


# ---- accounts


def add_account(
    unit: Unit,
    name: str,
    institution: str,
    roles: list[Role],
    level: Level,
    reason: str,
    *,
    duties: Iterable[str] | None = None,
    owner: str | None = None,
) -> Account:
    """An account in the caller's transaction. Raises NotFound, Conflict, or Invalid for roles that do not fit."""
    found = repository.institution(unit.session, institution)
    if found is None:
        raise NotFound("institution", "机构", institution)
    for role in roles:
        if found.kind not in HOMES[role]:
            raise Invalid(
                f"role {role} cannot belong to a {found.kind}",
                f"角色 {role} 不能属于类型为 {found.kind} 的机构",
                code="role_not_for_institution",
            )
    if Role.NODE in roles and len(roles) > 1:
        raise Invalid("a node's account has no other role", "节点账户不能兼任其他角色", code="role_combination")
    if (Role.ADMIN in roles) != (level is Level.ADMIN) or (level is Level.ADMIN and len(roles) > 1):
        raise Invalid(
            "an admin has the role admin and no other, and nobody else has it (R3)",
            "管理员仅具有 admin 角色，其他账户不得具有该角色",
            code="level_combination",
        )
    granted = check_duties(roles, duties)
    if repository.account_named(unit.session, name) is not None:
        raise Conflict(f"account {name!r} exists already", f"账户 {name!r} 已存在", code="exists")
    row = Account(
        id=f"a-{secrets.token_hex(6)}",
        name=name,
        institution=institution,
        roles=[str(role) for role in roles],
        level=str(level),
        duties=granted,
        owner=owner,
        created_at=unit.now,
    )
    return unit.create(row, "account.create", reason, name=name, roles=[str(role) for role in roles], duties=granted)


def check_duties(roles: Iterable[Role], duties: Iterable[str] | None) -> list[str] | None:
    """Duties as kept: sorted, some of what the roles stand for (least privilege, R3). Raises Invalid."""
    if duties is None:
        return None
    wanted, allowed = sorted(set(duties)), duties_of(roles)
    if beyond := [duty for duty in wanted if duty not in allowed]:
        raise Invalid(
            f"duties: {beyond[0]} is not among what the roles stand for",
            f"duties：{beyond[0]} 不在所选角色的职责范围内",
            code="duty_beyond_roles",
        )
    return wanted


def add_token(unit: Unit, account: Account, token: str, expires_at: datetime | None, reason: str) -> ApiToken:
    row = ApiToken(
        id=f"k-{secrets.token_hex(6)}",
        account=account.id,
        sha256=token_digest(token),
        created_at=unit.now,
        expires_at=expires_at,
    )
    return unit.create(row, "token.create", reason, account=account.id)


def token_end(control: Control, unit: Unit, wanted: datetime | None) -> datetime:
    """When a new token ends. Raises Invalid for one that lies behind or beyond `token_days`."""
    latest = unit.now + timedelta(days=control.settings.token_days)
    if wanted is None:
        return latest
    if not unit.now < wanted <= latest:
        raise Invalid(
            f"expires_at: a time ahead, {control.settings.token_days} days at most",
            f"expires_at：须为将来时间，至多 {control.settings.token_days} 天",
            code="expiry_out_of_bounds",
        )
    return wanted


def create_account(control: Control, caller: Caller, body: AccountIn) -> NewAccount:
    """An API client and its first token, which is shown once."""
    roles = sorted(set(body.roles))
    with control.db.unit(caller) as unit:
        row = add_account(
            unit, body.name, body.institution, roles, Level.SERVICE, "made by the operator",
            duties=body.duties, owner=body.owner,
        )  # fmt: skip
        token = new_token()
        add_token(unit, row, token, token_end(control, unit, body.expires_at), "first token")
        return NewAccount(account_id=row.id, name=row.name, institution=row.institution, roles=roles, token=token)


def list_accounts(control: Control, caller: Caller) -> Accounts:
    """The operator sees all, an admin those of the own institution."""
    with control.db.read(caller) as session:
        return Accounts(items=[AccountOut.model_validate(row) for row in repository.accounts(session)])


def install_operator(control: Control, token: str) -> None:
    """Makes the platform's own institution and its first operator, or gives that operator a new token."""
    with control.db.unit(SYSTEM) as unit:
        if repository.institution(unit.session, PLATFORM) is None:
            platform = Institution(id=PLATFORM, name="Platform operator", kind="platform", created_at=unit.now)
            unit.create(platform, "institution.create", "first start")
            row = Onboarding(institution=PLATFORM)
            unit.create(row, "onboarding.open", "the platform itself", state="active")
        account = repository.account_named(unit.session, OPERATOR)
        if account is None:
            account = add_account(unit, OPERATOR, PLATFORM, [Role.OPERATOR], Level.SERVICE, "first start")
        good = staff.tokens(unit.session, account.id, unit.now)
        if token_digest(token) not in {each.sha256 for each in good}:
            for each in good:
                each.ended_at = unit.now
                unit.session.flush()
                unit.record("token.end", each, "replaced by the token in the platform's home")
            # the file is the way back in when nobody else can: it ends when it is replaced
            add_token(unit, account, token, None, "from the platform's home")
