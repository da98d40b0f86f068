"""A person's own consent in a real browser: named by the owner, asked, given, withdrawn (PIPL §13, §15, §29, R44)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.verify_cli import app as verify_app
from consent.canonical import canonical
from consent.receipt import verify
from tests.api.test_jobs import refused
from tests.portal.conftest import PortalWorld
from tests.portal.test_pages import CONTRAST, IDS_TWICE, SMALL, UNNAMED
from tests.portal.visit import DESKTOP, Visit, asked, enrolled

Open = Callable[..., Visit]
ROLES = ["legal_representative"]
DATA = {"data": {"tax": "*", "key_persons": "*"}}


def person(one: Visit, name: str, role: str) -> str:
    """Named by the owner on the people page; returns the code that is shown once."""
    one.go("/portal/people")
    assert one.page.input_value("#role") == role  # the form stands open for the role that was asked for
    one.page.fill("#consenting-name", name)
    one.page.click("form[action='/portal/people/consenting'] button")
    return one.page.inner_text(".code code")


def enrol(one: Visit, uscc: str, code: str) -> Visit:
    one.go("/portal/enrol")
    one.page.fill("#uscc", uscc)
    one.page.fill("#code", code)
    one.page.click("main button[type=submit]")
    one.page.click("#register")
    one.page.wait_for_url("**/portal/own")
    return one


def sign(one: Visit, answer: str) -> int:
    one.page.check(f"input[value={answer}]")
    one.page.click("main button[type=submit]")
    one.page.click("#sign")
    one.page.wait_for_url("**/portal/own/receipts/*")
    return int(one.page.url.rpartition("/")[2])


def fits(one: Visit) -> None:
    """Nothing runs out of the page to the right; contrast AA, named controls, unique ids, nothing too small to hit."""
    assert [one.page.evaluate(script) for script in (CONTRAST, UNNAMED, IDS_TWICE, SMALL)] == [[]] * 4
    assert one.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if folder := os.environ.get("CREDITLAB_SCREENSHOTS"):
        name = one.page.url.partition("/portal/")[2].replace("/", "-")[:24] or "tasks"
        width = one.page.viewport_size["width"] if one.page.viewport_size else 0
        one.page.screenshot(path=Path(folder) / f"own-{width}-{name}.png", full_page=True)


@pytest.mark.parametrize(("size", "language"), [(None, None), (DESKTOP, "en")])
def test_asked_given_scored_withdrawn(
    world: PortalWorld, visit: Open, tmp_path: Path, size: dict[str, int] | None, language: str | None
) -> None:
    """The legal representative decides alone: what is asked, by whom and for what; a receipt; one act to withdraw."""
    new = enrolled(world)
    uscc = new["enterprise"]["uscc"]
    consent_id = asked(world, uscc, roles=ROLES, terms=DATA)
    job = world.succeeded()
    world.released(job)
    owner = visit().enrol(uscc, new["code"])
    owner.go(f"/portal/requests/{consent_id}")
    owner.says("main", "还需个人单独同意")
    owner.says("main", "尚未答复")
    fits(owner)
    owner.answer(consent_id)
    code = person(owner, "李代表", ROLES[0])
    fits(owner)
    assert refused(world.risk.score, uscc, "loan", job_id=job).code == "person_consent_missing"

    options = {} if size is None else {"size": size}
    one = enrol(visit(**options, language=language), uscc, code)
    one.says("main", "Bank A")
    one.says("main", "法定代表人" if language is None else "Legal representative")
    assert one.page.locator(".tabs li").count() == 1
    fits(one)
    one.page.click(".card a.btn")
    one.says(".notice", "个人单独同意" if language is None else "your own, separate consent")
    shown = one.page.inner_text(".notice")
    fits(one)
    one.page.click("main button[type=submit]")
    one.says("[role=alert]", "请选择" if language is None else "Choose")
    one.page.check("input[value=person_consent]")
    one.page.click("main button[type=submit]")
    fits(one)
    one.page.click("#sign")
    one.page.wait_for_url("**/portal/own/receipts/*")
    fits(one)
    raw = one.download("#receipt")
    held = json.loads(raw)
    view = verify(canonical(held["receipt"]), world.keyring, proof=held["proof"])
    assert (view.transition, view.party, view.evidence) == ("person_grant", "person", "passkey")
    assert view.document["body"]["consent_id"] in shown  # the notice that was shown is the one that was signed
    assert "李代表" not in raw.decode()
    receipt, keys = tmp_path / "receipt.json", tmp_path / "keyring.json"
    receipt.write_bytes(raw)
    keys.write_bytes(world.keyring.to_json())
    said = CliRunner().invoke(verify_app, [str(receipt), "--keys", str(keys)])
    assert said.exit_code == 0, said.output
    assert "本人" in said.output

    with ThreadPoolExecutor() as pool:
        score = pool.submit(world.risk.score, uscc, "loan application", job_id=job)
        world.bank.score_once()
        assert score.result(10)["consent_id"] == consent_id
    one.go("/portal/own")
    fits(one)
    one.page.click("[id^=withdraw-]:not(.say)")
    one.page.wait_for_url("**/portal/own/receipts/*")
    assert refused(world.risk.score, uscc, "loan", job_id=job).code == "person_consent_withdrawn"
    one.go("/portal/own")
    one.says("main", "已撤回" if language is None else "Withdrawn")
    owner.go("/portal/notices")
    owner.says("main", "相关个人撤回了单独同意")
    assert not [fault for fault in (*one.faults, *owner.faults) if "404" not in fault]
    assert all(address.startswith(world.url) for address in one.requested)


def test_a_refusal_is_kept_and_may_be_thought_over(world: PortalWorld, visit: Open) -> None:
    new = enrolled(world)
    uscc = new["enterprise"]["uscc"]
    asked(world, uscc, roles=ROLES, terms=DATA)
    owner = visit().enrol(uscc, new["code"])
    one = enrol(visit(), uscc, person(owner, "李代表", ROLES[0]))
    one.page.click(".card a.btn")
    sign(one, "person_refusal")
    one.says("h1", "本人不同意")
    one.go("/portal/own")
    one.says("main", "重新考虑")
    one.page.click("text=重新考虑")
    sign(one, "person_consent")
    one.says("h1", "本人同意")
