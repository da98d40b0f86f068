"""Opening institutions and accounts; each function is one transaction."""

from __future__ import annotations

import secrets

from api.auth import Caller, Role, new_token, token_digest
from api.control import Control
from api.db import SYSTEM, Unit
from api.errors import Conflict, Invalid, NotFound
from api.institutions import repository
from api.institutions.repository import Account, Institution
from api.institutions.schemas import (
    AccountIn,
    AccountOut,
    Accounts,
    InstitutionIn,
    InstitutionOut,
    Institutions,
    NewAccount,
)

PLATFORM = "platform"
OPERATOR = "operator"

# a role belongs to one kind of institution; reviewers may sit anywhere, duties are checked per release
_HOMES = {
    Role.OPERATOR: {"platform"},
    Role.GATEWAY: {"platform"},
    Role.RISK: {"bank"},
    Role.DATA_OWNER: {"lab"},
    Role.REVIEWER: {"bank", "lab", "platform"},
    Role.NODE: {"bank", "lab"},
    Role.WITNESS: {"bank", "lab", "witness"},  # a platform that witnesses itself proves nothing
}


def create_institution(control: Control, caller: Caller, body: InstitutionIn) -> InstitutionOut:
    with control.db.unit(caller) as unit:
        if repository.institution(unit.session, body.id) is not None:
            raise Conflict(f"institution {body.id!r} exists already", f"机构 {body.id!r} 已存在", code="exists")
        row = Institution(id=body.id, name=body.name, kind=body.kind, created_at=unit.now)
        unit.create(row, "institution.create", "opened by the operator", kind=body.kind)
        return InstitutionOut.model_validate(row)


def list_institutions(control: Control) -> Institutions:
    with control.db.read() as session:
        rows = repository.institutions(session)
        return Institutions(items=[InstitutionOut.model_validate(row) for row in rows])


def _add_account(unit: Unit, name: str, institution: str, roles: list[Role], token: str, reason: str) -> Account:
    row = Account(
        id=f"a-{secrets.token_hex(6)}",
        name=name,
        institution=institution,
        roles=[str(role) for role in roles],
        token_sha256=token_digest(token),
        created_at=unit.now,
    )
    return unit.create(row, "account.create", reason, name=name, roles=[str(role) for role in roles])


def create_account(control: Control, caller: Caller, body: AccountIn) -> NewAccount:
    roles = sorted(set(body.roles))
    with control.db.unit(caller) as unit:
        institution = repository.institution(unit.session, body.institution)
        if institution is None:
            raise NotFound("institution", "机构", body.institution)
        for role in roles:
            if institution.kind not in _HOMES[role]:
                raise Invalid(
                    f"role {role} cannot belong to a {institution.kind}",
                    f"角色 {role} 不能属于类型为 {institution.kind} 的机构",
                    code="role_not_for_institution",
                )
        if Role.NODE in roles and len(roles) > 1:
            raise Invalid("a node's account has no other role", "节点账户不能兼任其他角色", code="role_combination")
        if repository.account_named(unit.session, body.name) is not None:
            raise Conflict(f"account {body.name!r} exists already", f"账户 {body.name!r} 已存在", code="exists")
        token = new_token()
        row = _add_account(unit, body.name, institution.id, roles, token, "made by the operator")
        return NewAccount(account_id=row.id, name=row.name, institution=row.institution, roles=roles, token=token)


def list_accounts(control: Control) -> Accounts:
    with control.db.read() as session:
        return Accounts(items=[AccountOut.model_validate(row) for row in repository.accounts(session)])


def install_operator(control: Control, token: str) -> None:
    """Makes the platform's own institution and its first operator, or gives that operator a new token."""
    with control.db.unit(SYSTEM) as unit:
        if repository.institution(unit.session, PLATFORM) is None:
            platform = Institution(id=PLATFORM, name="Platform operator", kind="platform", created_at=unit.now)
            unit.create(platform, "institution.create", "first start")
        account = repository.account_named(unit.session, OPERATOR)
        if account is None:
            _add_account(unit, OPERATOR, PLATFORM, [Role.OPERATOR], token, "first start")
        elif account.token_sha256 != token_digest(token):
            account.token_sha256 = token_digest(token)
            unit.session.flush()
            unit.record("account.token", account, "the operator's token file was absent: a new token was made")
