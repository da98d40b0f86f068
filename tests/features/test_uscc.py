"""The unified social credit code against published values (R19, GB 32100)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import uscc


@pytest.mark.parametrize("code", ["91350100M000100Y43", "91110108MA00DEM06X", "91440101MA5T000220"])
def test_published_codes_are_valid(code: str) -> None:
    assert uscc.is_valid(code)
    assert uscc.check_character(code[:17]) == code[17]


@pytest.mark.parametrize(
    "code",
    [
        "91350100M000100Y4Z",
        "",
        "91350100M000100Y4",
        "91350100m000100y43",
        "91350100M000100Y43 ",
        "91350100I000100Y43",
    ],
)
def test_other_texts_are_not(code: str) -> None:
    assert not uscc.is_valid(code)


@given(st.text(uscc.ALPHABET, min_size=17, max_size=17), st.integers(0, 16), st.sampled_from(uscc.ALPHABET))
def test_any_single_changed_character_is_noticed(first: str, place: int, other: str) -> None:
    code = first + uscc.check_character(first)
    assert uscc.is_valid(code)
    changed = code[:place] + other + code[place + 1 :]
    assert uscc.is_valid(changed) == (changed == code)


@pytest.mark.parametrize("first", ["", "9" * 16, "Z" * 17])
def test_check_character_of_something_else_is_refused(first: str) -> None:
    with pytest.raises(uscc.BadCode):
        uscc.check_character(first)


@pytest.mark.parametrize(("first", "check"), [("M000100Y", "4"), ("MA00DEM0", "6")])
def test_organisation_check_of_published_codes(first: str, check: str) -> None:
    assert uscc.organisation_check(first) == check


def test_simulated_codes_are_valid_distinct_and_of_an_unassigned_division() -> None:
    codes = uscc.simulate(np.random.default_rng(1), 2000)
    assert len(set(codes)) == 2000
    assert all(uscc.is_valid(code) and code[2:8] == "449901" for code in codes)
