"""From enrolment to withdrawal in a real browser: the whole way of an enterprise (R14, R19, R20, PIPL §15)."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.client import LabError
from api.db import SYSTEM
from api.enterprises import repository
from api.verify_cli import app as verify_app
from consent.canonical import canonical
from consent.receipt import verify
from tests.portal.conftest import PortalWorld
from tests.portal.visit import Visit, asked, enrolled

Open = Callable[..., Visit]


def test_enrol_grant_receipt_withdraw(world: PortalWorld, visit: Open, tmp_path: Path) -> None:
    """Enrol → sign in → grant → receipt checked offline → scored → withdraw → the next score is refused."""
    new = enrolled(world)
    uscc = new["enterprise"]["uscc"]
    consent_id = asked(world, uscc)
    job = world.succeeded()
    world.released(job)

    one = visit().enrol(uscc, new["code"]).logout().login()
    one.says("main", "Bank A")
    one.says("main", "融资信用评分")
    seq = one.answer(consent_id)
    one.says("h1", "同意授权")
    raw = one.download("#receipt")

    held = json.loads(raw)
    view = verify(canonical(held["receipt"]), world.keyring, proof=held["proof"])
    assert view.proven is not None
    assert (view.transition, view.consent_id, view.enterprise) == ("grant", consent_id, uscc)
    assert view.evidence == "passkey"
    receipt, keys, trust = tmp_path / "receipt.json", tmp_path / "keyring.json", tmp_path / "first.pub"
    receipt.write_bytes(raw)
    keys.write_bytes(world.keyring.to_json())
    trust.write_text(world.keyring.first.b64)
    said = CliRunner().invoke(verify_app, [str(receipt), "--keys", str(keys), "--trust", str(trust)])
    assert said.exit_code == 0, said.output
    assert "通行密钥" in said.output

    with ThreadPoolExecutor() as pool:
        answer = pool.submit(world.risk.score, uscc, "loan application", job_id=job)
        world.bank.score_once()
        assert answer.result(10)["consent_id"] == consent_id
    one.go("/portal/usage")
    one.says("main", "Bank A")

    withdrawn = one.act(seq, "withdraw")
    one.says("h1", "撤回授权")
    held = json.loads(one.download("#receipt"))
    assert verify(canonical(held["receipt"]), world.keyring, proof=held["proof"]).transition == "withdraw"
    with pytest.raises(LabError) as refused:
        world.risk.score(uscc, "second look", job_id=job)
    assert refused.value.code == "consent_withdrawn"
    assert withdrawn > seq
    assert not one.faults
    assert all(address.startswith(world.url) for address in one.requested)


def test_withdrawing_takes_no_more_steps_than_giving_and_no_right_to_give(world: PortalWorld, visit: Open) -> None:
    """PIPL §15: counted in the browser, from the page that lists them; a delegate who may only withdraw can."""
    new = enrolled(world)
    one = visit().enrol(new["enterprise"]["uscc"], new["code"])
    asked(world, new["enterprise"]["uscc"])
    steps = {"give": 0, "withdraw": 0}

    def press(what: str, selector: str) -> None:
        one.page.click(selector)
        steps[what] += 1

    one.go("/portal/")
    press("give", ".card a.btn")
    press("give", "input[value=consent]")
    press("give", "main button[type=submit]")
    press("give", "#sign")
    one.receipt()
    with world.db.unit(SYSTEM) as unit:
        person = repository.person(unit.session, new["person"]["id"])
        assert person is not None
        person.rights = ["view", "withdraw"]
        unit.session.flush()
        unit.record("person.rights", person, "changed for the test")
    one.go("/portal/consents")
    press("withdraw", ".card a.btn")
    press("withdraw", "#withdraw")
    one.receipt()
    one.says("h1", "撤回授权")
    assert steps["withdraw"] <= steps["give"]


def test_refusing_leaves_every_other_page_and_act_as_it_was(world: PortalWorld, visit: Open) -> None:
    """PIPL §16: the refusal is said to cost nothing before it is made, and it costs nothing after."""
    new = enrolled(world)
    uscc = new["enterprise"]["uscc"]
    one = visit().enrol(uscc, new["code"])
    kept = one.answer(asked(world, uscc))
    refused = asked(world, uscc, "joint_training")
    one.go(f"/portal/requests/{refused}")
    one.says("main .free", "拒绝不产生任何费用，也不影响您使用平台的其他服务")
    one.answer(refused, "refusal")
    for path in ("/portal/", "/portal/consents", "/portal/usage", "/portal/disputes", "/portal/notices"):
        assert one.go(path).locator("main h1").count() == 1
        assert one.page.locator("[role=alert]").count() == 0
    one.go(f"/portal/consents/{kept}")
    one.says(".card-head .state", "有效")
    asked(world, uscc, "report_query")
    one.go("/portal/")
    one.says("main", "信用报告查询")
