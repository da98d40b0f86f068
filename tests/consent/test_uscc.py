"""The check of a USCC is the one of GB 32100, here and in `features` (R19)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.uscc import ALPHABET, BadUscc, check
from features.uscc import is_valid, simulate


@pytest.mark.parametrize("code", ["91350100M000100Y43", "91110108MA00DEM06X", "91440101MA5T000220"])
def test_published_codes_are_good(code: str) -> None:
    assert check(code) == code


@pytest.mark.parametrize("code", ["91350100M000100Y4Z", "", "91350100m000100y43", "91350100M000100Y4", "I" * 18])
def test_others_are_refused(code: str) -> None:
    with pytest.raises(BadUscc) as caught:
        check(code)
    assert caught.value.code == "uscc_invalid"
    assert caught.value.message_zh


def _good(code: str) -> bool:
    try:
        return check(code) == code
    except BadUscc:
        return False


@given(st.text(alphabet=ALPHABET + "IOSVZ", min_size=17, max_size=19))
def test_both_checks_agree_on_anything(code: str) -> None:
    assert _good(code) == is_valid(code)


@given(st.integers(0, 2**32 - 1), st.integers(0, 17), st.sampled_from(ALPHABET))
def test_both_checks_agree_near_good_codes(seed: int, place: int, character: str) -> None:
    (code,) = simulate(np.random.default_rng(seed), 1)
    changed = code[:place] + character + code[place + 1 :]
    assert _good(code)
    assert _good(changed) == is_valid(changed)
