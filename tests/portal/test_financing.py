"""An enterprise finds a product, applies, follows the deadlines, talks to the institution and takes it back (R10–R11,
R21, R23, R25, R33): on a phone, by the same services as REST."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from playwright.sync_api import Browser

from api.applications.states import APPLICATION, REFERRAL
from api.client import LabClient
from api.credit.states import CREDIT
from api.enterprises.states import CORRECTION
from api.portal import financing_words, forms, words
from tests.api.financing import officer, shelved, today
from tests.portal.conftest import PortalWorld
from tests.portal.looks import SCREENS, hold_together
from tests.portal.test_disputes import give
from tests.portal.visit import Visit, on_record

Open = Callable[..., Visit]
WRITTEN = (
    "粤海精密制造有限公司", "王敏", "科创流贷", "面向科技型小微企业的流动资金贷款", "成立满两年，纳税正常", "营业执照",
    "近两年财务报表", "陈静", "采购生产原料", "销售回款", "用途请写具体", "现金流不足", "已收到，请补充近期订单",
    "订单合同已备好",
)  # fmt: skip


@pytest.fixture(scope="module")
def bank(world: PortalWorld) -> LabClient:
    return officer(world)


@pytest.fixture(scope="module")
def product(world: PortalWorld, bank: LabClient) -> str:
    return shelved(world, bank)


@pytest.fixture(scope="module")
def one(world: PortalWorld, browser: Browser) -> Iterator[Visit]:
    opened = Visit(world, browser)
    _, opened.person = on_record(world)
    yield opened.sign_in(opened.person)
    opened.close()


def fill_loan(one: Visit, amount: str = "2,000,000") -> None:
    one.page.fill("#amount", amount)
    one.page.fill("#term_months", "12")
    one.page.check("input[value=credit]")
    one.page.fill("#purpose", "采购生产原料")
    one.page.fill("#repayment", "销售回款")


def press(one: Visit) -> None:
    one.page.click("main form button[type=submit]")


def named(one: Visit) -> str:
    """The number of the application that the page is about."""
    found = re.search(r"ap-[0-9a-f]{12}", one.page.url)
    assert found is not None, one.page.url
    return found[0]


def draft(one: Visit, product: str | None, amount: str = "2,000,000") -> str:
    """Fills in the form, and the basic information where it lacks; ends on the page to check."""
    one.go("/portal/financing/new" + (f"?product={product}" if product else ""))
    if product is None:
        one.page.select_option("#product_class", "working_capital")
    fill_loan(one, amount)
    press(one)
    one.page.wait_for_url("**/check")
    if one.page.locator("#missing").count():
        one.page.click("#missing a[href*=profile]")
        profile(one)
    return named(one)


def profile(one: Visit) -> None:
    one.page.fill("#region", "440305")
    one.page.select_option("#industry", "C")
    one.page.fill("#branch", "3922")
    one.page.check("input[value=small]")
    one.page.fill("#established_on", "2015-06-01")
    one.page.fill("#employees", "120")
    one.page.fill("#annual_revenue", "56,000,000")
    one.page.fill("#address", "深圳市南山区")
    one.page.fill("#contact_name", "王敏")
    one.page.fill("#contact", "0755-0000000")
    press(one)
    one.page.wait_for_url("**/check")


def submitted(one: Visit, product: str | None) -> str:
    name = draft(one, product)
    one.page.click("#submit")
    one.page.wait_for_url(re.compile(r"/financing/ap-[0-9a-f]{12}$"))
    return name


def referral(bank: LabClient, name: str) -> str:
    return next(row["id"] for row in bank.referrals() if row["application"] == name)


def test_from_the_shelf_to_an_answer_and_back(world: PortalWorld, bank: LabClient, product: str, one: Visit) -> None:
    """R10, R11, R21, R23, R33: nothing incomplete goes out, and who must act until when is shown at every step."""
    page = one.go("/portal/financing")
    one.says(".empty", "尚无申请")
    page.click("#shelf")
    page.fill("#amount", "9,000,000")
    press(one)
    one.says(".empty", "没有符合条件的产品")
    page.fill("#amount", "2,000,000")
    press(one)
    one.says("#products", "科创流贷")
    page.click("#products a.btn")
    one.says("main", "3.45% – 5.6%")
    page.click("#apply")
    page.fill("#amount", "很多")
    page.fill("#purpose", "采购生产原料")
    press(one)
    one.says("[role=alert]", "金额")
    assert (page.input_value("#amount"), page.input_value("#purpose")) == ("很多", "采购生产原料")
    fill_loan(one)
    press(one)
    one.says("#missing", "企业基本信息")
    name = named(one)
    assert page.locator("#submit").count() == 0
    page.click("#missing a[href*=profile]")
    assert re.fullmatch(r"\d{6}", page.input_value("#region"))  # a first guess, by the USCC
    page.fill("#region", "44")
    press(one)
    one.says("[role=alert]", "请填写六位行政区划代码")
    profile(one)
    one.says("main", "200 万元")
    one.says("main", "广东 440305")
    page.click("#submit")
    one.says(".state", "平台审核中")

    world.operator.review_application(name, "材料齐全")
    page.reload()
    one.says("#referrals", "还有 5 个工作日")
    one.says("#referrals", "机构受理或答复")
    line = referral(bank, name)
    bank.accept_referral(line, "陈静", "020-0000000")
    bank.write_message(line, "已收到，请补充近期订单")
    one.go("/portal/financing")
    one.says("#applications", "机构与您对接")
    one.go("/portal/notices")
    page.click("#notices li:first-child a")
    one.says(".message-institution", "请补充近期订单")
    one.says("main", "陈静 020-0000000")
    page.click("#send")
    one.says("[role=alert]", "请写明内容")
    page.fill("#text", "订单合同已备好\n<b>共三份</b>")
    page.click("#send")
    one.says(".message-enterprise", "<b>共三份</b>")
    assert [m["text"] for m in bank.messages(line)][-1] == "订单合同已备好\n<b>共三份</b>"

    bank.follow_up(line, today(world), "实地走访")
    bank.approve_referral(line, today(world), "1500000", "审批通过")
    one.go(f"/portal/financing/{name}")
    one.says("#referrals", "批准金额 150 万元")
    one.says("#referrals", "机构报送授信结果")
    page.click("details.add summary")
    page.fill("#reason", "已另行筹资")
    page.click("#withdraw")
    one.says("h1 + .state", "已撤回")
    assert bank.referral(line)["reason"] == "已另行筹资"
    assert page.locator("#withdraw, #check").count() == 0


def test_a_late_institution_is_called_late(world: PortalWorld, bank: LabClient, product: str, one: Visit) -> None:
    """R10."""
    name = submitted(one, product)
    world.operator.review_application(name, "材料齐全")
    before = world.clock.ahead
    try:
        world.clock.advance(12 * 86_400)
        one.sign_in(one.person).go("/portal/financing")
        one.says("#applications .late", "已逾期")
    finally:
        world.clock.ahead = before
    one.sign_in(one.person)


def test_of_a_need_one_institution_is_chosen_and_the_others_are_taken_back(
    world: PortalWorld, bank: LabClient, one: Visit
) -> None:
    """R25."""
    other = officer(world, "bank-n")
    name = submitted(one, None)
    world.operator.review_application(name, "材料齐全", institutions=["bank-a", "bank-n"])
    mine, theirs = referral(bank, name), referral(other, name)
    one.go(f"/portal/financing/{name}")
    assert one.page.locator("#referrals form").count() == 0  # nobody has taken it up
    for client, line in ((bank, mine), (other, theirs)):
        client.accept_referral(line, "陈静", "020-0000000")
    one.page.reload()
    assert one.page.locator("#referrals form").count() == 2
    one.page.locator("#referrals li", has_text="Bank A").locator("button").click()
    one.says("#referrals", "您已选择")
    assert other.referral(theirs)["state"] == "withdrawn"
    assert bank.referral(mine)["state"] == "accepted"


def test_a_credit_is_shown_as_the_bank_reports_it(
    world: PortalWorld, bank: LabClient, product: str, one: Visit
) -> None:
    """R25: the ledger, seen from the enterprise."""
    name, day = submitted(one, product), today(world)
    world.operator.review_application(name, "材料齐全")
    line = referral(bank, name)
    bank.accept_referral(line, "陈静", "020-0000000")
    bank.follow_up(line, day, "实地走访")
    bank.approve_referral(line, day, "1500000", "审批通过")
    contract = {
        "amount": "1500000", "rate": "4.35", "term_months": 12, "contract_no": "HT-P-1", "signed_on": str(day),
        "begins_on": str(day), "ends_on": str(day.replace(year=day.year + 1, day=min(day.day, 28))),
        "guarantee": "credit",
    }  # fmt: skip
    credit = bank.report_result(line, contract)["id"]
    one.go("/portal/financing")
    one.says("#credits", "已授信，未放款")
    bank.report_disbursement(credit, "JJ-P-1", "500000", day)
    one.page.reload()
    one.says("#credits", "50 万元")
    one.says("#credits", "HT-P-1")
    one.go(f"/portal/financing/{name}")
    one.says("#referrals", "已授信")


def test_what_the_product_is_not_offered_for_is_said_and_nothing_goes_out(
    world: PortalWorld, product: str, one: Visit
) -> None:
    """R23."""
    name = draft(one, product, "9000000")
    one.page.click("#submit")
    one.says("[role=alert]", "金额")
    assert name not in [row["id"] for row in world.operator.applications()]
    one.page.click("main .section-head a.btn")
    assert one.page.input_value("#amount") == "9000000"
    one.page.fill("#amount", "3000000")
    press(one)
    one.page.click("#submit")
    one.says(".state", "平台审核中")


def test_what_is_returned_says_why_and_is_mended(world: PortalWorld, product: str, one: Visit) -> None:
    """R23: also what somebody else changed meanwhile is not overwritten."""
    name = submitted(one, product)
    world.operator.review_application(name, "用途请写具体", "return")
    one.go("/portal/financing")
    one.says("#applications", "用途请写具体")
    one.go(f"/portal/financing/{name}/edit")
    first = one.page.input_value("input[name=version]")
    one.page.fill("#purpose", "采购铜材")
    press(one)
    one.says("main", "采购铜材")
    one.go(f"/portal/financing/{name}/edit")
    one.page.evaluate(f"document.querySelector('input[name=version]').value = '{first}'")
    one.page.fill("#purpose", "采购钢材")
    press(one)
    assert one.page.locator("h1").inner_text() != "核对后提交"
    one.go(f"/portal/financing/{name}/check")
    one.says("main", "采购铜材")
    one.page.click("#submit")
    one.says(".state", "平台审核中")
    assert one.go(f"/portal/financing/{name}/edit").url.endswith(name)  # no longer to be changed


def test_another_enterprise_finds_none_of_it(
    world: PortalWorld, bank: LabClient, product: str, one: Visit, visit: Open
) -> None:
    """R47."""
    name = submitted(one, product)
    world.operator.review_application(name, "材料齐全")
    line = referral(bank, name)
    _, person = on_record(world, "另一家有限公司", "李强")
    stranger = visit().sign_in(person)
    for path in (name, f"{name}/edit", f"{name}/check", f"referrals/{line}"):
        assert stranger.status(f"/portal/financing/{path}") == 404, path
    stranger.go("/portal/financing")
    for path in (f"{name}/submit", f"{name}/withdraw", f"{name}/choose/{line}"):
        assert stranger.post(f"/portal/financing/{path}")[0] == 404, path
    assert bank.referral(line)["state"] == "received"
    assert list(bank.messages(line)) == []


def test_who_may_only_look_files_and_ends_nothing(world: PortalWorld, product: str, one: Visit) -> None:
    """R47: an application speaks for the enterprise."""
    name = draft(one, product)
    rights = give(world, one.person, ["view"])
    try:
        for path in ("", "/new", f"/new?product={product}", f"/{name}", f"/{name}/check", f"/{name}/edit", "/profile"):
            one.go(f"/portal/financing{path}")
            assert one.page.locator("main button[type=submit], #apply, #need").count() == 0, path
        for path in ("new", "profile", f"{name}/submit", f"{name}/withdraw"):
            status, told = one.post(f"/portal/financing/{path}")
            assert (status, told["code"]) == (403, "right_missing"), path
    finally:
        give(world, one.person, rights)


@pytest.mark.parametrize(("language", "size"), SCREENS)
def test_pages_hold_together(
    world: PortalWorld, bank: LabClient, product: str, one: Visit, language: str, size: dict[str, int]
) -> None:
    # one that goes on and one that waits to be sent; made once
    if not hasattr(one, "shown"):
        name, other = submitted(one, product), draft(one, product, "9000000")
        world.operator.review_application(name, "材料齐全")
        line = referral(bank, name)
        bank.accept_referral(line, "陈静", "020-0000000")
        bank.write_message(line, "已收到，请补充近期订单")
        one.go(f"/portal/financing/referrals/{line}")
        one.page.fill("#text", "订单合同已备好")
        one.page.click("#send")
        one.shown = [
            "/portal/financing", "/portal/financing/products", f"/portal/financing/products/{product}",
            "/portal/financing/products?amount=x", f"/portal/financing/new?product={product}", "/portal/financing/new",
            "/portal/financing/profile", f"/portal/financing/{name}", f"/portal/financing/referrals/{line}",
            f"/portal/financing/{other}/check", f"/portal/financing/{other}/edit",
        ]  # fmt: skip
    foreign = (*WRITTEN, "采购铜材", "审批通过", "由企业选择", "深圳市南山区")
    hold_together(one, one.shown, language, size, foreign)


# ---- words and forms


def test_every_state_field_and_code_has_words() -> None:
    assert set(financing_words.STATES) == APPLICATION.states
    assert set(financing_words.REFERRALS) == REFERRAL.states
    assert set(financing_words.CORRECTIONS) == CORRECTION.states
    assert set(financing_words.CREDITS) == CREDIT.states
    assert set(financing_words.LOOKS) >= APPLICATION.states | REFERRAL.states | CREDIT.states
    tables = (financing_words.STATES, financing_words.REFERRALS, financing_words.SECTIONS, financing_words.PROVINCES)
    assert all(en.isascii() and not zh.isascii() for table in tables for zh, en in table.values())
    assert "".join(financing_words.SECTIONS) == "ABCDEFGHIJKLMNOPQRST"
    assert len(financing_words.PROVINCES) == 34


@pytest.mark.parametrize(
    ("amount", "zh", "en"),
    [
        ("2000000.00", "200 万元", "CNY 2,000,000"),
        ("12345.60", "1.23456 万元", "CNY 12,345.6"),
        ("9999.50", "9,999.5 元", "CNY 9,999.5"),
        ("100000000", "10,000 万元", "CNY 100,000,000"),
    ],
)
def test_an_amount_is_written_as_each_language_counts(amount: str, zh: str, en: str) -> None:
    assert financing_words.yuan(Decimal(amount), "zh") == zh
    assert financing_words.yuan(Decimal(amount), "en") == en


def test_places_and_industries_are_named() -> None:
    assert financing_words.places(["440000", "110105"], "zh") == "广东、北京 110105"
    assert financing_words.places([], "en") == "everywhere"
    assert financing_words.industries(["C", "I65"], "zh") == "制造业、信息传输、软件和信息技术服务业 I65"


def test_what_is_typed_is_read_as_people_write_it_and_wrong_fields_are_named() -> None:
    typed = forms.typed_loan(
        {"amount": "2，000,000.50", "term_months": " 12 ", "purpose": "a\r\nb", "product_class": "factoring"},
        {"guarantees": ["credit"]},
    )
    body, wrong = forms.application(typed, None)
    assert body is not None
    assert (str(body.amount), body.term_months, body.purpose, wrong) == ("2000000.50", 12, "a\nb", [])
    assert forms.application({**typed, "amount": "x", "guarantees": ["mine"]}, None) == (None, ["amount", "guarantees"])
    assert forms.application(forms.blank_loan(), None)[0] is not None  # a draft may lack anything
    blank = forms.blank_profile("91440305MA5T000220")
    assert blank["region"] == "440305"
    assert "industry" in forms.profile(blank)[1]


@pytest.mark.parametrize(
    ("number", "page"),
    [
        ("d-000000000000", "/portal/disputes/d-000000000000"),
        ("ec-000000000000", "/portal/corrections/ec-000000000000"),
        ("ap-000000000000", "/portal/financing/ap-000000000000"),
        ("rf-000000000000", "/portal/financing/referrals/rf-000000000000"),
        ("cr-000000000000", None),
    ],
)
def test_a_notice_leads_to_its_page(number: str, page: str | None) -> None:
    assert words.notice_link("clock_accept_overdue", number) == page
