"""Errors speak the language that the caller reads."""

from __future__ import annotations

import httpx
import pytest

from api.web.language import of
from tests.api.world import World


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"), ("", "en"), ("zh", "zh"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-GB,zh;q=0.5", "en"),
        ("en;q=0.2, zh-Hans;q=0.7", "zh"), ("fr, de", "en"), ("zh;q=0", "en"), ("zh;q=x", "en"), ("*;q=0.1", "en"),
    ],
)  # fmt: skip
def test_the_heavier_of_the_two_wins(header: str | None, language: str) -> None:
    assert of(header) == language


def test_a_problem_is_told_in_that_language(shared: World) -> None:
    headers = {"Authorization": f"Bearer {shared.tokens['operator']}"}
    chinese = httpx.get(f"{shared.url}/v1/jobs/j-000000000000", headers=headers | {"Accept-Language": "zh-CN"})
    english = httpx.get(f"{shared.url}/v1/jobs/j-000000000000", headers=headers)
    assert chinese.headers["content-language"] == "zh"
    assert chinese.json()["detail"] == chinese.json()["detail_zh"] == english.json()["detail_zh"]
    assert english.json()["detail"].isascii()
    assert chinese.json()["type"] == "urn:creditlab:problem:not_found"
