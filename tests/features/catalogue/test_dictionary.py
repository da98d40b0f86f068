"""The data dictionary says all of the catalogue, and the page is current."""

from __future__ import annotations

from pathlib import Path

from features.catalogue import load
from features.catalogue.dictionary import render

PAGE = Path(__file__).parents[3] / "docs" / "catalogue.md"


def test_every_item_and_feature_is_in_the_dictionary() -> None:
    """R41: one data dictionary."""
    catalogue = load()
    text = render(catalogue)
    for category in catalogue:
        assert f"(`{category.id}`)" in text
        for item in category.items:
            assert f"| `{item.name}` | {item.zh}<br>{item.en} |" in text
        for feature in category.features:
            assert f"| `{feature.name}` | {feature.zh}<br>{feature.en} |" in text


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    rows = [line for line in render(load()).splitlines() if line.startswith("| `")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {9, 10}


def test_the_page_of_the_documentation_is_current() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- generated catalogue: begin -->")
    made, _, _ = rest.partition("<!-- generated catalogue: end -->")
    assert before
    assert made.strip() == render(load()).strip(), "stale: run `creditlab features dictionary`"
