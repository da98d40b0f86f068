"""Every page: Chinese first, usable on a phone and by keyboard, readable, and bound by strict headers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, expect
from typer.testing import CliRunner

from api.auth import RouteWithoutPermission
from api.control import Control
from api.db import SYSTEM
from api.enterprises import sessions
from api.enterprises.states import Right
from api.portal import assets, words
from api.portal.access import Door, doors_by_route
from api.portal.app import create_portal
from api.portal.endpoints import _inert
from api.portal.rendering import HEADERS
from api.usage import repository as usage
from api.verify_cli import app as verify_app
from consent.purposes import Mode, Purpose
from tests.portal.conftest import PortalWorld
from tests.portal.visit import DESKTOP, Visit, asked, enrolled

Open = Callable[..., Visit]
NAME = "<script>alert(1)</script>有限公司"

# every text whose contrast with what is behind it is below 4.5 to 1 (WCAG 2.2, 1.4.3; 3 to 1 when large)
CONTRAST = """
() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const f = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const found = rgb(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !node.checkVisibility() || node.closest("noscript")) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(rgb(style.color)), light(behind(node))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) poor.push(walk.currentNode.textContent.trim());
  }
  return poor;
}
"""
UNNAMED = """
() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a[href]")]
  .filter((each) => !(each.labels?.length || each.textContent?.trim() || each.getAttribute("aria-label")))
  .map((each) => each.outerHTML)
"""
IDS_TWICE = """
() => { const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
        return ids.filter((id, i) => ids.indexOf(id) !== i); }
"""
SMALL = """
() => [...document.querySelectorAll("button, .btn, nav a, .choices label, input:not([type=hidden])")]
  .filter((each) => !each.matches(".choices input"))
  .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 24).map((each) => each.outerHTML)
"""


@pytest.fixture(scope="module")
def one(world: PortalWorld, browser: Browser) -> Iterator[Visit]:
    """A signed-in person with a request, a consent, a use and a delegate; `paths` are the pages there are."""
    new = enrolled(world, NAME)
    enterprise = new["enterprise"]["uscc"]
    first, second = asked(world, enterprise), asked(world, enterprise, "joint_training")
    opened = Visit(world, browser)
    opened.enrol(enterprise, new["code"])
    seq = opened.answer(first)
    opened.uscc = enterprise
    opened.paths = [
        "/portal/login", "/portal/enrol", "/portal/login/code", "/portal/", f"/portal/requests/{second}",
        f"/portal/requests/{second}/check", f"/portal/requests/{second}/check?answer=refusal",
        f"/portal/requests/{first}", f"/portal/receipts/{seq}", "/portal/consents", f"/portal/consents/{seq}",
        "/portal/usage", "/portal/people", "/portal/nowhere",
    ]  # fmt: skip
    opened.open_request = second
    yield opened
    opened.close()


# ---- doors


def portal() -> FastAPI:
    return create_portal(Control.__new__(Control))


def test_every_page_names_its_door_and_every_write_checks_one() -> None:
    """R47: deny by default."""
    doors = doors_by_route(portal())
    assert len(doors) > 25
    open_to_all = {path for (_, path), door in doors.items() if door.kinds is None}
    assert open_to_all == {
        "/static/{name}", "/login", "/login/start", "/login/finish", "/login/code", "/enrol", "/scan", "/scan/code",
        "/register",
    }  # fmt: skip
    assert {path for (_, path), door in doors.items() if door.right is Right.MANAGE} == {
        "/people", "/people/consenting", "/people/{person_id}/remove"
    } - {path for (method, path), door in doors.items() if method == "GET" and door.right is Right.MANAGE}  # fmt: skip
    enrolling = {path for (_, path), door in doors.items() if door.kinds and sessions.ENROL in door.kinds}
    assert enrolling == {"/enrol/passkey", "/passkeys/start", "/passkeys/finish", "/logout"}


def test_a_portal_with_a_page_that_names_no_door_is_not_built() -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/open")
    def forgotten() -> None: ...

    with pytest.raises(RouteWithoutPermission, match="/open"):
        doors_by_route(app)
    assert Door().kinds == (sessions.PORTAL, sessions.CODE)


def test_without_a_session_every_page_leads_to_the_sign_in(one: Visit, visit: Open) -> None:
    stranger = visit()
    for path in one.paths[3:-1]:
        assert stranger.page.request.get(one.world.url + path, ignore_https_errors=True).url.endswith("/portal/login")
    for path in ("/portal/sign/start", "/portal/sign/finish", "/portal/passkeys/start", "/portal/people"):
        status, told = stranger.post(path)
        assert (status, told["code"]) == (401, "signed_out")


# ---- what every page keeps to


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_hold_together(one: Visit, language: str) -> None:
    """One heading, named controls, unique ids, nothing wider than a phone, contrast AA, nothing from elsewhere."""
    one.go(f"/portal/login?lang={language}")
    for path in one.paths:
        page = one.go(path)
        assert page.locator("h1").count() == 1, path
        assert page.locator("html").get_attribute("lang") == {"zh": "zh-CN", "en": "en"}[language]
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert page.evaluate(UNNAMED) == [], path
        assert page.evaluate(IDS_TWICE) == [], path
        assert page.evaluate(CONTRAST) == [], path
        assert page.evaluate(SMALL) == [], path
        assert page.locator("main").count() == 1
    assert all(address.startswith(one.world.url) for address in one.requested)
    blocked = [text for text in one.faults if "Content Security Policy" in text]
    assert blocked == []


def test_answers_carry_strict_headers(one: Visit) -> None:
    for path in (*one.paths, "/portal/static/portal.js"):
        answer = one.page.request.get(one.world.url + path, ignore_https_errors=True)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, path
        assert ("no-store" in answer.headers["cache-control"]) == ("static" not in path)
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy


def test_a_cookie_is_for_this_site_and_no_script(one: Visit) -> None:
    (cookie,) = [each for each in one.context.cookies() if each["name"] == sessions.COOKIE]
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
    assert (cookie["path"], cookie["expires"]) == ("/", -1)


def test_what_others_wrote_is_shown_as_text(one: Visit) -> None:
    page = one.go("/portal/")
    expect(page.locator(".who")).to_contain_text(NAME)
    assert page.locator(".who script").count() == 0


def test_chinese_is_first_and_english_stays_once_chosen(visit: Open, one: Visit) -> None:
    opened = visit()
    assert opened.go("/portal/login").locator("h1").inner_text() == "登录"
    opened.page.click(".lang")
    assert opened.page.locator("h1").inner_text() == "Sign in"
    assert opened.go("/portal/enrol").locator("html").get_attribute("lang") == "en"
    assert opened.go("/portal/enrol?lang=zh").locator("h1").inner_text() == "首次登记"


def test_what_is_signed_is_the_notice_in_the_language_that_was_shown(world: PortalWorld, visit: Open) -> None:
    new = enrolled(world)
    opened = visit(language="en", size=DESKTOP)
    opened.enrol(new["enterprise"]["uscc"], new["code"])
    consent_id = asked(world, new["enterprise"]["uscc"])
    opened.go(f"/portal/requests/{consent_id}")
    opened.says(".notice", "Notice on the use of your data")
    seq = opened.answer(consent_id)
    document = world.bank.feed(seq - 1)["events"][0]["document"]
    assert document["body"]["notice"]["language"] == "en"


def test_the_way_through_by_keyboard_alone(one: Visit) -> None:
    """Skip link first; the answer, the button and the signature are reached by Tab and pressed by Enter or Space."""
    page = one.go(f"/portal/requests/{one.open_request}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "answer":
            break
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.checked")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/check?answer=consent")
    page.focus("#sign")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_a_page_without_an_answer_says_so(one: Visit) -> None:
    page = one.go(f"/portal/requests/{one.open_request}")
    page.click("main button[type=submit]")
    expect(page.locator("[role=alert]")).to_contain_text("请选择")


def test_empty_pages_say_what_comes_there(world: PortalWorld, visit: Open) -> None:
    new = enrolled(world)
    opened = visit().enrol(new["enterprise"]["uscc"], new["code"])
    for path, text in (
        ("/portal/", "目前没有待答复"),
        ("/portal/consents", "尚未授权任何机构"),
        ("/portal/usage", "尚无使用记录"),
    ):
        opened.go(path)
        opened.says(".empty", text)


def test_uses_are_told_in_plain_words_page_by_page_and_downloaded_with_proofs(one: Visit, tmp_path: Path) -> None:
    """R46."""
    with one.world.db.unit(SYSTEM) as unit:
        for number in range(60):
            usage.record(
                unit,
                account_id="a-1",
                user="risk",
                institution="bank-a",
                reason=f"=cmd|{number}",
                use=Mode.SCORING,
                purpose=Purpose.UNDERWRITING_SCORE,
                object_kind="enterprise",
                object_id=one.uscc,
                data={"tax": "*"},
                consent_id="c-x",
            )
    page = one.go("/portal/usage")
    expect(page.locator("#uses li:not(.more)")).to_have_count(50)
    expect(page.locator("#uses li").first).to_contain_text("Bank A的 risk 因“=cmd|")
    expect(page.locator("#uses li").first).to_contain_text("（纳税）")
    page.click("#more a")
    expect(page.locator("#uses li:not(.more)")).to_have_count(60)
    assert page.locator("#more").count() == 0
    lines = one.download("#proofs").splitlines()
    assert len(lines) == 60
    record, keys = tmp_path / "record.json", tmp_path / "keyring.json"
    record.write_bytes(one.download("#uses li:first-child a[download]"))
    keys.write_bytes(one.world.keyring.to_json())
    said = CliRunner().invoke(verify_app, [str(record), "--keys", str(keys)])
    assert said.exit_code == 0, said.output
    raw = one.download("#csv")
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"))))
    assert len(rows) == 61
    assert all(cell[:1] not in {"=", "+", "-", "@"} for row in rows for cell in row)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "plain", ""])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert _inert(cell).lstrip("'") == cell
    assert _inert(cell)[:1] not in {"=", "+", "-", "@", "\t"}


# ---- assets and words


def test_only_listed_files_are_served(one: Visit) -> None:
    for name in ("..%2Fapp.py", "package.json", "portal.css.map"):
        answer = one.page.request.get(f"{one.world.url}/portal/static/{name}", ignore_https_errors=True)
        assert answer.status == 404
    assert set(assets.FILES) == {"portal.css", "portal.js", "icon.svg", "tabler.css", "htmx.js"}


def test_the_lock_names_no_host() -> None:
    lock = (assets.FOLDER / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == 5


def test_every_code_has_words() -> None:
    assert set(words.PURPOSES) == set(Purpose)
    assert set(words.RIGHTS) == set(Right)


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36", "Chrome · Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari · iPhone"),
        ("curl/8", "未知浏览器"),
        ("", "未知浏览器"),
    ],
)
def test_a_device_is_named_as_its_owner_knows_it(agent: str, expected: str) -> None:
    assert words.device(agent, words.translator("zh")) == expected
