"""Every route names its action; every role is let in or kept out as the one table says (R3, R47)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI

from api.app import create_app
from api.auth import PERMISSIONS, Action, Caller, Role, RouteWithoutPermission, actions_by_route, permits, token_digest
from api.control import Control
from api.db import SYSTEM, Database
from api.hub import Hub
from api.institutions.repository import Account
from api.platform_keys import founded
from api.settings import Settings
from consent.keys import SigningKey
from tests.api.test_jobs import refused
from tests.api.world import Clock, World

_SAMPLES = {
    "job_id": "j-000000000000",
    "release_id": "r-000000000000",
    "permit_id": "p-0000000000000000",
    "index": "0",
    "seq": "1",
    "consent_id": "c-0",
    "usage_id": "u-0000000000000000",
    "uscc": "0" * 18,
    "institution_id": "nowhere",
    "notice_id": "n-000000000000",
    "question_id": "q-0000000000000000",
    "webhook_id": "w-000000000000",
    "dispute_id": "d-000000000000",
}

# one of each body, good enough to come past the permission; what happens after it is not of interest here
_BODY = {"reason": "test"}


@pytest.fixture(scope="module")
def people(shared: World) -> dict[Role, str]:
    """A token for each role alone."""
    shared.operator.add_institution("bank-p", "Bank P", "bank")
    homes = {Role.OPERATOR: "platform", Role.GATEWAY: "platform", Role.DATA_OWNER: "lab", Role.REVIEWER: "platform"}
    for role in Role:
        shared.person(f"only-{role}", homes.get(role, "bank-p"), role)
    return {role: shared.tokens[f"only-{role}"] for role in Role}


@pytest.fixture(scope="module")
def http(shared: World) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared.url, verify=False) as client:
        yield client


def routes() -> list[tuple[str, str, Action]]:
    """Of an app that is never served: its database is nowhere."""
    settings = Settings.read({}, home=".")
    db = Database("postgresql+psycopg://nowhere/none", Clock())
    key = SigningKey.generate()
    app = create_app(Control(settings, db, key, Hub(""), founded(key, settings.platform, Clock()(), 1)))
    return sorted((method, path, action) for (method, path), action in actions_by_route(app).items())


ROUTES = routes()


def test_the_walk_sees_every_route_of_the_openapi_document(shared: World) -> None:
    documented = {(method.upper(), path) for path, item in shared.app.openapi()["paths"].items() for method in item}
    assert documented == {(method, path) for method, path, _ in ROUTES}
    assert len(ROUTES) > 25


def test_every_action_has_a_row_and_every_row_is_used() -> None:
    assert set(PERMISSIONS) == set(Action)
    assert {action for _, _, action in ROUTES} == set(Action)


def test_only_health_and_the_platforms_public_keys_are_public() -> None:
    public = {path for _, path, action in ROUTES if action is Action.PUBLIC}
    assert public == {"/healthz", "/readyz", "/v1/keyring"}


@pytest.mark.parametrize("dependencies", [[], [Depends(permits(Action.SCORE)), Depends(permits(Action.JOB_READ))]])
def test_an_app_with_a_route_that_names_no_action_is_not_built(dependencies: list) -> None:
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/open", dependencies=dependencies)
    def forgotten() -> None: ...

    with pytest.raises(RouteWithoutPermission, match="/open"):
        actions_by_route(app)


def test_an_action_missing_from_the_table_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller("a", "a", "a", frozenset(Role))
    monkeypatch.delitem(PERMISSIONS, Action.SCORE)
    assert not caller.may(Action.SCORE)


@pytest.mark.parametrize(("route", "role"), itertools.product(ROUTES, Role), ids=lambda v: str(v))
def test_each_role_is_let_in_or_kept_out(
    http: httpx.Client, people: dict[Role, str], route: tuple[str, str, Action], role: Role
) -> None:
    method, path, action = route
    address = re.sub(r"{(\w+)}", lambda m: _SAMPLES[m[1]], path)
    content = b"" if path == "/v1/consents/import" else None
    body = None if method == "GET" or content is not None else _BODY
    answer = http.request(
        method, address, json=body, content=content, headers={"Authorization": f"Bearer {people[role]}"}
    )
    if role in PERMISSIONS[action]:
        assert answer.status_code not in {401, 403}, answer.text
        assert answer.status_code < 500, answer.text
    else:
        assert answer.status_code == 403
        assert answer.json()["code"] == "role_missing"


@pytest.mark.parametrize("route", [r for r in ROUTES if r[2] is not Action.PUBLIC], ids=lambda r: f"{r[0]} {r[1]}")
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic b3BlcmF0b3I6eA==", "Bearer", "clt_x"])
def test_without_a_good_token_nothing_opens(http: httpx.Client, route: tuple, header: str | None) -> None:
    method, path, _ = route
    address = re.sub(r"{(\w+)}", lambda m: _SAMPLES[m[1]], path)
    answer = http.request(method, address, headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "unauthenticated"
    assert problem["detail"]
    assert problem["detail_zh"]


def test_tokens_are_kept_hashed_only(shared: World) -> None:
    with shared.db.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT accounts::text FROM accounts")).scalars().all()
        audit = connection.execute(sa.text("SELECT audit::text FROM audit")).scalars().all()
    for token in shared.tokens.values():
        assert not any(token in row for row in [*rows, *audit])
        assert any(token_digest(token) in row for row in rows)


def test_a_disabled_account_is_out_at_once(shared: World) -> None:
    leaver = shared.person("leaver", "bank-a", "risk")
    assert leaver.whoami()["name"] == "leaver"
    with shared.db.unit(SYSTEM) as unit:
        account = unit.session.scalars(sa.select(Account).where(Account.name == "leaver")).one()
        account.disabled_at = unit.now
        unit.session.flush()
        unit.record("account.disable", account, "left the bank")
    assert refused(leaver.whoami).status == 401


@pytest.mark.parametrize(
    ("institution", "roles", "code"),
    [
        ("bank-a", ["operator"], "role_not_for_institution"),
        ("lab", ["risk"], "role_not_for_institution"),
        ("platform", ["node"], "role_not_for_institution"),
        ("bank-a", ["node", "risk"], "role_combination"),
        ("bank-a", ["king"], "invalid_request"),
        ("nowhere", ["risk"], "not_found"),
    ],
)
def test_roles_belong_to_kinds_of_institution(shared: World, institution: str, roles: list[str], code: str) -> None:
    assert refused(shared.operator.add_account, f"x-{institution}", institution, roles).code == code


def test_names_are_not_shared(shared: World) -> None:
    assert refused(shared.operator.add_account, "risk", "bank-a", ["risk"]).code == "exists"
    assert refused(shared.operator.add_institution, "lab", "Another", "lab").code == "exists"


def test_whoami(shared: World) -> None:
    assert shared.risk.whoami()["roles"] == ["risk"]
