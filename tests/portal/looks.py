"""What every page keeps to, looked at in the browser: one heading, named controls, contrast, nothing wider than it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from tests.portal.test_pages import CONTRAST, IDS_TWICE, SMALL, UNNAMED
from tests.portal.visit import DESKTOP, PHONE, Visit

# the longer words on the narrower screen, and the other two; for pictures all four
SCREENS = [("en", PHONE), ("zh", DESKTOP)]
if os.environ.get("CREDITLAB_SCREENSHOTS"):
    SCREENS += [("zh", PHONE), ("en", DESKTOP)]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def hold_together(
    one: Visit, paths: Iterable[str], language: str, size: dict[str, int], foreign: Iterable[str]
) -> None:
    """Opens each page in a language and on a screen; `foreign` are texts that others wrote, in whatever language.

    With CREDITLAB_SCREENSHOTS each page is kept as a picture in that folder.
    """
    one.page.set_viewport_size(size)
    one.go(f"/portal/login?lang={language}")
    for path in paths:
        page = one.go(path)
        assert page.locator("h1").count() == 1, path
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
        for script in (UNNAMED, IDS_TWICE, CONTRAST, SMALL):
            assert page.evaluate(script) == [], path
        if language == "en":
            text = page.locator("main").inner_text() + page.title()
            for each in foreign:
                text = text.replace(each, "")
            assert CHINESE.findall(text) == [], (path, text)
        if folder := os.environ.get("CREDITLAB_SCREENSHOTS"):
            name = re.sub(r"[^a-z]+", "-", re.sub(r"[a-z]+-[0-9a-f]{12}", "one", path.partition("/portal/")[2])).strip(
                "-"
            )
            page.screenshot(path=Path(folder) / f"{name or 'tasks'}-{language}-{size['width']}.png", full_page=True)
    one.page.set_viewport_size(PHONE)
    one.go("/portal/login?lang=zh")
    assert [text for text in one.faults if "Content Security Policy" in text] == []
    assert all(address.startswith(one.world.url) for address in one.requested)
