"""People of institutions: real names, passwords, second factors, sources, leaving; tokens; OpenID Connect."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from api.staff import passwords
from api.staff.door import COOKIE
from api.workdays import local_day
from tests.api.conftest import Databases
from tests.api.test_jobs import refused
from tests.api.world import PASSWORD, Signed, World
from tests.support.authenticator import Passkey, unb64u
from tests.support.control_plane import free_port
from tests.support.identity_provider import CLIENT

ORIGIN = "https://localhost:8443"
PERSON = {"name": "王芳", "contact": "13912345678", "post": "风险部 经理"}


@pytest.fixture(scope="module", autouse=True)
def cheap_hashes() -> Iterator[None]:
    """The parameters are the library's; hundreds of hashes at full cost would prove nothing more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture(scope="module")
def house(new_database: Databases) -> Iterator[World]:
    world = World.inhabited(new_database, rate_failures_per_minute=1_000_000, portal_origins=ORIGIN)
    yield world
    world.close()


@pytest.fixture(scope="module")
def admin(house: World) -> Signed:
    return house.admin("admin.a", "bank-a")


def employ(admin: Signed, login: str, *roles: str, **more: object) -> dict[str, str]:
    body = {"login": login, **PERSON, "contact": f"139{abs(hash(login)) % 10**8:08}", "roles": list(roles or ["risk"])}
    return admin.client.call("POST", "/v1/staff", json={**body, **more})


def http(world: World, agent: str = "test", token: str = "") -> httpx.Client:
    headers = {"User-Agent": agent} | ({"Authorization": f"Bearer {token}"} if token else {})
    return httpx.Client(base_url=world.url, headers=headers, timeout=30)


def sign_in(world: World, signed: Signed, login: str, agent: str = "test") -> httpx.Response:
    world.clock.advance(31)  # a one-time password is good once
    body = {"login": login, "password": PASSWORD, "totp": signed.totp.at(world.clock())}
    with http(world, agent) as client:
        return client.post("/v1/staff/login", json=body)


def audit(world: World, account_id: str) -> list[dict]:
    return world.operator.call("GET", "/v1/audit", params={"object_kind": "staff", "object_id": account_id})["items"]


# ---- real persons, two levels


def test_only_an_admin_puts_operators_on_record_each_with_name_and_contact(house: World, admin: Signed) -> None:
    """R3, R4."""
    made = employ(admin, "wang.fang")
    signed = house.sign_in("wang.fang", made["code"])
    said = signed.client.whoami()
    assert (said["name"], said["level"], said["institution"]) == ("王芳", "operator", "bank-a")
    assert refused(signed.client.call, "POST", "/v1/staff", json={}).code == "role_missing"
    body = {"login": "no.name", "name": "", "contact": "13900000000", "post": "x", "roles": ["risk"]}
    assert refused(admin.client.call, "POST", "/v1/staff", json=body).code == "invalid_request"
    body |= {"name": "有名", "contact": "somewhere"}
    assert refused(admin.client.call, "POST", "/v1/staff", json=body).code == "invalid_request"


def test_no_person_holds_two_levels_or_two_accounts(admin: Signed) -> None:
    """R3: the admin, known by name and contact, is not put on record as an operator too."""
    twice = {"login": "admin.again", "name": "李甲", "contact": "13800000001", "post": "x", "roles": ["risk"]}
    assert refused(admin.client.call, "POST", "/v1/staff", json=twice).code == "person_has_account"
    both = {"login": "both.levels", **PERSON, "contact": "13900000009", "roles": ["risk", "admin"]}
    assert refused(admin.client.call, "POST", "/v1/staff", json=both).code == "level_combination"


def test_a_grant_names_duties_and_nothing_beyond_them_is_allowed(house: World, admin: Signed) -> None:
    """R3, R47: least privilege."""
    beyond = {"login": "too.much", **PERSON, "contact": "13900000010", "roles": ["risk"], "duties": ["approve:job"]}
    assert refused(admin.client.call, "POST", "/v1/staff", json=beyond).code == "duty_beyond_roles"
    made = employ(admin, "reader", duties=["query:job"])
    signed = house.sign_in("reader", made["code"])
    assert signed.client.jobs() is not None
    assert refused(signed.client.propose_job, house.proposal()).code == "duty_missing"
    path = f"/v1/accounts/{made['account_id']}/duties"
    admin.client.call("PUT", path, json={"duties": ["query:job", "entry:job"], "reason": "a new post"})
    assert refused(signed.client.propose_job, {}).code == "invalid_request"


def test_an_admin_reaches_only_people_of_the_own_institution(house: World, admin: Signed) -> None:
    house.operator.add_institution("bank-s", "Bank S", "bank")
    other = house.admin("admin.s", "bank-s")
    made = employ(admin, "not.yours")
    path = f"/v1/staff/{made['account_id']}/reset"
    assert refused(other.client.call, "POST", path, json={"reason": "mine?"}).status == 404
    people = other.client.call("GET", "/v1/staff")["items"]
    assert {one["institution"] for one in people} == {"bank-s"}
    assert (
        refused(other.client.call, "POST", f"/v1/accounts/{made['account_id']}/cancel", json={"reason": "x"}).status
        == 404
    )


# ---- passwords and lockout


@pytest.mark.parametrize(
    "weak", ["Short-1a", "alllowercaseletters", "aaaaaaaaaaaaA1", "Wang.Fang-2026x", "Xx13912345678!", "x" * 200]
)
def test_a_weak_password_is_refused(weak: str) -> None:
    """R20."""
    with pytest.raises(passwords.WeakPassword):
        passwords.check_strength(weak, "wang.fang", "王芳", "13912345678")


@given(st.integers(0, 200))
def test_the_pause_after_wrong_passwords_never_shrinks_and_ends_within_an_hour(failures: int) -> None:
    before, after = passwords.pause(failures), passwords.pause(failures + 1)
    assert (before or timedelta()) <= (after or timedelta()) <= timedelta(hours=1)


def test_wrong_passwords_lock_with_growing_pauses_even_for_the_right_one(house: World, admin: Signed) -> None:
    """R20."""
    made = employ(admin, "locked.out")
    signed = house.sign_in("locked.out", made["code"])
    with http(house) as client:
        wrong = {"login": "locked.out", "password": "Wrong-Password-1"}
        codes = [client.post("/v1/staff/login", json=wrong).json()["code"] for _ in range(6)]
        assert codes == ["login_refused"] * 4 + ["account_locked"] * 2
    assert sign_in(house, signed, "locked.out").status_code in (200, 429)
    fails = [row["detail"]["failures"] for row in audit(house, made["account_id"]) if row["action"] == "login.fail"]
    assert fails == [1, 2, 3, 4, 5]  # while locked nothing is tried
    house.clock.advance(60)
    assert sign_in(house, signed, "locked.out").status_code == 200


def test_a_password_is_kept_as_argon2id_with_the_librarys_parameters() -> None:
    """R20; RFC 9106, section 4, second recommended option or better."""
    assert PasswordHasher().hash("x").startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    stored = passwords.make("Ferry-Lantern-71")
    assert stored.startswith("$argon2id$")
    assert passwords.matches(stored, "Ferry-Lantern-71")
    assert not passwords.matches(stored, "Ferry-Lantern-72")
    assert not passwords.matches(None, "nobody has this password")


def test_who_is_on_record_is_not_told(house: World) -> None:
    with http(house) as client:
        body = {"login": "nobody.here", "password": PASSWORD}
        answer = client.post("/v1/staff/login", json=body)
        first = client.post("/v1/staff/password", json={**body, "code": "AAAA-BBBB-CCCC"})
        assert {answer.json()["code"], first.json()["code"]} == {"login_refused"}
        assert answer.status_code == first.status_code == 401
        codes = [client.post("/v1/staff/login", json=body).json()["code"] for _ in range(4)]
        assert codes == ["login_refused"] * 2 + ["account_locked"] * 2  # as for somebody who is


def test_the_first_password_needs_its_one_time_code_once(house: World, admin: Signed) -> None:
    made = employ(admin, "first.time")
    with http(house) as client:
        body = {"login": "first.time", "code": made["code"], "password": PASSWORD}
        assert client.post("/v1/staff/password", json={**body, "code": "0000-0000-0000"}).status_code == 401
        assert client.post("/v1/staff/password", json={**body, "password": "weak"}).json()["code"] == "password_weak"
        assert client.post("/v1/staff/password", json=body).status_code == 204
        assert client.post("/v1/staff/password", json=body).status_code == 401


# ---- the second factor


def test_without_a_second_factor_a_session_sets_one_up_and_nothing_else(house: World, admin: Signed) -> None:
    """R20, R47."""
    made = employ(admin, "one.factor")
    with http(house) as client:
        first = {"login": "one.factor", "code": made["code"], "password": PASSWORD}
        client.post("/v1/staff/password", json=first).raise_for_status()
        session = client.post("/v1/staff/login", json={"login": "one.factor", "password": PASSWORD}).json()
        assert session["second_factor_needed"]
        client.headers["Authorization"] = f"Bearer {session['token']}"
        assert client.get("/v1/jobs").json()["code"] == "second_factor_needed"
        assert client.get("/v1/whoami").status_code == 200


def test_a_one_time_password_is_needed_and_good_once(house: World, admin: Signed) -> None:
    signed = house.sign_in("totp.once", employ(admin, "totp.once")["code"])
    house.clock.advance(31)
    body = {"login": "totp.once", "password": PASSWORD}
    with http(house) as client:
        assert client.post("/v1/staff/login", json=body).json()["code"] == "login_refused"
        body["totp"] = signed.totp.at(house.clock())
        assert client.post("/v1/staff/login", json=body).status_code == 200
        assert client.post("/v1/staff/login", json=body).json()["code"] == "login_refused"


def test_a_totp_secret_is_nowhere_in_the_database(house: World, admin: Signed) -> None:
    signed = house.sign_in("secret.keeper", employ(admin, "secret.keeper")["code"])
    with house.db.owner.connect() as connection:
        for table in ("staff", "audit", "fleeting_answers", "idempotent_requests"):
            rows = connection.scalars(sa.text(f"SELECT {table}::text FROM {table}")).all()
            assert not any(signed.totp.secret in row for row in rows)


def test_a_passkey_is_a_sign_in_of_its_own(house: World, admin: Signed) -> None:
    """R20."""
    made = employ(admin, "key.holder")
    key = Passkey()
    where = {"rp_id": "localhost", "origin": ORIGIN}
    with http(house) as client:
        first = {"login": "key.holder", "code": made["code"], "password": PASSWORD}
        client.post("/v1/staff/password", json=first).raise_for_status()
        session = client.post("/v1/staff/login", json={"login": "key.holder", "password": PASSWORD}).json()
        auth = {"Authorization": f"Bearer {session['token']}"}
        started = client.post("/v1/staff/passkey", headers=auth).json()
        credential = key.registration(unb64u(started["options"]["challenge"]), **where)
        body = {"ceremony": started["ceremony"], "credential": credential}
        assert client.post("/v1/staff/passkey/finish", headers=auth, json=body).status_code == 204
        assert client.get("/v1/jobs", headers=auth).status_code == 200
        # the password alone is no way past it
        again = client.post("/v1/staff/login", json={"login": "key.holder", "password": PASSWORD})
        assert again.json()["code"] == "passkey_needed"
        asked = client.post("/v1/staff/passkey/login").json()
        challenge = unb64u(asked["options"]["challenge"])
        answer = {"ceremony": asked["ceremony"], "credential": key.credential(challenge, made["account_id"], **where)}
        opened = client.post("/v1/staff/passkey/login/finish", json=answer)
        assert opened.json()["method"] == "passkey"
        assert client.post("/v1/staff/passkey/login/finish", json=answer).json()["code"] == "challenge_used"
        asked = client.post("/v1/staff/passkey/login").json()
        stranger = Passkey().credential(unb64u(asked["options"]["challenge"]), **where)
        answer = {"ceremony": asked["ceremony"], "credential": stranger}
        assert client.post("/v1/staff/passkey/login/finish", json=answer).json()["code"] == "passkey_unknown"


# ---- sessions and sources


def test_a_session_ends_idle_and_at_the_latest(make_world: Callable[..., World]) -> None:
    world = make_world(staff_idle_seconds=600, staff_session_seconds=3600)
    signed = world.admin("admin.i", "bank-a")
    world.clock.advance(599)
    assert signed.client.whoami()["level"] == "admin"
    for _ in range(6):
        world.clock.advance(590)
        last = refused(signed.client.whoami) if world.clock.ahead > timedelta(seconds=3600) else signed.client.whoami()
    assert last.status == 401  # type: ignore[union-attr]
    opened = sign_in(world, signed, "admin.i").json()
    world.clock.advance(601)
    with http(world, token=opened["token"]) as client:
        assert client.get("/v1/whoami").status_code == 401


def test_one_account_in_two_places_is_shown_and_a_new_source_told(house: World, admin: Signed) -> None:
    """R3: no shared accounts; R20: watching where users come from."""
    made = employ(admin, "two.places")
    signed = house.sign_in("two.places", made["code"])
    second = sign_in(house, signed, "two.places", agent="another browser").json()
    assert second["new_source"]
    assert second["elsewhere"] == ["127.0.0.1"]
    live = [one for one in house.operator.call("GET", "/v1/staff/sessions")["items"] if one["login"] == "two.places"]
    assert [one["concurrent"] for one in live] == [True, True]
    opened = [row for row in audit(house, made["account_id"]) if row["action"] == "session.open"]
    assert {(row["actor"], row["institution"]) for row in opened} == {(made["account_id"], "bank-a")}
    said = [row["detail"]["new_source"] for row in audit(house, made["account_id"]) if row["action"] == "session.open"]
    assert said == [True, True]
    house.operator.call("POST", f"/v1/staff/sessions/{second['session_id']}/end")
    with http(house, token=second["token"]) as client:
        assert client.get("/v1/whoami").status_code == 401
    third = sign_in(house, signed, "two.places", agent="another browser").json()
    assert not third["new_source"]


def test_one_source_at_a_time_where_the_operator_says_so(make_world: Callable[..., World]) -> None:
    """R3: shared accounts are forbidden."""
    world = make_world(staff_one_source=True)
    signed = world.admin("admin.o", "bank-a")
    assert sign_in(world, signed, "admin.o", agent="elsewhere").json()["code"] == "signed_in_elsewhere"
    signed.client.call("POST", "/v1/staff/logout")
    assert sign_in(world, signed, "admin.o", agent="elsewhere").status_code == 200


def test_sign_out_ends_this_session_or_all_of_them(house: World, admin: Signed) -> None:
    signed = house.sign_in("signs.out", employ(admin, "signs.out")["code"])
    other = sign_in(house, signed, "signs.out", "b").json()["token"]
    signed.client.call("POST", "/v1/staff/logout")
    assert refused(signed.client.whoami).status == 401
    with http(house, token=other) as client:
        assert client.get("/v1/whoami").status_code == 200
        third = sign_in(house, signed, "signs.out", "c").json()["token"]
        assert client.post("/v1/staff/logout", params={"everywhere": True}).status_code == 204
        assert client.get("/v1/whoami", headers={"Authorization": f"Bearer {third}"}).status_code == 401


def test_a_cookie_is_good_for_reading_and_for_writes_of_our_own_pages(house: World, admin: Signed) -> None:
    signed = house.sign_in("by.cookie", employ(admin, "by.cookie")["code"])
    answer = sign_in(house, signed, "by.cookie")
    said = answer.headers["set-cookie"]
    assert {"Secure", "HttpOnly", "SameSite=strict"} <= {part.strip() for part in said.split(";")}
    with http(house) as client:
        cookie = {"Cookie": f"{COOKIE}={answer.json()['token']}"}
        assert client.get("/v1/whoami", headers=cookie).status_code == 200
        assert client.post("/v1/staff/logout", headers=cookie).json()["code"] == "wrong_origin"
        evil = {**cookie, "Origin": "https://evil.example"}
        assert client.post("/v1/staff/logout", headers=evil).json()["code"] == "wrong_origin"
        assert client.post("/v1/staff/logout", headers={**cookie, "Origin": ORIGIN}).status_code == 204


# ---- leaving


def test_a_leaver_not_disabled_in_three_working_days_is_on_the_overdue_list(make_world: Callable[..., World]) -> None:
    """R6."""
    world = make_world(staff_idle_seconds=7 * 86400, staff_session_seconds=7 * 86400)
    admin = world.admin("admin.l", "bank-a")
    made = employ(admin, "leaves.us")
    signed = world.sign_in("leaves.us", made["code"])
    today = local_day(world.clock())
    path = f"/v1/staff/{made['account_id']}/leave"
    admin.client.call("POST", path, json={"left_on": today.isoformat(), "reason": "resigned"})

    def overdue() -> list[str]:
        return [one["login"] for one in admin.client.call("GET", "/v1/staff", params={"overdue": True})["items"]]

    (row,) = [one for one in admin.client.call("GET", "/v1/staff")["items"] if one["login"] == "leaves.us"]
    due = datetime.fromisoformat(row["disable_by"])
    assert overdue() == []
    world.clock.advance((due - world.clock()).total_seconds() - 60)
    assert overdue() == []
    world.clock.advance(120)
    admin = sign_again(world, admin, "admin.l")
    assert overdue() == ["leaves.us"]
    admin.client.call("POST", f"/v1/accounts/{made['account_id']}/cancel", json={"reason": "left"})
    assert overdue() == []
    assert refused(signed.client.whoami).status == 401
    assert sign_in(world, signed, "leaves.us").status_code == 401


def sign_again(world: World, signed: Signed, login: str) -> Signed:
    opened = sign_in(world, signed, login).json()
    world.tokens[login] = opened["token"]
    return Signed(opened["token"], opened["session_id"], signed.totp, world.client(login))


# ---- sanctions on one user


def test_some_or_all_duties_of_one_user_are_suspended_at_once_and_until_their_term(house: World, admin: Signed) -> None:
    """R17: single or combined, with ground, evidence and term; felt by the very next request."""
    made = employ(admin, "sanctioned")
    signed = house.sign_in("sanctioned", made["code"])
    path = f"/v1/accounts/{made['account_id']}/sanctions"
    ground = {"ground": "queries without authorisation", "evidence": "log of 3 May"}
    until = (house.clock() + timedelta(seconds=600)).isoformat()
    house.operator.call("POST", path, json={**ground, "duties": ["query:job"], "until": until})
    assert refused(signed.client.jobs).code == "duty_missing"
    assert signed.client.call("GET", "/v1/releases") is not None
    token_user = house.person("program", "bank-a", "risk")
    account = token_user.whoami()["account_id"]
    all_of_it = house.operator.call("POST", f"/v1/accounts/{account}/sanctions", json=ground)
    assert refused(token_user.jobs).code == "account_suspended"
    house.operator.call("POST", f"/v1/accounts/sanctions/{all_of_it['id']}/lift", json={"reason": "cleared"})
    assert token_user.jobs() is not None
    house.clock.advance(601)
    assert signed.client.jobs() is not None  # the term is over, whether or not anything swept it
    shown = house.operator.call("GET", "/v1/accounts/sanctions", params={"account_id": made["account_id"]})["items"]
    assert (shown[0]["ground"], shown[0]["evidence"]) == (ground["ground"], ground["evidence"])
    house.operator.call("POST", path, json=ground)
    assert refused(signed.client.whoami).status == 401  # its sessions ended


def test_a_suspended_institutions_people_are_out_and_its_node_hears_why(make_world: Callable[..., World]) -> None:
    """R17: takes effect at once, everywhere."""
    world = make_world()
    admin = world.admin("admin.q", "bank-a")
    body = {"ground": "false certification"}
    world.operator.call("POST", "/v1/institutions/bank-a/suspend", json=body)
    assert refused(world.risk.jobs).code == "institution_suspended"
    assert refused(admin.client.call, "GET", "/v1/staff").code == "institution_suspended"
    assert world.bank.feed()["events"][-1]["document"]["body"]["state"] == "suspended"
    world.operator.call("POST", "/v1/institutions/bank-a/reinstate", json=body)
    assert world.risk.jobs() == []


# ---- API clients


def test_a_token_ends_and_is_rotated_without_a_gap(make_world: Callable[..., World]) -> None:
    world = make_world(token_days=30)
    program = world.person("core-system", "bank-a", "risk")
    account = program.whoami()["account_id"]
    new = world.operator.call("POST", f"/v1/accounts/{account}/tokens", json={"keep_hours": 1, "reason": "yearly"})
    with http(world, token=new["token"]) as client:
        assert client.get("/v1/whoami").status_code == 200
        assert program.whoami()["account_id"] == account
        world.clock.advance(3601)
        assert refused(program.whoami).status == 401
        assert client.get("/v1/whoami").status_code == 200
        (row,) = world.operator.call("GET", f"/v1/accounts/{account}/tokens")["items"]
        world.operator.call("POST", f"/v1/accounts/{account}/tokens/{row['id']}/end", json={"reason": "leaked"})
        assert client.get("/v1/whoami").status_code == 401
    late = (world.clock() + timedelta(days=31)).isoformat()
    far = {"expires_at": late, "reason": "for long"}
    assert (
        refused(world.operator.call, "POST", f"/v1/accounts/{account}/tokens", json=far).code == "expiry_out_of_bounds"
    )
    world.clock.advance(31 * 86400)
    assert refused(world.risk.whoami).status == 401


# ---- an identity provider of the institutions' own


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.support.identity_provider", str(port)])
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 15
    while True:
        try:
            httpx.get(f"{url}/jwks", trust_env=False)
            break
        except httpx.HTTPError:
            assert time.monotonic() < deadline, "the provider did not start"
            time.sleep(0.05)
    yield url
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def federated(new_database: Databases, provider: str) -> Iterator[World]:
    settings = {"oidc_issuer": provider, "oidc_client_id": CLIENT, "portal_origins": ORIGIN}
    world = World.inhabited(new_database, **settings)
    employ(world.admin("admin.f", "bank-a"), "li.na", external=f"{provider}#u-77")
    yield world
    world.close()


def through(world: World, provider: str, **says: object) -> httpx.Response:
    """The whole way of a browser: to the provider, and back with what it gave."""
    with httpx.Client(trust_env=False) as browser:
        browser.post(f"{provider}/as", json={"sub": "u-77", "lie": {}, **says}).raise_for_status()
        url = browser.post(f"{world.url}/v1/staff/oidc/login").json()["url"]
        back = parse_qs(urlsplit(browser.get(url).headers["location"]).query)
        body = {name: back[name][0] for name in ("state", "code")}
        return browser.post(f"{world.url}/v1/staff/oidc/login/finish", json=body)


def test_a_person_on_record_signs_in_through_the_own_identity_provider(federated: World, provider: str) -> None:
    """R20."""
    opened = through(federated, provider)
    assert opened.status_code == 200, opened.text
    assert opened.json()["method"] == "oidc"
    with http(federated, token=opened.json()["token"]) as client:
        assert client.get("/v1/whoami").json()["institution"] == "bank-a"
        assert client.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ({"claims": {"aud": "somebody-else"}}, "identity_not_proved"),
        ({"claims": {"aud": [CLIENT, "somebody-else"]}}, "identity_not_proved"),
        ({"claims": {"iss": "https://evil.example"}}, "identity_not_proved"),
        ({"claims": {"nonce": "another"}}, "identity_not_proved"),
        ({"claims": {"exp": 1_000_000}}, "identity_not_proved"),
        ({"key": "stranger"}, "identity_not_proved"),
        ({"key": "shared"}, "identity_not_proved"),
        ({"configured_issuer": "https://evil.example"}, "identity_provider_failed"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_does_not_prove_who_signs_in_is_refused(federated: World, provider: str, lie: dict, code: str) -> None:
    if "configured_issuer" in lie:
        with httpx.Client(trust_env=False) as browser:
            browser.post(f"{provider}/as", json={"sub": "u-77", "lie": lie})
            assert browser.post(f"{federated.url}/v1/staff/oidc/login").json()["code"] == code
        return
    assert through(federated, provider, lie=lie).json()["code"] == code


def test_a_person_not_on_record_is_refused_whoever_vouches(federated: World, provider: str) -> None:
    assert through(federated, provider, sub="u-1").json()["code"] == "person_not_on_record"


def test_a_state_is_good_once_and_only_as_it_was_given(federated: World, provider: str) -> None:
    with httpx.Client(trust_env=False) as browser:
        browser.post(f"{provider}/as", json={"sub": "u-77", "lie": {}})
        url = browser.post(f"{federated.url}/v1/staff/oidc/login").json()["url"]
        back = parse_qs(urlsplit(browser.get(url).headers["location"]).query)
        body = {name: back[name][0] for name in ("state", "code")}
        finish = f"{federated.url}/v1/staff/oidc/login/finish"
        assert browser.post(finish, json={**body, "state": "x" * 20}).json()["code"] == "identity_not_proved"
        assert browser.post(finish, json=body).status_code == 200
        assert browser.post(finish, json=body).json()["code"] == "identity_not_proved"


def test_without_a_provider_there_is_none_to_be_sent_to(house: World) -> None:
    with http(house) as client:
        assert client.post("/v1/staff/oidc/login").status_code == 404
