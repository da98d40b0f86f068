"""Columns become codes at their owner and splits go back onto raw values without loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
from creditlab_engine.encode import ORDERED, PRESENT, SUBSET, Feature, make_features, order_map
from hypothesis import given, settings
from hypothesis import strategies as st

from models.binning import level_text

NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False), st.integers(-5, 5).map(float))
LEVELS = st.one_of(st.none(), st.sampled_from(["广东", "江西", "a b", 'x",y', "7"]))
CODES = st.one_of(st.none(), st.integers(10, 40))


def holds(condition: dict, value: object) -> bool:
    """The condition of a model file on one raw value: does it go left?"""
    text = level_text(value)
    if text is None or (condition["op"] == "lt" and not math.isfinite(float(value))):  # type: ignore[arg-type]
        return condition["missing"] == "left"
    return float(value) < condition["value"] if condition["op"] == "lt" else text in condition["values"]  # type: ignore[arg-type]


def split_masks(feature: Feature) -> list[np.ndarray]:
    """Every split a tree could make of a feature: thresholds or single groups, missing either way."""
    masks = []
    for group in range(feature.groups):
        for missing in (False, True):
            left = np.zeros(feature.groups + 2, dtype=bool)
            if feature.view == ORDERED:
                left[: group + 1] = True
            elif group != feature.other:
                left[group] = True
            left[feature.groups] = missing
            if left[: feature.groups].any() and not left[: feature.groups + 1].all():
                masks.append(left)
    return masks


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_condition_on_raw_values_sends_every_row_where_its_code_goes(data: st.DataObject) -> None:
    kind, values = data.draw(st.sampled_from([("numeric", NUMBERS), ("categorical", LEVELS), ("categorical", CODES)]))
    fit = data.draw(st.lists(values, min_size=60, max_size=120))
    later = data.draw(st.lists(values, min_size=1, max_size=30))
    column = np.array([math.nan if v is None else v for v in fit]) if kind == "numeric" else np.array(fit, dtype=object)
    unseen = np.array(later, dtype=object)
    if kind == "numeric":
        unseen = np.array([math.nan if v is None else v for v in later])
    for feature in make_features({"x": column}, {"x": kind}, bins=6):
        for rows in (column, unseen):
            codes = feature.codes(rows)
            for left in split_masks(feature):
                condition = feature.condition(left)
                expected = [holds(condition, value) for value in rows]
                assert left[codes].tolist() == expected


def test_a_category_of_numbers_is_offered_by_level_and_in_numeric_order() -> None:
    column = np.array([11, 23, 31, 44] * 30, dtype=object)
    views = {feature.view: feature for feature in make_features({"industry": column}, {"industry": "categorical"}, 8)}
    assert set(views) == {ORDERED, SUBSET}
    left = np.array([True, True, False, False, False, False])
    assert views[ORDERED].condition(left)["values"] == ["11", "23"]


def test_a_text_category_has_no_order() -> None:
    column = np.array(["a", "b"] * 40, dtype=object)
    assert [feature.view for feature in make_features({"x": column}, {"x": "categorical"}, 8)] == [SUBSET]


@pytest.mark.parametrize("value", [3.0, math.nan])
def test_a_constant_column_offers_nothing(value: float) -> None:
    assert make_features({"x": np.full(100, value)}, {"x": "numeric"}, 8) == []


def test_missing_against_present_is_a_split_of_its_own() -> None:
    column = np.where(np.arange(100) % 3 == 0, math.nan, 5.0)
    (feature,) = make_features({"x": column}, {"x": "numeric"}, 8)
    condition = feature.condition(np.array([True, False, False]))
    assert condition == {"input": "x", "op": "lt", "value": PRESENT, "missing": "right"}


def test_few_missing_values_make_no_group_and_go_right() -> None:
    column = np.arange(200.0)
    column[:5] = math.nan
    (feature,) = make_features({"x": column}, {"x": "numeric"}, 8, min_rows=20)
    assert (feature.seen_missing, feature.seen_unknown) == (False, True)


def test_order_map_is_what_the_ciphertext_sums_need() -> None:
    columns = {"a": np.arange(100.0), "b": np.arange(100.0) % 7}
    features = make_features(columns, {"a": "numeric", "b": "numeric"}, 10)
    codes = order_map(features, columns)
    assert codes.dtype == np.int8 and codes.flags["C_CONTIGUOUS"] and codes.shape == (100, 2)
