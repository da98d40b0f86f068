"""Every requirement of the control plane is cited by a test: `R14` alone or in a range, in a docstring of its test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# institutions, users, financing, backup, uses, permissions, reports; and what features and their sharing answer for
REQUIRED = (*range(1, 35), *range(36, 44), 46, 47, *range(54, 61), 62)
_CITED = re.compile(r"\bR(\d{1,2})(?:\s?[-–]\s?R?(\d{1,2}))?\b")


def cited(text: str) -> set[int]:
    """The numbers that a text names; a range names every number in it."""
    found: set[int] = set()
    for first, last in _CITED.findall(text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def citations(path: Path) -> Iterator[tuple[str, set[int]]]:
    """(test, numbers) of a file: a module's docstring speaks for its tests, where it has any."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    if tests:
        yield path.name, cited(ast.get_docstring(tree) or "")
    for test in tests:
        yield f"{path.name}::{test.name}", cited(ast.get_docstring(test) or "")


@pytest.fixture(scope="module")
def by_number() -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        if path != Path(__file__):
            for name, numbers in citations(path):
                for number in numbers:
                    found.setdefault(number, set()).add(name)
    return found


@pytest.mark.parametrize("number", REQUIRED, ids=lambda number: f"R{number}")
def test_a_requirement_is_cited_by_a_test(by_number: dict[int, set[str]], number: int) -> None:
    assert by_number.get(number), f"no test names R{number} in its docstring"


def test_a_range_names_every_number_in_it() -> None:
    assert cited("R7, R9–R11, R15-16; GR4 and R2D2 are none, R8.") == {7, 8, 9, 10, 11, 15, 16}


def test_a_citation_outside_a_test_counts_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "test_x.py"
    file.write_text('"""R1"""\n\ndef helper():\n    """R2"""\n')
    assert list(citations(file)) == []
    file.write_text('"""R1"""\n\ndef helper():\n    """R2"""\n\n# R3\ndef test_it():\n    """R4"""\n')
    assert [numbers for _, numbers in citations(file)] == [{1}, {4}]
