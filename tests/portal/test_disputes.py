"""An enterprise disputes and complains by itself, sees clock and answer, and its notices (征信业管理条例 §25, §26)."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

import api
from api.db import SYSTEM
from api.disputes.states import DISPUTE
from api.enterprises import repository
from api.portal import words
from api.usage import repository as usage
from consent.purposes import Mode, Purpose
from tests.portal.conftest import PortalWorld
from tests.portal.test_pages import CONTRAST, IDS_TWICE, SMALL, UNNAMED
from tests.portal.visit import DESKTOP, PHONE, Visit, asked, enrolled

Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def one(world: PortalWorld, browser: Browser) -> Iterator[Visit]:
    """A signed-in person of an enterprise with one consent (`seq`) and one use of its data (`use`)."""
    new = enrolled(world)
    opened = Visit(world, browser)
    opened.uscc = new["enterprise"]["uscc"]
    opened.person = new["person"]["id"]
    opened.enrol(opened.uscc, new["code"])
    opened.consent = asked(world, opened.uscc)
    opened.seq = opened.answer(opened.consent)
    opened.use = used(world, opened.uscc)
    yield opened
    opened.close()


def used(world: PortalWorld, uscc: str) -> str:
    with world.db.unit(SYSTEM) as unit:
        return usage.record(
            unit, account_id="a-1", user="risk", institution="bank-a", reason="loan 17", use=Mode.SCORING,
            purpose=Purpose.UNDERWRITING_SCORE, object_kind="enterprise", object_id=uscc, data={"tax": "*"},
            consent_id="c-x",
        ).id  # fmt: skip


def opened(one: Visit, path: str, kind: str = "dispute", text: str = "纳税等级有误，应为 A 级") -> str:
    """Fills in the form; returns the number of the dispute."""
    one.go(path)
    one.page.check(f"input[value={kind}]")
    one.page.fill("#text", text)
    one.page.click("main button[type=submit]")
    one.page.wait_for_url(re.compile(r"/portal/disputes/d-[0-9a-f]{12}$"))
    return one.page.url.rpartition("/")[2]


def row_of(world: PortalWorld, dispute_id: str) -> dict:
    return world.operator.call("GET", f"/v1/disputes/{dispute_id}")


def test_a_dispute_of_a_consent_runs_its_clock_and_ends_with_an_accepted_answer(world: PortalWorld, one: Visit) -> None:
    """§25: 20 days; the institution that the consent names answers, and the enterprise has the last word."""
    one.go(f"/portal/consents/{one.seq}")
    one.page.click("main a[href*='/disputes/new']")
    assert one.page.url.endswith(f"/portal/disputes/new?consent={one.seq}")
    dispute_id = opened(one, f"/portal/disputes/new?consent={one.seq}")
    one.says("#clock", "还有 20 天")
    one.says("main", "Bank A")
    row = row_of(world, dispute_id)
    assert (row["consent_id"], row["institution"], row["enterprise"]) == (one.consent, "bank-a", one.uscc)
    assert row["opened_by"] == "王敏"

    world.risk.call("POST", f"/v1/disputes/{dispute_id}/answer", json={"answer": "已更正为 A 级"})
    one.go("/portal/notices")
    one.says("#notices li:first-child", "您的异议已得到答复")
    one.page.click("#notices li:first-child a")
    one.says("#answer", "已更正为 A 级")
    one.page.click("#again")
    one.says("[role=alert]", "请写明答复为何未解决问题")
    one.page.fill("#reason", "只更正了一处")
    one.page.click("#again")
    one.says("#clock", "还有 20 天")
    world.risk.call("POST", f"/v1/disputes/{dispute_id}/answer", json={"answer": "两处均已更正"})
    one.go(f"/portal/disputes/{dispute_id}")
    one.page.click("#accept")
    one.says(".state", "已了结")
    assert one.page.locator("section.acts").count() == 0
    assert row_of(world, dispute_id)["state"] == "closed"


def test_a_complaint_of_one_use_is_the_operators_to_answer_within_30_days(world: PortalWorld, one: Visit) -> None:
    """§26."""
    one.go("/portal/usage")
    one.page.click("#uses li:first-child a[href*='/disputes/new']")
    assert one.page.url.endswith(f"use={one.use}")
    dispute_id = opened(one, f"/portal/disputes/new?use={one.use}", "complaint", "未经告知\n即使用")
    one.says("#clock", "还有 30 天")
    row = row_of(world, dispute_id)
    assert (row["kind"], row["usage_id"], row["institution"]) == ("complaint", one.use, "bank-a")
    assert row["text"] == "未经告知\n即使用"
    one.page.click("#back")
    one.says(".state", "已撤销")
    assert row_of(world, dispute_id)["state"] == "withdrawn"


def test_a_late_answer_is_called_late(world: PortalWorld, one: Visit) -> None:
    dispute_id = opened(one, "/portal/disputes/new", "dispute", "关于平台")
    with world.db.unit(SYSTEM) as unit:
        from api.disputes.repository import locked

        row = locked(unit.session, dispute_id)
        assert row is not None
        row.due_at = row.opened_at
        unit.session.flush()
        unit.record("dispute.due", row, "for the test")
    one.go("/portal/disputes")
    one.says("main", "答复已逾期")


def test_what_is_not_said_is_asked_for_and_nothing_is_lost(world: PortalWorld, one: Visit) -> None:
    before = len(world.operator.call("GET", "/v1/disputes", params={"enterprise": one.uscc, "limit": 500})["items"])
    one.go("/portal/disputes/new")
    one.page.fill("#text", "说明在此")
    one.page.click("main button[type=submit]")
    one.says("[role=alert]", "请选择异议或投诉")
    assert one.page.input_value("#text") == "说明在此"
    one.page.check("input[value=dispute]")
    one.page.fill("#text", "   ")
    one.page.click("main button[type=submit]")
    one.says("[role=alert]", "请写明内容")
    assert one.page.is_checked("input[value=dispute]")
    after = world.operator.call("GET", "/v1/disputes", params={"enterprise": one.uscc, "limit": 500})["items"]
    assert len(after) == before


def test_what_is_written_is_shown_as_text(one: Visit) -> None:
    opened(one, "/portal/disputes/new", "dispute", "<script>alert(1)</script><b>x</b>")
    one.says(".said", "<script>alert(1)</script><b>x</b>")
    assert one.page.locator(".said script, .said b").count() == 0


def test_another_enterprise_finds_none_of_it(world: PortalWorld, one: Visit, visit: Open) -> None:
    """R47."""
    dispute_id = opened(one, "/portal/disputes/new", "dispute", "关于平台")
    new = enrolled(world, "另一家有限公司", "李强")
    stranger = visit().enrol(new["enterprise"]["uscc"], new["code"])
    for path in (
        f"/portal/disputes/{dispute_id}", f"/portal/disputes/new?use={one.use}",
        f"/portal/disputes/new?consent={one.seq}",
    ):  # fmt: skip
        assert stranger.go(path).locator("h1").inner_text() == "没有找到"
    stranger.go("/portal/disputes")
    stranger.says(".empty", "尚无异议或投诉")
    stranger.go("/portal/notices")
    stranger.says(".empty", "尚无通知")
    for path in (f"/portal/disputes/{dispute_id}/back", f"/portal/disputes/{dispute_id}/accept"):
        assert stranger.post(path)[0] == 404
    assert row_of(world, dispute_id)["state"] == "open"


def test_who_may_only_look_opens_and_ends_nothing(world: PortalWorld, one: Visit) -> None:
    """R47: a dispute speaks for the enterprise."""
    dispute_id = opened(one, "/portal/disputes/new", "dispute", "关于平台")
    rights = give(world, one.person, ["view"])
    try:
        for path in ("/portal/disputes", "/portal/disputes/new", f"/portal/disputes/{dispute_id}"):
            one.go(path)
            assert one.page.locator("main form, #new").count() == 0, path
        assert one.post(f"/portal/disputes/{dispute_id}/back") == (403, one.post("/portal/disputes")[1])
    finally:
        give(world, one.person, rights)
    assert row_of(world, dispute_id)["state"] == "open"


def give(world: PortalWorld, person_id: str, rights: list[str]) -> list[str]:
    with world.db.unit(SYSTEM) as unit:
        person = repository.person(unit.session, person_id)
        assert person is not None
        before, person.rights = list(person.rights), rights
        unit.session.flush()
        unit.record("person.rights", person, "changed for the test")
        return before


def test_a_request_and_what_became_of_it_are_notices(world: PortalWorld, one: Visit) -> None:
    """R14: also that the bank took it back."""
    consent_id = asked(world, one.uscc, "report_query")
    one.go("/portal/notices")
    one.says("#notices li:first-child", "请求使用贵企业的数据")
    assert one.page.get_attribute("#notices li:first-child a", "href") == f"/portal/requests/{consent_id}"
    world.risk.cancel_consent_request(consent_id, "asked by mistake")
    one.go("/portal/notices")
    one.says("#notices li:first-child", "机构取消了一项尚未答复的请求")
    one.go(f"/portal/requests/{consent_id}")
    one.says("main", "已由机构取消")


def test_every_notice_that_the_platform_gives_has_words() -> None:
    kinds = set()
    for path in Path(api.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "inform":
                kind = node.args[2]
                if isinstance(kind, ast.JoinedStr):
                    kind = kind.values[0]
                    if isinstance(kind, ast.FormattedValue):
                        continue  # disputes: below
                assert isinstance(kind, ast.Constant), f"{path}: the kind of a notice is written out"
                kinds.add(kind.value)
    kinds |= {f"{kind}_{state}" for kind in words.KINDS for state in DISPUTE.states}
    assert "request_cancelled" in kinds
    assert [kind for kind in sorted(kinds) if words.notice(kind) == words.NOTICES[""]] == []
    assert set(words.DISPUTES) == DISPUTE.states


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_hold_together(one: Visit, language: str, size: dict[str, int]) -> None:
    dispute_id = opened(one, f"/portal/disputes/new?consent={one.seq}")
    one.world.risk.call("POST", f"/v1/disputes/{dispute_id}/answer", json={"answer": "已核实，无误"})
    one.page.set_viewport_size(size)
    one.go(f"/portal/login?lang={language}")
    for path in (
        "/portal/disputes", "/portal/disputes/new", f"/portal/disputes/new?consent={one.seq}",
        f"/portal/disputes/new?use={one.use}", f"/portal/disputes/{dispute_id}", "/portal/notices",
        "/portal/usage/training", f"/portal/consents/{one.seq}", "/portal/usage",
    ):  # fmt: skip
        page = one.go(path)
        assert page.locator("h1").count() == 1, path
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
        for found in (UNNAMED, IDS_TWICE, CONTRAST, SMALL):
            assert page.evaluate(found) == [], path
        if language == "en":
            expect(page.locator("main")).not_to_contain_text(re.compile(r"异议|投诉|您"))
    one.page.set_viewport_size(PHONE)
    one.go("/portal/login?lang=zh")
    assert [text for text in one.faults if "Content Security Policy" in text] == []
