"""Both modes and both parties give every row the same role."""

from __future__ import annotations

import numpy as np
import pytest

from models.roles import CAL, FIT, TEST, UNUSED, roles, unit_interval

IDS = [f"E{i:05d}" for i in range(4000)]


def body(split, share=0.15, seed=7):
    return {"dataset": {"split": split}, "evaluation": {"seed": seed, "calibration_share": share}}


def test_hash_split_gives_the_asked_shares():
    got = roles(IDS, None, body({"hash_test_share": 0.3}))
    assert abs((got == TEST).mean() - 0.3) < 0.03
    assert abs((got == CAL).mean() - 0.7 * 0.15) < 0.03


def test_a_role_depends_on_the_id_and_not_on_order_or_company():
    got = dict(zip(IDS, roles(IDS, None, body({"hash_test_share": 0.3})), strict=True))
    some = IDS[::-7]
    assert list(roles(some, None, body({"hash_test_share": 0.3}))) == [got[i] for i in some]


def test_another_seed_draws_other_rows():
    first, second = (roles(IDS, None, body({"hash_test_share": 0.3}, seed=s)) for s in (1, 2))
    assert (first != second).any()


def test_split_column_decides_the_test_rows_and_unknown_values_are_unused():
    values = np.array(["train", "oot", "later"] * 1000)
    got = roles(IDS[:3000], values, body({"column": "split", "train": "train", "test": "oot"}))
    assert set(got[values == "oot"]) == {TEST}
    assert set(got[values == "later"]) == {UNUSED}
    assert set(got[values == "train"]) == {FIT, CAL}


def test_numbers_in_the_split_column_are_compared_as_text():
    got = roles(["a", "b"], [0, 1], body({"column": "s", "train": "0", "test": "1"}, share=0.0))
    assert list(got) == [FIT, TEST]


def test_a_missing_or_short_split_column_is_refused():
    ticket = body({"column": "split", "train": "train", "test": "oot"})
    with pytest.raises(ValueError, match="split"):
        roles(["a"], None, ticket)
    with pytest.raises(ValueError, match="2 ids but 1"):
        roles(["a", "b"], ["train"], ticket)


def test_the_hash_is_the_documented_one():
    import hashlib

    expected = int.from_bytes(hashlib.sha256(b"7|cal|E1").digest()[:8], "big") / 2**64
    assert unit_interval(["E1"], 7, "cal")[0] == expected
