"""An enterprise that acts by session and code asks the nodes by the platform's word, which the ledger holds (R46)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser

from api.enterprises import attempts, sessions
from api.ledger import repository as ledger_rows
from consent import node_log
from consent.evidence import NO_KEY
from consent.times import stamp
from consent.usage_question import check_entered, check_word
from tests.api.node_logs import NodeLog
from tests.api.world import FakeNode
from tests.portal.conftest import PortalWorld
from tests.portal.test_pages import CONTRAST, IDS_TWICE, SMALL, UNNAMED
from tests.portal.test_told import answering
from tests.portal.visit import Visit, asked, enrolled, on_record
from tests.support.failing import failing

Open = Callable[..., Visit]
PAGE = "/portal/usage/training"


def code(world: PortalWorld, one: Visit, use: str = "confirm") -> str:
    body = {"person": one.user, "use": use, "reason": "the device has no passkeys"}
    return world.operator.call("POST", f"/v1/enterprises/{one.uscc}/codes", json=body)["code"]


@pytest.fixture(scope="module")
def one(world: PortalWorld, browser: Browser) -> Iterator[Visit]:
    """A person signed in by code, whose enterprise consented by code to joint training; a job (`job`) has begun."""
    world.control.settings = world.control.settings.model_copy(update={"score_seconds": 2.0})
    many = pytest.MonkeyPatch()
    many.setattr(attempts, "CODES_PER_ENTERPRISE", 1000)  # more than a person types in a quarter of an hour
    new = enrolled(world)
    opened = Visit(world, browser)
    opened.page.emulate_media(reduced_motion="reduce")
    opened.uscc, opened.user = new["enterprise"]["uscc"], new["person"]["id"]
    opened.go("/portal/login/code")
    opened.page.fill("#uscc", opened.uscc)
    opened.page.fill("#code", code(world, opened, "login"))
    opened.page.click("main button[type=submit]")
    opened.page.wait_for_url("**/portal/")
    opened.consent = asked(world, opened.uscc, "joint_training")
    opened.go(f"/portal/requests/{opened.consent}/check?answer=consent")
    opened.page.fill("#code", code(world, opened))
    opened.page.click("main form button[type=submit]")
    opened.receipt()
    world.cohort()
    opened.job = world.running()
    opened.log = NodeLog(world.lab)
    opened.log.use(opened.job, opened.uscc, consent_id=opened.consent)
    opened.log.put(opened.job).raise_for_status()
    yield opened
    opened.close()
    many.undo()


def proved(one: Visit, **more: Any) -> dict[str, Any]:
    return {"uses": [one.log.told(one.uscc, one.job)], **more}


def entries(world: PortalWorld) -> list[sa.Row[Any]]:
    """What the ledger's private part keeps of questions, oldest first."""
    with world.db.owner.connect() as connection:
        query = sa.select(ledger_rows.Subject).where(ledger_rows.Subject.object_kind == "usage_question")
        return list(connection.execute(query.order_by(ledger_rows.Subject.position)))


def ask(one: Visit, typed: str) -> None:
    one.go(PAGE)
    one.page.fill("#code", typed)
    one.page.click("#ask")


def test_the_platform_vouches_and_the_ledger_holds_the_question_before_it_is_put(
    world: PortalWorld, one: Visit, tmp_path: Path
) -> None:
    """R46: told in plain words, with proofs; the nodes are given what they must check (0030)."""
    page = one.go(PAGE)
    for text in ("由平台为您作证", "永久登记在平台账本", "节点不接受平台作证", "限定每日次数"):
        one.says("main", text)
    assert page.locator("[data-passkey]").count() == 0
    before = len(entries(world))
    earlier = {"question_id": "q-00000000000000aa", "at": "2026-05-01T08:00:00Z", "answered": True}
    no = {"code": "questions_spent", "message": "enough for today", "message_zh": "已达所有方上限"}
    with answering("usage", {world.bank: no, world.lab: proved(one, asked=[earlier])}) as put:
        ask(one, code(world, one))
        one.says("#told", "Bank A")
    for text in ("用途：联合建模训练", "lab-node", "节点 bank-node 未予告知", "已达所有方上限", "q-00000000000000aa",
                 "2026年5月1日 16:00", "如有并非贵企业提出的"):  # fmt: skip
        one.says("#told", text)

    [*_, kept] = entries(world)
    assert len(entries(world)) == before + 1
    one.says("#told", f"第 {kept.position} 条")
    document = put[0]
    assert json.loads(kept.document) == document
    assert check_word(document, world.key.public)["enterprise"] == one.uscc
    with world.db.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM node_questions").scalar() == 0
    confirmed = [row for row in world.operator.audit("enterprise_person", one.user) if row["action"] == "code.confirm"]
    assert confirmed[-1]["detail"]["checked"]["session"]  # what the evidence refers to

    [file] = node_log.load(one.download("#told-file"))
    found = node_log.check(file, world.keyring, platform_log="creditlab")
    assert (found.by.node, found.by.job_id, found.use["object"]["id"]) == ("lab-node", one.job, one.uscc)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_page_holds_together_on_a_phone(world: PortalWorld, one: Visit, language: str) -> None:
    earlier = {"question_id": "q-00000000000000aa", "at": "2026-05-01T08:00:00Z", "answered": False}
    no = {"code": "own_key_needed", "message": "this enterprise has signed with a key", "message_zh": "请用密钥询问"}
    one.go(f"/portal/login?lang={language}")
    one.go(PAGE)
    look(one, f"ask-{language}", language)
    with answering("usage", {world.bank: no, world.lab: proved(one, asked=[earlier])}):
        ask(one, code(world, one))
        one.says("#told", "q-00000000000000aa")
    look(one, f"told-{language}", language)
    one.go("/portal/login?lang=zh")
    assert one.faults == []


def look(one: Visit, name: str, language: str) -> None:
    assert one.page.locator("h1").count() == 1
    for found in (UNNAMED, IDS_TWICE, CONTRAST, SMALL):
        assert one.page.evaluate(found) == []
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    if language == "en":
        said = re.sub("粤海精密制造有限公司|王敏", "", one.page.inner_text("main"))
        assert re.findall("[\u4e00-\u9fff]", said) == []
    if folder := os.environ.get("CREDITLAB_SCREENSHOTS"):
        one.page.screenshot(path=Path(folder) / f"training-{name}.png", full_page=True)


def test_nodes_that_do_not_answer_are_no_sign_of_no_use(world: PortalWorld, one: Visit) -> None:
    no = {"code": "question_not_entered", "message": "no", "message_zh": "未登记于账本"}
    with answering("usage", {world.lab: no}):
        ask(one, code(world, one))
        one.says("#told", "未登记于账本")
    one.says("#told", "bank-node")
    assert "没有联合训练用过" not in one.page.inner_text("main")
    with answering("usage", {world.bank: {"uses": []}, world.lab: {"uses": []}}):
        ask(one, code(world, one))
        one.says("#told", "没有联合训练用过")


def test_a_code_is_good_for_one_question_of_its_own_person(world: PortalWorld, one: Visit) -> None:
    """Every question is entered once, none is put without, and a refused one leaves nothing."""
    typed = code(world, one)
    with answering("usage", {world.bank: {"uses": []}, world.lab: {"uses": []}}):
        ask(one, typed)
        one.says("#told", "没有联合训练用过")
    before = len(entries(world))
    other = enrolled(world, "另一家有限公司", "李强")
    stranger = Visit.__new__(Visit)
    stranger.uscc, stranger.user = other["enterprise"]["uscc"], other["person"]["id"]
    for wrong in (typed, code(world, stranger), code(world, one, "login"), "0000-0000-0000"):
        ask(one, wrong)
        one.says("main", "验证码不正确")
    assert len(entries(world)) == before
    assert world.bank.work() == world.lab.work() == []


def test_where_the_operator_does_not_allow_it_nothing_is_asked(
    world: PortalWorld, one: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, before = code(world, one), len(entries(world))
    one.go(PAGE)
    closed = world.control.settings.model_copy(update={"portal_session_code": False})
    monkeypatch.setattr(world.control, "settings", closed)
    one.page.fill("#code", typed)
    one.page.click("#ask")
    one.says("main", "平台未启用以验证码代替通行密钥")
    one.go(PAGE)
    one.says("main", "柜台查询")
    assert one.page.locator("#ask").count() == 0
    assert len(entries(world)) == before
    assert world.bank.work() == []


@pytest.mark.parametrize("table", ["ledger_entry", "ledger_subject"])
def test_without_its_entry_there_is_no_question_and_the_code_stays_good(
    world: PortalWorld, one: Visit, table: str
) -> None:
    """One transaction: code, signature and entry stand or fall together."""
    typed, before = code(world, one), len(entries(world))
    with failing(world.db.owner, table):
        ask(one, typed)
        one.page.wait_for_load_state()
        assert one.page.locator("#told").count() == 0
    assert len(entries(world)) == before
    assert world.bank.work() == world.lab.work() == []
    with answering("usage", {world.bank: {"uses": []}, world.lab: {"uses": []}}):
        ask(one, typed)
        one.says("#told", "没有联合训练用过")


def test_the_record_that_nodes_are_given_passes_their_check(
    world: PortalWorld, one: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[dict[str, Any]] = []
    wait_for = FakeNode.wait_for

    def keeping(node: FakeNode, kind: str, seconds: float = 5) -> dict[str, Any]:
        taken.append(wait_for(node, kind, seconds))
        return taken[-1]

    monkeypatch.setattr(FakeNode, "wait_for", keeping)
    with answering("usage", {world.bank: {"uses": []}, world.lab: {"uses": []}}):
        ask(one, code(world, one))
        one.says("#told", "没有联合训练用过")
    now = stamp(world.db.clock())
    places = {
        check_entered(item["question"], item["record"], {NO_KEY}, world.keyring, now, "creditlab") for item in taken
    }
    assert (len(taken), places) == (2, {entries(world)[-1].position})


def test_no_other_session_asks_with_it(world: PortalWorld, one: Visit, visit: Open) -> None:
    """Another enterprise's person gets neither this one's answers by its code, nor anything without a session."""
    typed, before = code(world, one), len(entries(world))
    _, person = on_record(world, "他人有限公司", "赵五")
    other = visit().sign_in(person)
    other.go(PAGE)
    csrf = other.page.evaluate("document.querySelector('meta[name=csrf]').content")
    cookies = {found["name"]: found["value"] for found in other.context.cookies()}
    sent = {"csrf": csrf, "code": typed}
    with httpx.Client(verify=False) as http:
        answer = http.post(world.url + PAGE + "/code", data=sent, cookies=cookies, headers={"origin": world.url})
        assert answer.status_code in (400, 403, 409, 422) and "验证码不正确" in answer.text
        for without in ({}, {sessions.COOKIE: "x"}):
            answer = http.post(world.url + PAGE + "/code", data=sent, cookies=without, headers={"origin": world.url})
            assert answer.status_code in (303, 401)
        answer = http.post(world.url + PAGE + "/code", data={"code": typed}, cookies=cookies,
                           headers={"origin": world.url})  # fmt: skip
        assert answer.status_code == 403
    assert len(entries(world)) == before
