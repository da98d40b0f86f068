"""Bins split as documented, say nothing exact about anybody, and give textbook statistics."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from models.binning import (
    assign,
    auc_from_counts,
    bin_count,
    fit_bins,
    iv,
    label,
    level_text,
    shortest_decimal,
    to_numeric,
    woe_from_counts,
)
from tests.models.models_for_tests import quick

finite = st.floats(allow_nan=False, allow_infinity=False)


@quick
@given(finite, finite)
def test_the_shortest_decimal_lies_in_its_interval(a, b):
    if a == b:
        return
    low, high = min(a, b), max(a, b)
    assert low < shortest_decimal(low, high) <= high


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(3.14159, 3.92, 3.5), (0.1234, 0.1238, 0.1236), (-5, 7, 0), (1204, 1888, 1500), (99.5, 100, 100), (7, 8, 8)],
)
def test_thresholds_are_short(low, high, expected):
    assert shortest_decimal(low, high) == pytest.approx(expected)


@quick
@given(
    st.lists(st.one_of(st.none(), st.integers(-50, 50).map(float), finite), min_size=1, max_size=400),
    st.integers(2, 12),
    st.sampled_from([1, 20]),
)
def test_numeric_bins_hold_enough_rows_and_codes_are_in_range(values, max_bins, min_rows):
    bins = json.loads(json.dumps(fit_bins(values, "numeric", max_bins, 0.02, min_rows)))
    codes = assign(bins, values)
    assert codes.min() >= 0
    assert codes.max() < bin_count(bins)
    counts = np.bincount(codes, minlength=bin_count(bins))
    assert len(bins["edges"]) < max_bins
    assert bins["edges"] == sorted(set(bins["edges"]))
    if bins["edges"]:
        assert counts[:-1].min() >= min_rows
    assert counts[-1] == sum(value is None for value in values)


def test_a_value_on_an_edge_goes_right_like_in_the_model_document():
    bins = {"kind": "numeric", "edges": [1.5, 3.0]}
    assert list(assign(bins, [1.4999, 1.5, 2.9, 3.0, math.nan, None, math.inf])) == [0, 1, 1, 2, 3, 3, 3]


def test_a_heavy_value_gets_a_bin_of_its_own():
    values = np.concatenate([np.zeros(500), np.arange(1, 501)])
    bins = fit_bins(values, "numeric", 5, 0.02)
    assert np.bincount(assign(bins, values))[0] == 500


def test_rare_unseen_and_missing_levels_have_their_places():
    values = ["CA"] * 60 + ["TX"] * 30 + ["ZZ"] * 3 + [None] * 7
    bins = fit_bins(values, "categorical", 8, 0.02)
    assert bins == {"kind": "categorical", "levels": ["CA", "TX"], "other": True}
    assert list(assign(bins, ["CA", "TX", "ZZ", "never", None, ""])) == [0, 1, 2, 2, 3, 3]
    assert [label(bins, code) for code in range(4)] == ["CA", "TX", "other", "missing"]


def test_levels_read_the_same_from_floats_integers_and_text():
    assert {level_text(value) for value in (44, 44.0, "44", np.float64(44), np.int64(44))} == {"44"}
    assert level_text(math.nan) is None
    assert level_text(np.datetime64("NaT")) is None
    assert level_text(True) == "true"


def test_text_is_no_number():
    with pytest.raises(ValueError):
        to_numeric(["ten"])


def test_woe_is_log_of_shares_without_smoothing():
    woe = woe_from_counts([80, 20], [10, 40], smoothing=0)
    assert woe == pytest.approx([math.log(0.8 / 0.2), math.log(0.2 / 0.8)])


def test_smoothing_pulls_small_bins_to_zero_and_leaves_the_average_bin_there():
    goods, bads = np.array([900, 90, 0, 3]), np.array([100, 10, 0, 0])
    woe = woe_from_counts(goods, bads)
    assert woe[2] == 0
    assert 0 < woe[3] < 1
    assert abs(woe_from_counts([900, 90], [100, 10])[1]) < 1e-12


def test_woe_needs_both_classes():
    with pytest.raises(ValueError, match="both"):
        woe_from_counts([1, 2], [0, 0])


def test_information_value_of_a_useless_split_is_nil():
    assert iv([50, 100], [5, 10]) == pytest.approx(0, abs=1e-9)
    assert iv([90, 10], [10, 90], smoothing=0) == pytest.approx(2 * 0.8 * math.log(9))


@quick
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12))
def test_auc_from_counts_is_the_auc_of_the_bad_rate(counts):
    goods, bads = np.array(counts).T
    if goods.sum() == 0 or bads.sum() == 0:
        with pytest.raises(ValueError):
            auc_from_counts(goods, bads)
        return
    y = np.concatenate([[0] * g + [1] * b for g, b in counts])
    rate = np.concatenate([[b / max(g + b, 1)] * (g + b) for g, b in counts])
    assert auc_from_counts(goods, bads) == pytest.approx(roc_auc_score(y, rate))
