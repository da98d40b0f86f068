"""Enterprises on record, their one-time codes, passkeys, people and sessions, over HTTP with a passkey in software."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from api.client import LabError
from api.enterprises import attempts
from api.enterprises.cli import app
from features.uscc import simulate
from tests.api.world import World, any_ca
from tests.support.authenticator import PRESENT, Passkey, unb64u

ORIGIN = "https://localhost:8443"
CODES = iter(simulate(np.random.default_rng(11), 500))
COOKIE = "__Host-creditlab"
HTTP = httpx.Client(verify=False)
_names = itertools.count(1)


def enrol(world: World, **changes: Any) -> dict[str, Any]:
    body = {"uscc": next(CODES), "name": f"Works {next(_names)}", "contact_name": "Wang Min", "contact": "555-0100"}
    return world.operator.call("POST", "/v1/enterprises", json={**body, **changes})


@dataclass
class Browser:
    """A cookie, a CSRF token and a passkey; no more than a browser sends. TLS is not what is tested here."""

    world: World
    key: Passkey = field(default_factory=Passkey)
    cookie: str = ""
    csrf: str = ""
    user: str = ""

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Origin": ORIGIN, "X-CSRF-Token": self.csrf, "Accept": "application/json"}
        if self.cookie:
            headers["Cookie"] = f"{COOKIE}={self.cookie}"
        headers |= options.pop("headers", {})
        answer = HTTP.request(method, self.world.url + path, headers=headers, **options)
        for said in answer.headers.get_list("set-cookie"):
            if found := re.match(rf'{COOKIE}="?([^";]*)', said):
                self.cookie = found[1]
        return answer

    def look(self, path: str = "/portal/people") -> httpx.Response:
        answer = self.request("GET", path, headers={"Accept": "text/html"})
        if found := re.search(r'name="csrf" content="([0-9a-f]+)"', answer.text):
            self.csrf = found[1]
        return answer

    def type_code(self, uscc: str, code: str) -> httpx.Response:
        answer = self.request("POST", "/portal/enrol", data={"uscc": uscc, "code": code})
        self.look("/portal/enrol/passkey")
        return answer

    def register(self, **changes: Any) -> httpx.Response:
        started = self.request("POST", "/portal/passkeys/start", json={}).json()
        self.user = unb64u(started["options"]["user"]["id"]).decode()
        given = {"rp_id": "localhost", "origin": ORIGIN, **changes}
        made = self.key.registration(unb64u(started["options"]["challenge"]), **given)
        body = {"ceremony": started["ceremony"], "credential": made, "label": "phone"}
        answer = self.request("POST", "/portal/passkeys/finish", json=body)
        self.look()
        return answer

    def enrol(self, new: dict[str, Any]) -> Browser:
        assert self.type_code(new["enterprise"]["uscc"], new["code"]).status_code == 303
        assert self.register().status_code == 200
        return self

    def login(self, **changes: Any) -> httpx.Response:
        started = self.request("POST", "/portal/login/start", json={}).json()
        given = {"rp_id": "localhost", "origin": ORIGIN, "user": self.user, **changes}
        credential = self.key.credential(unb64u(started["options"]["challenge"]), **given)
        body = {"ceremony": started["ceremony"], "credential": credential}
        answer = self.request("POST", "/portal/login/finish", json=body)
        self.look()
        return answer

    @property
    def signed_in(self) -> bool:
        return self.look("/portal/people").status_code == 200


@pytest.fixture
def browser(shared: World) -> Callable[[], Browser]:
    return lambda: Browser(shared)


def problem(world: World, path: str, body: dict[str, Any]) -> LabError:
    with pytest.raises(LabError) as caught:
        world.operator.call("POST", path, json=body)
    return caught.value


# ---- on record


@pytest.mark.parametrize("uscc", ["91350100M000100Y4Z", "91350100M000100Y4", "E1"])
def test_only_a_real_code_is_put_on_record(shared: World, uscc: str) -> None:
    """R19, GB 32100."""
    body = {"uscc": uscc, "name": "x", "contact_name": "y", "contact": "z"}
    assert problem(shared, "/v1/enterprises", body).code == "uscc_invalid"


def test_an_enterprise_is_put_on_record_once(shared: World) -> None:
    new = enrol(shared)
    body = {"uscc": new["enterprise"]["uscc"], "name": "x", "contact_name": "y", "contact": "z"}
    assert problem(shared, "/v1/enterprises", body).code == "exists"
    assert new["enterprise"]["state"] == "invited"
    assert new["person"]["rights"] == ["view", "decide", "withdraw", "manage"]


def test_the_gateway_enrols_and_only_the_operator_reads_the_contact(shared: World) -> None:
    body = {"uscc": next(CODES), "name": "x", "contact_name": "y", "contact": "z"}
    uscc = shared.gateway.call("POST", "/v1/enterprises", json=body)["enterprise"]["uscc"]
    assert shared.operator.call("GET", f"/v1/enterprises/{uscc}")["contact"] == "z"
    listed = shared.operator.call("GET", "/v1/enterprises", params={"limit": 500})["items"]
    assert uscc in {each["uscc"] for each in listed}
    assert all("contact" not in each for each in listed)
    with pytest.raises(LabError):
        shared.gateway.call("GET", f"/v1/enterprises/{uscc}")


# ---- codes


def test_a_code_enrols_one_passkey_and_is_used_up(shared: World, browser: Callable[[], Browser]) -> None:
    new = enrol(shared)
    one = browser().enrol(new)
    assert one.signed_in
    uscc = new["enterprise"]["uscc"]
    assert shared.operator.call("GET", f"/v1/enterprises/{uscc}")["state"] == "active"
    assert browser().type_code(uscc, new["code"]).status_code == 403


def test_two_browsers_with_one_code_make_one_passkey(shared: World, browser: Callable[[], Browser]) -> None:
    new = enrol(shared)
    first, second = browser(), browser()
    for each in (first, second):
        assert each.type_code(new["enterprise"]["uscc"], new["code"]).status_code == 303
    assert first.register().status_code == 200
    late = second.register()
    assert (late.status_code, late.json()["code"]) == (409, "code_used")


def test_a_code_may_be_typed_as_people_type(shared: World, browser: Callable[[], Browser]) -> None:
    new = enrol(shared)
    typed = f" {new['code'].lower().replace('-', ' ').replace('0', 'o').replace('1', 'l')} "
    assert browser().type_code(new["enterprise"]["uscc"].lower(), typed).status_code == 303


def test_a_code_runs_out(make_world: Callable[..., World]) -> None:
    world = make_world(portal_code_seconds=60)
    new = enrol(world)
    world.clock.advance(61)
    assert Browser(world).type_code(new["enterprise"]["uscc"], new["code"]).status_code == 403


def test_wrong_codes_are_slowed_down_and_say_nothing(shared: World, browser: Callable[[], Browser]) -> None:
    """Neither whether the enterprise is known nor which part was wrong; the right code waits too."""
    new, one = enrol(shared), browser()
    uscc = new["enterprise"]["uscc"]
    answers = [one.type_code(uscc, "AAAA-BBBB-CCCC") for _ in range(attempts.CODES_PER_ENTERPRISE)]
    unknown = one.type_code(next(CODES), "AAAA-BBBB-CCCC")
    assert {each.status_code for each in (*answers, unknown)} == {403}
    shown = re.sub(r"[0-9A-Z]{18}", "", answers[0].text)
    assert shown == re.sub(r"[0-9A-Z]{18}", "", unknown.text)
    assert one.type_code(uscc, new["code"]).status_code == 429
    shared.clock.advance(attempts.WINDOW.total_seconds() + 1)
    assert one.type_code(uscc, new["code"]).status_code == 303


def test_a_lost_key_is_recovered_by_the_operator_only_and_ends_the_old_ones_at_once(
    shared: World, browser: Callable[[], Browser]
) -> None:
    new = enrol(shared)
    uscc, person = new["enterprise"]["uscc"], new["person"]["id"]
    lost = browser().enrol(new)
    path = f"/v1/enterprises/{uscc}/codes"
    assert problem(shared, path, {"person": person, "use": "enrol", "reason": "x"}).code == "enrolled_already"
    body = {"person": person, "use": "recover", "reason": "phone stolen, identity checked at the counter"}
    fresh = shared.operator.call("POST", path, json=body)
    assert not lost.signed_in
    assert lost.login().json()["code"] == "passkey_unknown"
    assert browser().enrol({**new, "code": fresh["code"]}).signed_in
    audit = shared.operator.audit("enterprise_person", person)
    assert body["reason"] in [row["reason"] for row in audit if row["action"] == "code.issue"]


def test_codes_for_sessions_need_the_operators_configuration(shared: World, browser: Callable[[], Browser]) -> None:
    new = enrol(shared)
    path = f"/v1/enterprises/{new['enterprise']['uscc']}/codes"
    for use in ("login", "confirm"):
        found = problem(shared, path, {"person": new["person"]["id"], "use": use, "reason": "x"})
        assert (found.status, found.code) == (403, "session_code_not_allowed")
    assert browser().look("/portal/login/code").status_code == 403


# ---- passkeys


@pytest.mark.parametrize(
    "changes", [{"origin": "https://elsewhere.example"}, {"rp_id": "elsewhere.example"}, {"flags": PRESENT}]
)
def test_a_registration_for_another_site_or_without_verification_is_refused(
    shared: World, browser: Callable[[], Browser], changes: dict[str, Any]
) -> None:
    one, new = browser(), enrol(shared)
    one.type_code(new["enterprise"]["uscc"], new["code"])
    refused = one.register(**changes)
    assert (refused.status_code, refused.json()["code"]) == (422, "passkey_invalid")
    assert one.register().status_code == 200  # the code was not used up by the failure


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"origin": "https://elsewhere.example"}, "passkey_wrong_relying_party"),
        ({"rp_id": "elsewhere.example"}, "passkey_wrong_relying_party"),
        ({"flags": PRESENT}, "passkey_user_not_verified"),
        ({"flags": 0x04}, "passkey_user_not_present"),
        ({"type": "webauthn.create"}, "passkey_wrong_ceremony"),
        ({"crossOrigin": True}, "passkey_cross_origin"),
        ({"user": "ep-000000000000"}, "passkey_unknown"),
    ],
)
def test_a_sign_in_that_proves_nothing_is_refused(
    shared: World, browser: Callable[[], Browser], changes: dict[str, Any], code: str
) -> None:
    one = browser().enrol(enrol(shared))
    one.cookie = ""
    assert one.login(**changes).json()["code"] == code
    assert not one.signed_in


def test_a_challenge_signs_in_once_and_not_for_long(shared: World, browser: Callable[[], Browser]) -> None:
    one = browser().enrol(enrol(shared))
    started = one.request("POST", "/portal/login/start", json={}).json()
    challenge = unb64u(started["options"]["challenge"])
    body = {
        "ceremony": started["ceremony"],
        "credential": one.key.credential(challenge, rp_id="localhost", origin=ORIGIN),
    }
    assert one.request("POST", "/portal/login/finish", json=body).status_code == 200
    assert one.request("POST", "/portal/login/finish", json=body).json()["code"] == "challenge_used"
    late = one.request("POST", "/portal/login/start", json={}).json()
    shared.clock.advance(301)
    credential = one.key.credential(unb64u(late["options"]["challenge"]), rp_id="localhost", origin=ORIGIN)
    body = {"ceremony": late["ceremony"], "credential": credential}
    assert one.request("POST", "/portal/login/finish", json=body).json()["code"] == "challenge_used"


def test_a_counter_that_does_not_go_up_is_a_copied_key(shared: World, browser: Callable[[], Browser]) -> None:
    one = browser().enrol(enrol(shared))
    assert one.login().status_code == 200
    one.key.count = 0
    assert one.login().json()["code"] == "passkey_counter"


def test_keys_are_changed_only_shortly_after_signing_in(make_world: Callable[..., World]) -> None:
    """Who finds an open browser cannot add a key of his own."""
    world = make_world(portal_idle_seconds=3600)
    one = Browser(world).enrol(enrol(world))
    world.clock.advance(601)
    one.look()
    assert one.request("POST", "/portal/passkeys/start", json={}).json()["code"] == "fresh_sign_in_needed"
    assert (
        one.request("POST", "/portal/people", data={"name": "x", "rights": "view"}).json()["code"]
        == "fresh_sign_in_needed"
    )
    one.login()
    one.key = Passkey()
    assert one.register().status_code == 200


def test_removing_a_passkey_ends_its_sessions_and_the_last_one_stays(
    shared: World, browser: Callable[[], Browser]
) -> None:
    one = browser().enrol(enrol(shared))
    old, spare = one.key, Passkey()
    path = f"/portal/passkeys/{old.id}/remove"
    assert one.request("POST", path).json()["code"] == "last_passkey"
    one.key = spare
    assert one.register().status_code == 200
    other = browser()
    other.key, other.user = spare, one.user
    assert other.login().status_code == 200
    other.look()
    assert other.request("POST", path).status_code == 303
    assert other.signed_in
    assert not one.signed_in
    one.key = old
    assert one.login().json()["code"] == "passkey_unknown"


# ---- people and sessions


def test_who_manages_names_delegates_within_the_own_rights(shared: World, browser: Callable[[], Browser]) -> None:
    new = enrol(shared)
    one = browser().enrol(new)
    page = one.request("POST", "/portal/people", data={"name": "Chen", "rights": ["view", "withdraw"]}).text
    code = re.search(r"<code>([0-9A-Z-]{14})</code>", page)
    assert code is not None
    delegate = browser().enrol({**new, "code": code[1]})
    assert "Wang Min" not in re.sub(r"(?s)<div class=.who.*?</div></div>", "", delegate.look().text)
    for path in ("/portal/people", f"/portal/people/{new['person']['id']}/remove"):
        refused = delegate.request("POST", path, data={"name": "x", "rights": "view", "csrf": delegate.csrf})
        assert refused.json()["code"] == "right_missing"
    assert one.request("POST", f"/portal/people/{new['person']['id']}/remove").json()["code"] == "last_manager"
    assert (
        one.request("POST", "/portal/people", data={"name": "x", "rights": "king"}).json()["code"] == "rights_invalid"
    )
    assert one.request("POST", f"/portal/people/{delegate.user}/remove").status_code == 303
    assert not delegate.signed_in


def test_nobody_removes_people_or_keys_of_another_enterprise(shared: World, browser: Callable[[], Browser]) -> None:
    one, other = browser().enrol(enrol(shared)), browser().enrol(enrol(shared))
    assert one.request("POST", f"/portal/people/{other.user}/remove").status_code == 404
    assert one.request("POST", f"/portal/passkeys/{other.key.id}/remove").json()["code"] == "passkey_unknown"
    session = _sessions(shared, other.user)[0]
    one.request("POST", f"/portal/sessions/{session}/end")
    assert other.signed_in


def _sessions(world: World, person: str) -> list[str]:
    with world.db.owner.connect() as connection:
        query = sa.text("SELECT id FROM enterprise_sessions WHERE person = :p AND ended_at IS NULL ORDER BY created_at")
        return list(connection.execute(query, {"p": person}).scalars())


def test_sessions_are_listed_and_ended_from_another_device(shared: World, browser: Callable[[], Browser]) -> None:
    one = browser().enrol(enrol(shared))
    two = browser()
    two.key, two.user = one.key, one.user
    two.login()
    ids = _sessions(shared, one.user)
    assert len(ids) == 2
    assert all(f"/portal/sessions/{each}/end" in two.look().text for each in ids[:1])
    assert two.request("POST", f"/portal/sessions/{ids[0]}/end").status_code == 303
    assert (one.signed_in, two.signed_in) == (False, True)
    two.look()
    assert two.request("POST", "/portal/logout").status_code == 303
    assert not two.signed_in


def test_a_suspended_enterprise_is_out_at_once_and_back_when_reinstated(
    shared: World, browser: Callable[[], Browser]
) -> None:
    """R17."""
    new = enrol(shared)
    one, path = browser().enrol(new), f"/v1/enterprises/{new['enterprise']['uscc']}/state"
    shared.operator.call("POST", path, json={"state": "suspended", "reason": "licence revoked"})
    assert not one.signed_in
    assert one.login().json()["code"] == "enterprise_not_active"
    shared.operator.call("POST", path, json={"state": "active", "reason": "restored"})
    assert not one.signed_in
    assert one.login().status_code == 200
    shared.operator.call("POST", path, json={"state": "closed", "reason": "wound up"})
    assert problem(shared, path, {"state": "active", "reason": "x"}).code == "illegal_transition"


def test_an_enrolment_session_opens_no_page(shared: World, browser: Callable[[], Browser]) -> None:
    one, new = browser(), enrol(shared)
    one.type_code(new["enterprise"]["uscc"], new["code"])
    assert one.look("/portal/").status_code == 303
    assert one.look("/portal/consents").status_code == 303


# ---- the command line


def test_the_operator_enrols_and_recovers_by_the_command_line(
    shared: World, browser: Callable[[], Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("URL", shared.url), ("CA", str(any_ca())), ("TOKEN", shared.tokens["operator"])):
        monkeypatch.setenv(f"CREDITLAB_{name}", value)
    uscc = next(CODES)

    def run(*words: str) -> str:
        said = CliRunner().invoke(app, list(words))
        assert said.exit_code == 0, said.output
        return said.output

    added = run("add", uscc, "--name", "Works", "--contact-name", "Wang", "--contact", "555")
    code = re.search(r"[0-9A-Z]{4}(-[0-9A-Z]{4}){2}", added)
    assert code is not None
    one = browser().enrol({"enterprise": {"uscc": uscc}, "code": code[0]})
    assert uscc in run("list")
    assert one.user in run("show", uscc)
    assert "shown this once" in run("code", uscc, "--person", one.user, "--use", "recover", "--reason", "lost")
    assert not one.signed_in
    assert "suspended" in run("state", uscc, "suspended", "--reason", "licence revoked")


# ---- what is kept


def test_secrets_are_kept_hashed_and_contacts_are_not_logged(
    shared: World, browser: Callable[[], Browser], caplog: pytest.LogCaptureFixture
) -> None:
    new = enrol(shared, contact="contact-never-logged")
    one = browser().enrol(new)
    one.login(flags=PRESENT)
    with shared.db.owner.connect() as connection:
        tables = (
            connection.execute(sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars().all()
        )
        rows = [
            row for table in tables for row in connection.execute(sa.text(f"SELECT t::text FROM {table} t")).scalars()
        ]
    for secret in (one.cookie, new["code"], new["code"].replace("-", ""), one.csrf):
        assert not any(secret in row for row in rows)
    assert [row for row in rows if "contact-never-logged" in row] == [
        row for row in rows if row.startswith(f"({new['enterprise']['uscc']},")
    ]
    assert "contact-never-logged" not in caplog.text
    assert new["code"] not in caplog.text


def test_the_audit_names_the_person(shared: World, browser: Callable[[], Browser]) -> None:
    new = enrol(shared)
    one = browser().enrol(new)
    rows = shared.operator.audit("passkey", one.key.id)
    assert [(row["action"], row["actor_name"]) for row in rows] == [("passkey.register", "Wang Min")]
    assert rows[0]["institution"] == new["enterprise"]["uscc"]


# ---- how often one may try to sign in


def test_signing_in_is_slowed_down_for_one_address(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """R20: who asks for challenges without end waits."""
    monkeypatch.setattr(attempts, "LOGINS_PER_ADDRESS", 3)
    world = make_world()
    one = Browser(world)
    told = [one.request("POST", "/portal/login/start", json={}) for _ in range(4)]
    assert [each.status_code for each in told] == [200, 200, 200, 429]
    assert told[-1].json()["code"] == "too_many_attempts"
    world.clock.advance(attempts.WINDOW.total_seconds() + 1)
    assert one.request("POST", "/portal/login/start", json={}).status_code == 200


def test_signing_in_is_slowed_down_for_one_passkey_and_for_no_other(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """R20: wrong answers in the name of one passkey."""
    monkeypatch.setattr(attempts, "LOGINS_PER_PASSKEY", 3)
    world = make_world()
    one, two = Browser(world).enrol(enrol(world)), Browser(world).enrol(enrol(world))
    assert [one.login(origin="https://elsewhere").status_code for _ in range(3)] == [422] * 3
    assert one.login().status_code == 429
    assert two.login().status_code == 200
    world.clock.advance(attempts.WINDOW.total_seconds() + 1)
    assert one.login().status_code == 200
