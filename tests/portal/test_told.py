"""What nodes tell an enterprise in the portal: its uses in joint training, what a withdrawal meant (R14, R46, R51)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser

from consent import node_log
from consent.signed import verify
from tests.api.node_logs import NodeLog
from tests.api.world import FakeNode
from tests.portal.conftest import PortalWorld
from tests.portal.test_pages import CONTRAST, IDS_TWICE, SMALL, UNNAMED
from tests.portal.visit import Visit, asked, enrolled

Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def one(world: PortalWorld, browser: Browser) -> Iterator[Visit]:
    """A signed-in person of an enterprise that consents to joint training, and a finished job (`job`)."""
    world.control.settings = world.control.settings.model_copy(update={"score_seconds": 2.0})
    new = enrolled(world)
    opened = Visit(world, browser)
    opened.page.emulate_media(reduced_motion="reduce")  # colours are what they will be
    opened.uscc = new["enterprise"]["uscc"]
    opened.enrol(opened.uscc, new["code"])
    opened.consent = asked(world, opened.uscc, "joint_training")
    opened.seq = opened.answer(opened.consent)
    world.cohort()
    opened.job = world.running()
    opened.log = NodeLog(world.lab)  # the lab's node proves, the bank's does not
    opened.log.use(opened.job, opened.uscc, consent_id=opened.consent)
    opened.log.put(opened.job).raise_for_status()
    world.lab.report(opened.job).raise_for_status()
    for node in (world.bank, world.lab):
        node.state(opened.job, "succeeded")
    opened.release = world.released(opened.job)
    yield opened
    opened.close()


@contextmanager
def answering(kind: str, answers: dict[FakeNode, dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Each node answers the next question of a kind meanwhile; gives the questions."""
    asked: list[dict[str, Any]] = []

    def tell(node: FakeNode, told: dict[str, Any]) -> None:
        item = node.wait_for(kind)
        asked.append(item["question"])
        name = item["question"]["body"]["question_id"]
        node.http.post(f"/v1/node/{kind}/{name}", json=told).raise_for_status()

    threads = [threading.Thread(target=tell, args=pair) for pair in answers.items()]
    for thread in threads:
        thread.start()
    yield asked
    for thread in threads:
        thread.join(10)


def use(one: Visit, **changes: Any) -> dict[str, Any]:
    return {
        "at": "2026-05-01T08:00:00Z", "recipient": "bank-a", "job_id": one.job, "consent_id": one.consent,
        "data": {"tax": "*"}, **changes,
    }  # fmt: skip


def proved(one: Visit) -> dict[str, Any]:
    return one.log.told(one.uscc, one.job)


def test_the_nodes_answer_a_question_that_the_passkey_signed(world: PortalWorld, one: Visit) -> None:
    """R46: told in plain words, and to take away with proofs; the platform keeps nothing of it (R51)."""
    one.go("/portal/usage/training")
    with answering("usage", {world.bank: {"uses": [use(one)]}, world.lab: {"uses": [proved(one)]}}) as questions:
        one.page.click("#ask")
        one.says("#told", "Bank A")
    one.says("#told", "用途：联合建模训练")
    one.says("#told", "bank-node、lab-node")
    for question in questions:
        body = verify(question, "enterprise")
        assert (body["enterprise"], body["evidence"]["kind"]) == (one.uscc, "passkey")
    one.says("#told", "部分节点仅有陈述")
    [file] = node_log.load(one.download("#told-file"))
    found = node_log.check(file, world.keyring, platform_log="creditlab")
    assert (found.by.node, found.by.job_id, found.use["object"]["id"]) == ("lab-node", one.job, one.uscc)
    with world.db.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM node_questions").scalar() == 0
    for found in (UNNAMED, IDS_TWICE, CONTRAST, SMALL):
        assert one.page.evaluate(found) == []
    assert one.faults == []


def test_what_a_node_makes_up_is_refused_and_not_shown(world: PortalWorld, one: Visit) -> None:
    one.go("/portal/usage/training")
    evil = use(one, data={"tax": ["<img src=x onerror=alert(1)>"]})
    with answering("usage", {world.bank: {"uses": [evil]}, world.lab: {"uses": []}}):
        one.page.click("#ask")
        one.says("#ask-say", "content.data")
    assert one.page.locator("#told img").count() == 0
    assert one.page.locator("#told").inner_text() == ""


def test_a_node_that_is_silent_is_named_and_one_that_refuses_gives_its_reason(world: PortalWorld, one: Visit) -> None:
    one.go("/portal/usage/training")
    with answering("usage", {world.lab: {"uses": [proved(one)]}}):
        one.page.click("#ask")
        one.says("#told [role=alert]", "以下节点未及时答复，其记录未包括在内：bank-node")
    no = {"code": "not_the_enterprise", "message": "no", "message_zh": "只告知签署过授权的密钥"}
    with answering("usage", {world.bank: no, world.lab: {"uses": [proved(one)]}}):
        one.page.click("#ask")
        one.says("#told [role=alert]", "节点 bank-node 未予告知，其记录未包括在内：只告知签署过授权的密钥")
    one.says("#told", "Bank A")  # the other node's answer is not hidden


def test_what_was_signed_for_a_question_changes_no_consent_and_the_other_way(world: PortalWorld, one: Visit) -> None:
    one.go("/portal/usage/training")
    started = one.post("/portal/usage/training/start")[1]
    credential = one.assertion(started["options"])
    told = one.post("/portal/sign/finish", {"ceremony": started["ceremony"], "credential": credential})
    assert (told[0], told[1]["code"]) == (422, "act_unknown")
    started = one.post("/portal/sign/start", {"act": "pause", "consent": one.consent})[1]
    credential = one.assertion(started["options"])
    told = one.post("/portal/usage/training/finish", {"ceremony": started["ceremony"], "credential": credential})
    assert (told[0], told[1]["code"]) == (422, "act_unknown")
    assert world.operator.call("GET", "/v1/consents", params={"enterprise": one.uscc})["items"][0]["state"] == "active"


def test_what_a_withdrawal_meant_is_told_in_plain_words_and_without_anybody_else(
    world: PortalWorld, one: Visit
) -> None:
    """R14, R44, PIPL §15: which models it left and what became of them; no share, no other enterprise, no project."""
    page = one.go(f"/portal/consents/{one.seq}")
    assert page.locator("#impact").count() == 0
    status = one.page.request.get(f"{world.url}/portal/consents/{one.seq}/impact", ignore_https_errors=True).status
    assert status == 409
    one.act(one.seq, "withdraw")
    one.go(f"/portal/consents/{one.seq}")
    with answering("impact", {world.bank: {"job_ids": [one.job]}, world.lab: {"job_ids": [one.job]}}):
        one.page.click("#impact")
        one.says("#models", "仍在使用。撤回的企业达到一定比例时")
    one.says("#models", one.job)
    one.says("main", "Bank A")
    said = one.page.inner_text("main")
    assert "sme" not in said and "%" not in said and "E0" not in said
    world.operator.call("POST", f"/v1/releases/{one.release}/recall", json={"reason": "unsound"})
    with answering("impact", {world.bank: {"job_ids": [one.job]}, world.lab: {"job_ids": [one.job]}}):
        one.go(f"/portal/consents/{one.seq}/impact?lang=en")
        one.says("#models", "Recalled: it is used no more.")
    for found in (UNNAMED, IDS_TWICE, CONTRAST, SMALL):
        assert one.page.evaluate(found) == []
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    one.go("/portal/login?lang=zh")


def test_nodes_that_do_not_answer_leave_the_withdrawal_as_it_is(world: PortalWorld, one: Visit, visit: Open) -> None:
    one.go(f"/portal/consents/{one.seq}/impact")
    one.says("[role=alert]", "您的撤回不受影响")
    new = enrolled(world, "另一家有限公司", "李强")
    stranger = visit().enrol(new["enterprise"]["uscc"], new["code"])
    assert stranger.go(f"/portal/consents/{one.seq}/impact").locator("h1").inner_text() == "没有找到"
