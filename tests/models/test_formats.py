"""Model documents: canonical bytes, validation, and the two owners' parts."""

from __future__ import annotations

import copy
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from models.formats import InvalidModel, canonical, content_sha256, join_parts, split_part, validate
from tests.models.models_for_tests import quick, scorecards, tree_models

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=12,
)
models = st.one_of(tree_models(), scorecards())


@quick
@given(json_values)
def test_canonical_bytes_are_those_of_rfc_8785(value):
    try:
        expected = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return
    assert canonical(value) == expected


def test_what_json_cannot_carry_has_no_canonical_bytes():
    for value in (float("nan"), float("inf"), 2**53, {1, 2}):
        with pytest.raises(ValueError):
            canonical({"x": value})


def test_the_content_address_ignores_order_and_sees_every_change():
    one, other = {"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}
    assert content_sha256(one) == content_sha256(other)
    assert content_sha256(one) != content_sha256({"a": 1, "b": [2, 1]})


@quick
@given(models)
def test_parts_join_to_the_model_they_were_cut_from(model):
    validate(model)
    bank, lab = split_part(model, "bank"), split_part(model, "lab")
    assert content_sha256(join_parts(bank, lab)) == content_sha256(model)


@quick
@given(models)
def test_a_part_says_nothing_of_the_other_owner(model):
    bank, lab = split_part(model, "bank"), split_part(model, "lab")
    for part, foreign in ((bank, ("age", "state")), (lab, ("amount", "term"))):
        assert validate(part) is part
        text = json.dumps(part, ensure_ascii=False)
        assert not any(f'"{name}"' in text for name in foreign)
    assert all(node["leaf"] is None for tree in lab.get("trees", []) for node in tree["nodes"] if "leaf" in node)
    assert lab["calibration"] is None
    assert lab["scale"] is None
    assert lab.get("intercept") is None


@quick
@given(tree_models())
def test_a_lab_part_with_a_leaf_value_is_refused(model):
    lab = split_part(model, "lab")
    leaf = next(node for node in lab["trees"][0]["nodes"] if "leaf" in node)
    leaf["leaf"] = 0.25
    with pytest.raises(InvalidModel, match="leaf"):
        validate(lab)


@quick
@given(models)
def test_parts_of_different_jobs_do_not_join(model):
    bank, lab = split_part(model, "bank"), split_part(model, "lab")
    lab["job_id"] = "j-ffffffffffff"
    with pytest.raises(InvalidModel, match="job_id"):
        join_parts(bank, lab)


@quick
@given(models)
def test_calibration_can_be_filled_in_when_parts_join(model):
    bank, lab = split_part(model, "bank"), split_part(model, "lab")
    bank["calibration"] = bank["scale"] = None
    with pytest.raises(InvalidModel, match="calibration"):
        join_parts(bank, lab)
    joined = join_parts(bank, lab, {"a": 0.5, "b": 0.1})
    assert joined["calibration"] == {"a": 0.5, "b": 0.1}
    assert joined["scale"]["pdo"] == 50


SPLIT = {"party": "bank", "input": "amount", "op": "lt", "value": 1.0, "missing": "left", "left": 1, "right": 2}


def model_with(nodes):
    from tests.models.models_for_tests import head

    return head("tree_ensemble") | {"base_margin": 0.0, "trees": [{"nodes": nodes}]}


LEAF = {"leaf": 0.1, "cover": 20}


@pytest.mark.parametrize(
    ("nodes", "where"),
    [
        ([], "trees[0]"),
        ([SPLIT | {"left": 0}, LEAF, LEAF], "left"),
        ([SPLIT | {"right": 9}, LEAF, LEAF], "right"),
        ([SPLIT | {"right": 1}, LEAF, LEAF], "trees[0]"),
        ([SPLIT | {"input": "nothing"}, LEAF, LEAF], "input"),
        ([SPLIT | {"value": float("nan")}, LEAF, LEAF], "nodes[0]"),
        ([SPLIT | {"op": "gt"}, LEAF, LEAF], "op"),
        ([SPLIT | {"missing": "both"}, LEAF, LEAF], "missing"),
        ([SPLIT | {"input": "term"}, LEAF, LEAF], "nodes[0]"),
        ([SPLIT | {"party": "other"}, LEAF, LEAF], "party"),
        ([SPLIT, LEAF, LEAF | {"leaf": float("inf")}], "leaf"),
        ([SPLIT, LEAF, LEAF | {"code": "import os"}], "nodes[2]"),
        ([LEAF, LEAF], "trees[0]"),
    ],
)
def test_a_broken_tree_is_refused_at_its_place(nodes, where):
    with pytest.raises(InvalidModel) as caught:
        validate(model_with(copy.deepcopy(nodes)))
    assert where in caught.value.where


def test_a_calibration_that_turns_the_ranking_round_is_refused():
    model = model_with([LEAF])
    model["calibration"]["a"] = -1.0
    try:
        with pytest.raises(InvalidModel, match=r"calibration\.a"):
            validate(model)
    finally:
        model["calibration"]["a"] = 0.9
