"""Every route names its action; every role is let in or kept out as the one table says (R3, R47)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _constants as words  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts

from api.app import create_app
from api.auth import (
    PERMISSIONS,
    Action,
    Caller,
    Resource,
    Right,
    Role,
    RouteWithoutPermission,
    actions_by_route,
    permits,
    token_digest,
)
from api.control import Control
from api.db import SYSTEM, Database
from api.enterprises import sessions
from api.enterprises.persons import PersonPermits
from api.enterprises.repository import Person
from api.enterprises.states import Right as EnterpriseRight
from api.hub import Hub
from api.institutions.repository import Account
from api.platform_keys import founded
from api.platform_secret import PlatformSecret
from api.portal.access import doors_by_route
from api.portal.app import create_portal
from api.settings import Settings
from consent.keys import SigningKey
from tests.api import recording
from tests.api.conftest import Databases
from tests.api.financing import ORIGIN, Firm, as_owner, firm
from tests.api.test_jobs import refused
from tests.api.world import Clock, World

# the reference of the interface, as pages: they describe the document and are not in it
PAGES = {"/docs", "/docs/{name}"}
# whoever has no credential yet: these give one, or take what waits to be checked
OPEN = {
    "/healthz",
    "/readyz",
    "/v1/keyring",
    "/v1/enterprises/registrations",
    "/v1/staff/password",
    "/v1/staff/login",
    "/v1/staff/passkey/login",
    "/v1/staff/passkey/login/finish",
    "/v1/staff/oidc/login",
    "/v1/staff/oidc/login/finish",
    "/v1/staff/oidc/callback",
}


@pytest.fixture(scope="module")
def house(new_database: Databases) -> Iterator[World]:
    """A world that is knocked at thousands of times from one address."""
    with recording.paused():
        world = World.inhabited(new_database, rate_failures_per_minute=1_000_000, rate_per_minute=1_000_000)
    yield world
    world.close()


@pytest.fixture(scope="module")
def people(house: World) -> dict[Role, str]:
    """A token for each role alone."""
    house.operator.add_institution("bank-p", "Bank P", "bank")
    homes = {Role.OPERATOR: "platform", Role.GATEWAY: "platform", Role.DATA_OWNER: "lab", Role.REVIEWER: "platform"}
    for role in set(Role) - {Role.ADMIN}:
        house.person(f"only-{role}", homes.get(role, "bank-p"), role)
    house.tokens["only-admin"] = house.admin("admin.p", "bank-p").token
    return {role: house.tokens[f"only-{role}"] for role in Role}


@pytest.fixture(scope="module")
def http(house: World) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=house.url, verify=False) as client:
        yield client


def _app() -> FastAPI:
    """Of an app that is never served: its database is nowhere."""
    settings = Settings.read({}, home=".")
    db = Database("postgresql+psycopg://nowhere/none", Clock())
    key = SigningKey.generate()
    keyring = founded(key, settings.platform, Clock()(), 1)
    return create_app(Control(settings, db, key, Hub(""), keyring, PlatformSecret.new()))


APP = _app()
DOCUMENT: dict[str, Any] = APP.openapi()
ROUTES = sorted((method, path, action) for (method, path), action in actions_by_route(APP).items())


def _least(tree: Any) -> str:
    """The shortest text that a pattern takes."""
    out = ""
    for kind, value in tree:
        if kind is words.LITERAL:
            out += chr(value)
        elif kind is words.IN:
            first, what = value[0]
            out += chr(what if first is words.LITERAL else what[0]) if first is not words.NEGATE else "x"
        elif kind in (words.MAX_REPEAT, words.MIN_REPEAT):
            out += _least(value[2]) * max(value[0], 0)
        elif kind is words.SUBPATTERN:
            out += _least(value[3])
        elif kind is words.BRANCH:
            out += _least(value[1][0])
        elif kind is words.ANY:
            out += "x"
    return out


def address(method: str, path: str) -> str:
    """The path with each part as its own pattern wants it, of an object that does not exist."""
    operation = DOCUMENT["paths"].get(path, {}).get(method.lower(), {})
    found = {p["name"]: p["schema"] for p in operation.get("parameters", ())}

    def sample(match: re.Match[str]) -> str:
        schema = found.get(match[1], {})
        if schema.get("type") == "integer":
            return "1"
        return _least(parser.parse(schema["pattern"])) if "pattern" in schema else "nowhere"

    return re.sub(r"{(\w+)(?::\w+)?}", sample, path)


def knock(http: httpx.Client, method: str, path: str, token: str) -> httpx.Response:
    content = b"" if path.endswith("/import") else None
    body = None if method == "GET" or content is not None else {"reason": "test"}
    headers = {"Authorization": f"Bearer {token}"}
    return http.request(method, address(method, path), json=body, content=content, headers=headers)


def test_the_walk_sees_every_route_of_the_openapi_document() -> None:
    documented = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert documented == {(method, path) for method, path, _ in ROUTES if path not in PAGES}
    assert len(ROUTES) > 80


def test_every_page_of_the_portal_has_a_door_of_its_own() -> None:
    """R47: the walk of the other half; a route that names none is refused when the portal is built."""
    portal = create_portal(APP.state.control)
    assert len(doors_by_route(portal)) > 25


def test_every_action_has_a_row_and_every_row_is_used() -> None:
    assert set(PERMISSIONS) == set(Action)
    assert {action for _, _, action in ROUTES} == set(Action)


def test_each_of_the_six_rights_is_a_permission_of_its_own() -> None:
    """R47."""
    assert {row.right for row in PERMISSIONS.values()} == set(Right)
    assert {row.resource for row in PERMISSIONS.values()} == set(Resource)


def test_only_what_nobody_can_have_a_credential_for_is_public() -> None:
    assert {path for _, path, action in ROUTES if action is Action.PUBLIC} == OPEN | PAGES


@pytest.mark.parametrize("dependencies", [[], [Depends(permits(Action.SCORE)), Depends(permits(Action.JOB_READ))]])
def test_an_app_with_a_route_that_names_no_action_is_not_built(dependencies: list) -> None:
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/open", dependencies=dependencies)
    def forgotten() -> None: ...

    with pytest.raises(RouteWithoutPermission, match="/open"):
        actions_by_route(app)


def test_an_action_missing_from_the_table_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller("a", "a", "a", frozenset(Role))
    assert caller.may(Action.SCORE)
    # a copy: to take it out and put it back would change the order of the table
    monkeypatch.setattr("api.auth.PERMISSIONS", {act: row for act, row in PERMISSIONS.items() if act != Action.SCORE})
    assert not caller.may(Action.SCORE)


@pytest.mark.parametrize("role", Role)
def test_each_role_is_let_in_or_kept_out(http: httpx.Client, people: dict[Role, str], role: Role) -> None:
    """R3, R47: every route of the app, called as one who has this role alone."""
    wrong = []
    for method, path, action in sorted(ROUTES, key=lambda route: route[1].endswith("logout")):
        answer = knock(http, method, path, people[role])
        if action is Action.PUBLIC or role in PERMISSIONS[action].roles:
            # who has no credential yet may be refused for what was sent; a part that does not run here says so (503)
            fine = answer.status_code in range(200, 500) or answer.status_code == 503
            fine = fine and (action is Action.PUBLIC or answer.status_code not in {401, 403})
        else:
            fine = answer.status_code == 403 and answer.json()["code"] == "role_missing"
        if not fine:
            wrong.append((method, path, answer.status_code, answer.text[:200]))
    assert wrong == []


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic b3BlcmF0b3I6eA==", "Bearer", "clt_x"])
def test_without_a_good_token_nothing_opens(http: httpx.Client, header: str | None) -> None:
    wrong = []
    for method, path, action in ROUTES:
        if action is Action.PUBLIC:
            continue
        answer = http.request(method, address(method, path), headers={"Authorization": header} if header else {})
        problem = answer.json()
        if answer.status_code != 401 or problem["code"] != "unauthenticated" or not problem["detail_zh"]:
            wrong.append((method, path, answer.status_code, answer.text[:200]))
    assert wrong == []


# ---- an enterprise's people: REST under /v1/my, and the portal's pages

MINE = [route for route in ROUTES if route[2] in (Action.MY_READ, Action.MY_WRITE)]
DOORS = sorted(doors_by_route(create_portal(APP.state.control)).items(), key=lambda item: (item[0][1], item[0][0]))


@pytest.fixture(scope="module")
def person(house: World) -> Firm:
    return firm(house)


def having(house: World, who: Firm, *rights: EnterpriseRight) -> None:
    """The person's rights from now on: they are looked up at every request."""
    with as_owner(house) as connection:
        connection.execute(
            sa.update(Person).where(Person.enterprise == who.uscc).values(rights=[str(right) for right in rights])
        )


def needed(method: str, path: str) -> EnterpriseRight:
    """The right that a route under /v1/my is declared with."""
    for context in iter_route_contexts(APP.routes):
        if context.path == path and method in (context.methods or ()):
            dependant: Any = context.dependant  # type: ignore[attr-defined]
            (found,) = [d.call.right for d in dependant.dependencies if isinstance(d.call, PersonPermits)]
            return found
    raise AssertionError(path)


@pytest.mark.parametrize("right", EnterpriseRight)
def test_each_right_of_a_person_opens_what_is_declared_and_nothing_else(
    house: World, person: Firm, right: EnterpriseRight
) -> None:
    """R3, R47: every route under /v1/my, called by one who has this right alone."""
    having(house, person, right)
    wrong = []
    for method, path, _ in MINE:
        body = None if method == "GET" else {}
        answer = person.http.request(method, address(method, path), headers=person.headers, json=body)
        code = answer.json().get("code")
        fine = answer.status_code < 500 and (answer.status_code, code) != (401, "unauthenticated")
        if (code == "right_missing") is (needed(method, path) is right) or not fine:
            wrong.append((method, path, answer.status_code, answer.text[:200]))
    assert wrong == []
    assert len(MINE) > 25


@pytest.mark.parametrize(
    ("without", "code"), [("X-CSRF-Token", "csrf_missing"), ("Origin", "wrong_origin"), ("Cookie", "unauthenticated")]
)
def test_a_write_for_an_enterprise_needs_session_origin_and_token(
    house: World, person: Firm, without: str, code: str
) -> None:
    having(house, person, *EnterpriseRight)
    headers = {name: value for name, value in person.headers.items() if name != without}
    wrong = []
    for method, path, action in MINE:
        if action is Action.MY_WRITE:
            answer = person.http.request(method, address(method, path), headers=headers, json={})
            if answer.json()["code"] != code:
                wrong.append((method, path, answer.status_code, answer.text[:200]))
    assert wrong == []


@pytest.mark.parametrize("right", EnterpriseRight)
def test_each_page_of_the_portal_opens_for_its_right_and_no_other(
    house: World, person: Firm, right: EnterpriseRight
) -> None:
    """R3, R47: every page and act of the portal but the one that ends the session."""
    having(house, person, right)
    wrong = []
    for (method, path), door in DOORS:
        if door.kinds is None or path == "/logout":
            continue
        answer = person.http.request(
            method,
            "/portal" + re.sub(r"{\w+(?::\w+)?}", "nowhere", path),
            headers={**person.headers, "Accept": "application/json"},
            json=None if method == "GET" else {},
            follow_redirects=False,
        )
        plain = answer.headers.get("content-type", "").startswith("application/json")
        told = answer.json() if plain else {}
        refused_by_right = told.get("code") == "right_missing"
        kept_out = answer.status_code == 401
        if sessions.PORTAL not in door.kinds:
            fine = kept_out
        else:
            # a page may ask for more than its door does, never for less
            fine = not kept_out and (refused_by_right or door.right in (None, right))
            fine = fine and (not refused_by_right or door.right is not right or method == "POST")
        if not fine or answer.status_code >= 500:
            wrong.append((method, path, door.right, answer.status_code, answer.text[:200]))
    assert wrong == []


@pytest.mark.parametrize("role", Role)
def test_no_token_of_staff_opens_a_page_of_the_portal(house: World, people: dict[Role, str], role: Role) -> None:
    """R3: whatever the role; an enterprise's pages are its people's alone."""
    wrong = []
    headers = {"Authorization": f"Bearer {people[role]}", "Accept": "application/json", "Origin": ORIGIN}
    with httpx.Client(base_url=house.url) as http:
        for (method, path), door in DOORS:
            if door.kinds is None:
                continue
            answer = http.request(method, "/portal" + re.sub(r"{\w+(?::\w+)?}", "nowhere", path), headers=headers)
            if (answer.status_code, answer.json().get("code")) != (401, "signed_out"):
                wrong.append((method, path, answer.status_code, answer.text[:200]))
    assert wrong == []


def test_tokens_are_kept_hashed_only(house: World) -> None:
    with house.db.owner.connect() as connection:
        rows = connection.execute(sa.text("SELECT api_tokens::text FROM api_tokens")).scalars().all()
        rows += connection.execute(sa.text("SELECT staff_sessions::text FROM staff_sessions")).scalars().all()
        audit = connection.execute(sa.text("SELECT audit::text FROM audit")).scalars().all()
    for token in house.tokens.values():
        assert not any(token in row for row in [*rows, *audit])
        assert any(token_digest(token) in row for row in rows)


def test_a_disabled_account_is_out_at_once(house: World) -> None:
    leaver = house.person("leaver", "bank-a", "risk")
    assert leaver.whoami()["name"] == "leaver"
    with house.db.unit(SYSTEM) as unit:
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
        ("bank-a", ["admin"], "level_combination"),
        ("bank-a", ["king"], "invalid_request"),
        ("nowhere", ["risk"], "not_found"),
    ],
)
def test_roles_belong_to_kinds_of_institution(house: World, institution: str, roles: list[str], code: str) -> None:
    assert refused(house.operator.add_account, f"x-{institution}", institution, roles).code == code


def test_names_are_not_shared(house: World) -> None:
    assert refused(house.operator.add_account, "risk", "bank-a", ["risk"]).code == "exists"
    assert refused(house.operator.add_institution, "lab", "Another", "lab").code == "exists"


def test_whoami(house: World) -> None:
    said = house.risk.whoami()
    assert said["roles"] == ["risk"]
    assert said["level"] == "service"
    assert "entry:job" in said["duties"]
    assert "approve:job" not in said["duties"]
