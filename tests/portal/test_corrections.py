"""An enterprise sees what institutions say is out of date, its ten working days, and answers (R13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.portal.conftest import PortalWorld
from tests.portal.looks import SCREENS, hold_together
from tests.portal.test_disputes import give
from tests.portal.visit import Visit, on_record

Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def one(world: PortalWorld, browser: Browser) -> Iterator[Visit]:
    opened = Visit(world, browser)
    opened.uscc, opened.person = on_record(world)
    opened.sign_in(opened.person)
    yield opened
    opened.close()


def prompted(world: PortalWorld, one: Visit, item: str = "注册地址") -> dict[str, Any]:
    return world.risk.prompt_correction(one.uscc, item, "五月已搬迁，登记未变更")


def test_a_prompt_is_a_task_with_its_day_and_is_answered(world: PortalWorld, one: Visit) -> None:
    """R13: prompted, told, corrected by the enterprise itself, followed up by the institution."""
    row = prompted(world, one)
    one.go("/portal/")
    one.says("#corrections", "还有 10 个工作日")
    one.go("/portal/notices")
    one.page.click("#notices li:first-child a")
    one.says("#clock", "还有 10 个工作日")
    one.says(".said", "五月已搬迁")
    one.page.click("#send")
    one.says("[role=alert]", "请写明更正后的内容")
    one.page.fill("#answer", "已于今日办理变更登记\n<i>附受理单</i>")
    one.page.click("#send")
    one.says(".state", "已更正")
    one.says("#answer-said", "<i>附受理单</i>")
    (kept,) = [each for each in world.risk.corrections() if each["id"] == row["id"]]
    assert (kept["state"], kept["answer"]) == ("corrected", "已于今日办理变更登记\n<i>附受理单</i>")
    trail = world.operator.audit("correction", row["id"])
    assert (trail[-1]["actor_name"], trail[-1]["institution"]) == ("王敏", one.uscc)

    world.risk.follow_up_correction(row["id"], "prompted", "登记机关尚未更新")
    one.go(f"/portal/corrections/{row['id']}")
    one.says("#clock", "10 个工作日")
    one.page.fill("#answer", "登记机关已更新")
    one.page.click("#send")
    world.risk.follow_up_correction(row["id"], "closed", "已核实")
    one.page.reload()
    one.says("main", "已核实")
    assert one.page.locator("#send").count() == 0
    one.go("/portal/")
    assert one.page.locator("#corrections").count() == 0


def test_after_its_day_it_is_late_and_may_still_be_answered(world: PortalWorld, one: Visit) -> None:
    """R13: overdue."""
    row = prompted(world, one, "经营范围")
    before = world.clock.ahead
    try:
        world.clock.advance(25 * 86_400)
        one.sign_in(one.person).go("/portal/")
        one.says("#corrections", "已逾期")
        one.go(f"/portal/corrections/{row['id']}")
        one.says("#clock", "已逾期")
        one.page.fill("#answer", "已更正")
        one.page.click("#send")
        one.says(".state", "已更正")
    finally:
        world.clock.ahead = before
    assert world.operator.audit("correction", row["id"])[-1]["detail"]["late"] is True
    one.sign_in(one.person)


def test_another_enterprise_finds_none_of_it(world: PortalWorld, one: Visit, visit: Open) -> None:
    """R47."""
    row = prompted(world, one)
    _, person = on_record(world, "另一家有限公司", "李强")
    stranger = visit().sign_in(person)
    assert stranger.status(f"/portal/corrections/{row['id']}") == 404
    stranger.go("/portal/corrections")
    stranger.says(".empty", "没有需要更正的信息")
    form = {"csrf": stranger.page.get_attribute("meta[name=csrf]", "content"), "answer": "x"}
    answer = stranger.context.request.post(
        f"{world.url}/portal/corrections/{row['id']}",
        form=form,
        headers={"Origin": world.url},
        ignore_https_errors=True,
    )
    assert answer.status == 404
    assert [each["state"] for each in world.risk.corrections() if each["id"] == row["id"]] == ["prompted"]


def test_who_may_only_look_answers_nothing(world: PortalWorld, one: Visit) -> None:
    """R47."""
    row = prompted(world, one)
    rights = give(world, one.person, ["view"])
    try:
        one.go(f"/portal/corrections/{row['id']}")
        assert one.page.locator("main form").count() == 0
        status, told = one.post(f"/portal/corrections/{row['id']}")
        assert (status, told["code"]) == (403, "right_missing")
    finally:
        give(world, one.person, rights)


@pytest.mark.parametrize(("language", "size"), SCREENS)
def test_pages_hold_together(world: PortalWorld, one: Visit, language: str, size: dict[str, int]) -> None:
    if not hasattr(one, "shown"):
        one.shown = prompted(world, one, "从业人数")["id"]
    foreign = (
        "粤海精密制造有限公司", "王敏", "注册地址", "经营范围", "从业人数", "五月已搬迁，登记未变更",
        "已于今日办理变更登记", "附受理单", "登记机关已更新", "已核实", "已更正",
    )  # fmt: skip
    hold_together(one, ("/portal/", "/portal/corrections", f"/portal/corrections/{one.shown}"), language, size, foreign)
