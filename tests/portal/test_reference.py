"""The API's reference page works in a real browser without another host."""

from __future__ import annotations

from playwright.sync_api import Browser

from tests.portal.conftest import PortalWorld


def test_the_reference_page_lists_the_api_and_asks_no_other_host(browser: Browser, world: PortalWorld) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto(f"{world.url}/docs")
    page.locator("#operations-tag-projects").wait_for(state="attached", timeout=30_000)
    page.close()
    assert all(url.startswith((world.url, "data:")) for url in asked), asked
    assert faults == []
