"""Before anybody is signed in: an enterprise registers itself (R19), and a scanned mark leads where it says (R67)."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie

import numpy as np
import pytest
from starlette.requests import Request

from api.portal import marks
from api.portal.arriving import ARRIVAL, HOME, destination
from features.uscc import simulate
from tests.api.financing import officer, product_body, shelved
from tests.portal.conftest import PortalWorld
from tests.portal.looks import SCREENS, hold_together
from tests.portal.visit import Visit, enrolled

Open = Callable[..., Visit]
_CODES = iter(simulate(np.random.default_rng(17), 50))


@pytest.fixture(scope="module")
def product(world: PortalWorld) -> str:
    return shelved(world, officer(world))


def registered(one: Visit, uscc: str) -> None:
    one.page.fill("#uscc", uscc)
    one.page.fill("#name", "湾区新材料有限公司")
    one.page.fill("#contact_name", "周宁")
    one.page.fill("#contact", "0755-0000000")
    one.page.click("main button[type=submit]")


def test_an_enterprise_registers_is_verified_and_ends_at_what_it_scanned(
    world: PortalWorld, product: str, visit: Open
) -> None:
    """R19, R67: nothing is issued before it was verified; then the first passkey ends at the product."""
    uscc = next(_CODES)
    one = visit()
    one.go(f"/portal/scan?product={product}")
    one.says("h1", "科创流贷")
    one.says("main", "Bank A")
    one.page.click("#register")
    one.page.fill("#uscc", uscc)
    one.page.click("main button[type=submit]")
    one.says("[role=alert]", "企业名称")
    assert one.page.input_value("#uscc") == uscc
    registered(one, uscc[:-1] + ("0" if uscc[-1] != "0" else "1"))
    one.says("[role=alert]", "校验码不符")
    registered(one, uscc)
    one.says("h1", "等待核验")
    assert world.operator.enterprise(uscc)["people"] == []

    code = world.operator.verify_enterprise(uscc, "已核对营业执照")["code"]
    one.go("/portal/enrol")
    one.page.fill("#uscc", uscc)
    one.page.fill("#code", code)
    one.page.click("main button[type=submit]")
    one.page.click("#register")
    one.page.wait_for_url(f"**/portal/financing/products/{product}")
    one.says("#apply", "申请该产品")
    one.logout().login()  # followed once: now it ends at the tasks


def test_who_is_on_record_is_told_to_nobody(world: PortalWorld, visit: Open) -> None:
    """R19: the page is the same, and what is on record is left as it is."""
    new = enrolled(world, "粤海精密制造有限公司")
    uscc = new["enterprise"]["uscc"]
    one = visit()
    one.go("/portal/register")
    registered(one, uscc)
    one.says("h1", "等待核验")
    assert world.operator.enterprise(uscc)["name"] == "粤海精密制造有限公司"


def test_an_institutions_mark_leads_to_its_products_after_signing_in(
    world: PortalWorld, product: str, visit: Open
) -> None:
    """R67."""
    new = enrolled(world)
    one = visit().enrol(new["enterprise"]["uscc"], new["code"])
    one.logout()
    one.go("/portal/scan?institution=bank-a")
    one.page.click("#on")
    one.page.wait_for_url("**/portal/login")
    one.page.click("#login")
    one.page.wait_for_url("**/portal/financing/products?institution=bank-a")
    one.says("main", "仅 Bank A 的产品")
    one.says("#products", "科创流贷")
    one.go("/portal/financing/products?institution=lab")
    one.says(".empty", "没有符合条件的产品")


def test_a_mark_of_what_is_not_offered_leads_nowhere(world: PortalWorld, product: str, visit: Open) -> None:
    bank = officer(world)
    draft = bank.add_product(product_body(name="未上架"))["id"]
    one = visit()
    for query in (f"product={draft}", "product=pr-000000000000", "institution=nobody", "product=x", ""):
        assert one.status(f"/portal/scan?{query}") == 404, query


def test_a_mark_is_a_code_of_its_address_to_print(world: PortalWorld, product: str, visit: Open) -> None:
    """R67: what a scanner reads is the page's address; the picture names nothing but it."""
    one = visit()
    answer = one.page.request.get(f"{world.url}/portal/scan/code?product={product}", ignore_https_errors=True)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
    address = f"{world.url}/portal/scan?product={product}"
    assert answer.body() == marks.svg(address, "科创流贷")
    assert marks.svg(address, "科创流贷") != marks.svg(address + "0", "科创流贷")
    missing = one.page.request.get(f"{world.url}/portal/scan/code?institution=nobody", ignore_https_errors=True)
    assert missing.status == 404


def test_a_code_is_the_one_that_the_standard_draws() -> None:
    """ISO/IEC 18004: version 3 for this length at level M, finder patterns in three corners, a quiet zone of four."""
    drawn = marks.svg("https://credit.example/portal/scan", "x").decode()
    modules = 29 + 2 * marks.QUIET
    assert f'width="{modules * marks.SCALE}"' in drawn
    assert "<title>x</title>" in drawn
    assert "M4 4.5h7" in drawn


@pytest.mark.parametrize(
    ("said", "to"),
    [
        ("product=pr-0123456789ab", "/portal/financing/products/pr-0123456789ab"),
        ("institution=bank-a", "/portal/financing/products?institution=bank-a"),
        ("institution=//elsewhere.example", HOME),
        ("product=pr-0123456789ab/../../x", HOME),
        ("https://elsewhere.example", HOME),
        ("", HOME),
    ],
)
def test_signing_in_ends_on_a_page_of_ours_whatever_the_cookie_says(said: str, to: str) -> None:
    cookie: SimpleCookie = SimpleCookie({ARRIVAL: said})
    header = cookie.output(header="", sep=";").strip()
    request = Request({"type": "http", "headers": [(b"cookie", header.encode())]})
    assert destination(request) == to


@pytest.mark.parametrize(("language", "size"), SCREENS)
def test_pages_hold_together(
    world: PortalWorld, product: str, visit: Open, language: str, size: dict[str, int]
) -> None:
    paths = (f"/portal/scan?product={product}", "/portal/scan?institution=bank-a", "/portal/register", "/portal/login")
    hold_together(visit(), paths, language, size, ("科创流贷",))
