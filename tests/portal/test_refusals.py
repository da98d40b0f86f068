"""What is refused at the portal, each by name, with nothing done (R20, R47)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.consents import requests
from api.db import SYSTEM
from api.enterprises import repository
from api.verify_cli import app as verify_app
from tests.portal.conftest import PortalWorld
from tests.portal.visit import Visit, asked, enrolled

Open = Callable[..., Visit]


@pytest.fixture
def one(world: PortalWorld, visit: Open) -> Visit:
    """Somebody of a new enterprise, signed in."""
    new = enrolled(world)
    opened = visit().enrol(new["enterprise"]["uscc"], new["code"])
    opened.new = new
    return opened


def uscc(visit: Visit) -> str:
    return visit.new["enterprise"]["uscc"]


def state(world: PortalWorld, enterprise: str, consent_id: str) -> str:
    with world.db.read(SYSTEM) as session:
        return requests.one(session, enterprise, consent_id).state


def give(world: PortalWorld, person_id: str, *rights: str) -> None:
    with world.db.unit(SYSTEM) as unit:
        person = repository.person(unit.session, person_id)
        person.rights = list(rights)
        unit.session.flush()
        unit.record("person.rights", person, "changed for the test")


def start(visit: Visit, consent_id: str, act: str = "consent") -> dict:
    status, started = visit.post("/portal/sign/start", {"act": act, "consent": consent_id})
    assert status == 200, started
    return started


def finish(visit: Visit, started: dict, credential: dict) -> tuple[int, str]:
    status, told = visit.post("/portal/sign/finish", {"ceremony": started["ceremony"], "credential": credential})
    return status, told.get("code", told.get("next"))


def test_an_assertion_counts_once(world: PortalWorld, one: Visit) -> None:
    consent_id = asked(world, uscc(one))
    started = start(one, consent_id)
    credential = one.assertion(started["options"])
    assert finish(one, started, credential)[0] == 200
    assert finish(one, started, credential) == (409, "challenge_used")
    fresh = start(one, asked(world, uscc(one), "report_query"))
    assert finish(one, fresh, credential) == (422, "passkey_challenge_mismatch")


def test_an_assertion_for_another_document_is_refused(world: PortalWorld, one: Visit) -> None:
    """Shown one request and signing another: the challenge is of the document (R14)."""
    wanted, other = asked(world, uscc(one)), asked(world, uscc(one), "joint_training")
    credential = one.assertion(start(one, wanted)["options"])
    assert finish(one, start(one, other), credential) == (422, "passkey_challenge_mismatch")
    assert finish(one, start(one, wanted, "refusal"), credential) == (422, "passkey_challenge_mismatch")
    assert {state(world, uscc(one), each) for each in (wanted, other)} == {"requested"}


def test_another_enterprise_sees_and_signs_nothing_of_this_one(world: PortalWorld, one: Visit, visit: Open) -> None:
    consent_id = asked(world, uscc(one))
    new = enrolled(world, "另一家有限公司", "李强")
    stranger = visit().enrol(new["enterprise"]["uscc"], new["code"])
    assert stranger.go(f"/portal/requests/{consent_id}").title().startswith("未能完成")
    assert stranger.post("/portal/sign/start", {"act": "consent", "consent": consent_id})[0] == 404
    started = start(one, consent_id)
    options = {**started["options"], "allowCredentials": []}
    foreign = stranger.assertion(options)  # the stranger's own passkey over the very challenge
    assert finish(stranger, started, foreign) == (409, "challenge_used")
    assert finish(one, started, foreign) == (403, "passkey_unknown")
    seq = one.answer(consent_id)
    for path in (f"/portal/receipts/{seq}", f"/portal/receipts/{seq}/file", f"/portal/consents/{seq}"):
        assert stranger.context.request.get(world.url + path, ignore_https_errors=True).status == 404
    assert stranger.post("/portal/sign/start", {"act": "withdraw", "consent": consent_id})[0] == 404


FOREIGN = (
    ({"X-CSRF-Token": None}, "csrf_missing"),
    ({"X-CSRF-Token": "0" * 64}, "csrf_missing"),
    ({"Origin": None}, "wrong_origin"),
    ({"Origin": "https://elsewhere.example"}, "wrong_origin"),
    ({"Origin": "null"}, "wrong_origin"),
    ({"Sec-Fetch-Site": "cross-site"}, "wrong_origin"),
)


def test_a_write_that_no_page_of_ours_sent_is_refused(world: PortalWorld, one: Visit) -> None:
    body = {"act": "consent", "consent": asked(world, uscc(one))}
    for changes, code in FOREIGN:
        status, told = one.post("/portal/sign/start", body, **changes)
        assert (status, told["code"]) == (403, code), changes
    assert one.post("/portal/sign/start", body)[0] == 200


def test_a_session_ends_when_idle_and_when_its_time_is_over(world: PortalWorld, one: Visit) -> None:
    one.go("/portal/people")
    world.clock.advance(world.settings.portal_idle_seconds - 60)
    assert "/login" not in one.go("/portal/").url
    world.clock.advance(world.settings.portal_idle_seconds + 1)
    token = one.page.evaluate("document.querySelector('meta[name=csrf]').content")
    status, told = one.post("/portal/sign/start", {"act": "consent", "consent": "c-x"}, **{"X-CSRF-Token": token})
    assert (status, told["code"]) == (401, "signed_out")
    assert one.go("/portal/").url.endswith("/portal/login")
    one.login()
    step = world.settings.portal_idle_seconds - 60
    for _ in range(int(world.settings.portal_session_seconds // step)):
        world.clock.advance(step)
        assert one.page.request.get(f"{world.url}/portal/", ignore_https_errors=True).url.endswith("/portal/")
    world.clock.advance(step)
    assert one.go("/portal/").url.endswith("/portal/login")


def test_an_authenticator_that_verified_nobody_is_refused(world: PortalWorld, one: Visit) -> None:
    consent_id = asked(world, uscc(one))
    started = start(one, consent_id)
    one.cdp.send("WebAuthn.setUserVerified", {"authenticatorId": one.authenticator, "isUserVerified": False})
    credential = one.assertion({**started["options"], "userVerification": "discouraged"})
    assert finish(one, started, credential) == (422, "passkey_user_not_verified")
    one.go(f"/portal/requests/{consent_id}/check?answer=consent")
    one.page.click("#sign")
    one.says("#sign-say", "未作任何更改")  # the browser itself refuses
    assert state(world, uscc(one), consent_id) == "requested"


def test_without_user_verification_nobody_enrols(world: PortalWorld, visit: Open) -> None:
    new = enrolled(world)
    opened = visit(verified=False)
    opened.go("/portal/enrol")
    opened.page.fill("#uscc", new["enterprise"]["uscc"])
    opened.page.fill("#code", new["code"])
    opened.page.click("main button[type=submit]")
    opened.page.click("#register")
    opened.says("#register-say", "未作任何更改")


def test_a_document_that_changed_meanwhile_is_not_taken(world: PortalWorld, one: Visit) -> None:
    """Two tabs: what the second one signs follows a history that is no more."""
    seq = one.answer(asked(world, uscc(one)))
    consent_id = one.page.locator("dd code").inner_text()
    first = start(one, consent_id, "pause")
    world.clock.advance(2)
    second = start(one, consent_id, "pause")
    assert finish(one, first, one.assertion(first["options"]))[0] == 200
    assert finish(one, second, one.assertion(second["options"])) == (409, "out_of_sequence")
    one.go(f"/portal/consents/{seq}")
    one.says(".card-head", "已暂停")


def test_a_delegate_does_what_was_allowed_and_is_named(world: PortalWorld, one: Visit, visit: Open) -> None:
    """Who decides is a person: the audit names the delegate, and a right that was not given is not there."""
    consent_id, other = asked(world, uscc(one)), asked(world, uscc(one), "joint_training")
    one.go("/portal/people")
    one.page.click("text=添加经办人")
    one.page.fill("#name", "陈刚")
    one.page.check("input[value=withdraw]")
    one.page.click("details[open] form button[type=submit]")
    code = one.page.locator(".code code").inner_text()
    delegate = visit().enrol(uscc(one), code)
    with world.db.read(SYSTEM) as session:
        delegate.user = repository.people(session, uscc(one))[-1].id
    delegate.go(f"/portal/requests/{consent_id}")
    delegate.says("main", "无权答复")
    status, told = delegate.post("/portal/sign/start", {"act": "consent", "consent": consent_id})
    assert (status, told["code"]) == (403, "right_missing")
    status, told = delegate.post("/portal/people", {"name": "x"})
    assert (status, told["code"]) == (403, "right_missing")
    seq = one.answer(consent_id)
    started = start(delegate, consent_id, "withdraw")
    give(world, delegate.user, "view")
    assert finish(delegate, started, delegate.assertion(started["options"])) == (403, "right_missing")
    give(world, delegate.user, "view", "withdraw")
    delegate.act(seq, "withdraw")  # another passkey of the same enterprise
    rows = [row for row in world.operator.audit("consent", consent_id) if row["action"] == "consent.withdraw"]
    assert [(row["actor_name"], row["institution"]) for row in rows] == [("陈刚", uscc(one))]
    one.go("/portal/people")
    one.page.locator("li", has_text="陈刚").last.locator("button").click()
    one.page.wait_for_url("**/portal/people")
    assert delegate.go("/portal/").url.endswith("/portal/login")
    assert state(world, uscc(one), other) == "requested"


def test_a_session_and_a_code_stand_for_a_passkey_where_allowed_and_it_shows(
    world: PortalWorld, visit: Open, tmp_path: Path
) -> None:
    new = enrolled(world)
    enterprise, person = new["enterprise"]["uscc"], new["person"]["id"]
    consent_id = asked(world, enterprise)

    def code(use: str) -> str:
        body = {"person": person, "use": use, "reason": "the device has no passkeys"}
        return world.operator.call("POST", f"/v1/enterprises/{enterprise}/codes", json=body)["code"]

    opened = visit()
    opened.go("/portal/login/code")
    opened.page.fill("#uscc", enterprise)
    opened.page.fill("#code", code("login"))
    opened.page.click("main button[type=submit]")
    opened.page.wait_for_url("**/portal/")
    opened.go(f"/portal/requests/{consent_id}/check?answer=consent")
    opened.says("main", "由平台代为登记")
    opened.page.fill("#code", "0000-0000-0000")
    opened.page.click("main form button[type=submit]")
    opened.says("main", "验证码不正确")
    assert state(world, enterprise, consent_id) == "requested"
    opened.go(f"/portal/requests/{consent_id}/check?answer=consent")
    opened.page.fill("#code", code("confirm"))
    opened.page.click("main form button[type=submit]")
    seq = opened.receipt()
    opened.says("main", "由平台登记")
    receipt, keys = tmp_path / "receipt.json", tmp_path / "keyring.json"
    receipt.write_bytes(opened.download("#receipt"))
    keys.write_bytes(world.keyring.to_json())
    said = CliRunner().invoke(verify_app, [str(receipt), "--keys", str(keys)])
    assert said.exit_code == 0, said.output
    assert "signed as registrar in its stead" in " ".join(said.output.split())
    document = next(e for e in world.bank.feed(seq - 1)["events"] if e["seq"] == seq)["document"]
    assert [signature["role"] for signature in document["signatures"]] == ["registrar", "platform"]
    confirmed = [row for row in world.operator.audit("enterprise_person", person) if row["action"] == "code.confirm"]
    assert len(confirmed) == 1
    opened.go(f"/portal/consents/{seq}")
    opened.page.fill("#code", code("confirm"))
    opened.page.click("button[value=withdraw]")
    opened.receipt()
    opened.says("h1", "撤回授权")
