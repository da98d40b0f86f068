"""One enterprise's score: the same across owners as in one place, with reasons that add up."""

from __future__ import annotations

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.formats import split_part
from models.scoring import ScoringError, finish, partial, pd_of, score_of
from tests.models.models_for_tests import INPUTS, head, quick, rows, scorecards, tree_models

models = st.one_of(tree_models(), scorecards())


def plain_margin(model, row):
    """An independent reading of the document: walk each tree, look up each bin."""
    if model["kind"] == "scorecard":
        total = model["intercept"]
        for feature in model["features"]:
            value, bins = row[feature["party"]][feature["input"]], feature["bins"]
            if value is None:
                woe = bins["missing_woe"]
            elif feature["kind"] == "numeric":
                woe = bins["woe"][sum(value >= edge for edge in bins["edges"])]
            else:
                woe = bins["levels"].get(value, bins["other_woe"])
            total += feature["coefficient"] * woe
        return total
    total = model["base_margin"]
    for tree in model["trees"]:
        node = tree["nodes"][0]
        while "leaf" not in node:
            value = row[node["party"]][node["input"]]
            if value is None:
                side = node["missing"]
            elif node["op"] == "lt":
                side = "left" if value < node["value"] else "right"
            else:
                side = "left" if value in node["values"] else "right"
            node = tree["nodes"][node[side]]
        total += node["leaf"]
    return total


def over_the_wire(document):
    return json.loads(json.dumps(document))


@quick
@given(models, rows)
def test_split_scoring_equals_scoring_in_one_place(model, row):
    whole = finish(model, {party: partial(model, party, row[party]) for party in row})
    parts = {party: over_the_wire(partial(split_part(model, party), party, row[party])) for party in row}
    apart = finish(model, parts)
    assert apart == whole
    assert apart["margin"] == pytest.approx(plain_margin(model, row), abs=1e-9)


@quick
@given(models, rows)
def test_pd_and_points_follow_from_the_margin(model, row):
    result = finish(model, {party: partial(model, party, row[party]) for party in row})
    log_odds = 0.9 * result["margin"] - 0.1
    assert result["pd"] == pytest.approx(1 / (1 + math.exp(-log_odds)))
    assert result["score"] == round(387.6036 - 72.1348 * log_odds) or abs(
        result["score"] - (387.6036 - 72.1348 * log_odds)
    ) == pytest.approx(0.5, abs=1e-3)


def test_the_scale_is_600_points_at_odds_19_and_50_points_double_them():
    scale, identity = {"score": 600, "odds": 19, "pdo": 50}, {"a": 1.0, "b": 0.0}
    assert score_of(-math.log(19), identity, scale) == pytest.approx(600)
    assert score_of(-math.log(38), identity, scale) == pytest.approx(650)
    assert pd_of(-math.log(19), identity) == pytest.approx(0.05)
    assert pd_of(-1000, identity) == pytest.approx(0)
    assert pd_of(1000, identity) == 1.0


@quick
@given(tree_models(), rows)
def test_reasons_of_trees_are_points_lost_and_complete(model, row):
    partials = {party: partial(model, party, row[party]) for party in row}
    every = finish(model, partials, k=100)["reasons"]
    assert all(reason["points"] < 0 for reason in every)
    assert [reason["points"] for reason in every] == sorted(reason["points"] for reason in every)
    assert finish(model, partials, k=2)["reasons"] == every[:2]
    assert all(reason["feature"] in reason["text"] and "分" in reason["text_zh"] for reason in every)


def test_path_attribution_adds_up_from_the_average_to_the_margin():
    from models.scoring import _finish_trees, expected_margins

    nodes = [
        {"party": "bank", "input": "amount", "op": "lt", "value": 5, "missing": "left", "left": 1, "right": 4},
        {"party": "lab", "input": "age", "op": "lt", "value": 2, "missing": "left", "left": 2, "right": 3},
        {"leaf": 1.0, "cover": 10},
        {"leaf": -1.0, "cover": 30},
        {"leaf": 0.5, "cover": 40},
    ]
    model = {"kind": "tree_ensemble", "job_id": "j", "base_margin": 0.2, "inputs": INPUTS, "trees": [{"nodes": nodes}]}
    row = {"bank": {"amount": 1, "term": None}, "lab": {"age": 1, "state": None}}
    partials = {party: partial(model, party, row[party]) for party in row}
    assert partials["bank"]["leaves"] == ["3"]  # leaves 0 and 1 are below the bank's left branch
    assert partials["lab"]["leaves"] == ["5"]
    margin, costs = _finish_trees(model, partials)
    assert margin == pytest.approx(1.2)
    assert costs == {("bank", "amount"): pytest.approx(-0.5), ("lab", "age"): pytest.approx(1.5)}
    assert expected_margins(nodes)[0] + sum(costs.values()) == pytest.approx(1.0)


@quick
@given(tree_models(), rows)
def test_the_banks_part_alone_finishes_without_naming_the_labs_features(model, row):
    parts = {party: partial(split_part(model, party), party, row[party]) for party in row}
    result = finish(split_part(model, "bank"), parts)
    assert result["margin"] == finish(model, parts)["margin"]
    assert all(reason["feature"] is None for reason in result["reasons"] if reason["party"] == "lab")


@quick
@given(tree_models(), rows)
def test_a_partial_holds_no_value_of_the_row(model, row):
    secret = row["lab"] | {"age": 73.25819}
    assert "73.25" not in json.dumps(partial(model, "lab", secret))


@quick
@given(models, rows)
def test_partials_of_another_model_or_form_are_refused(model, row):
    partials = {party: partial(model, party, row[party]) for party in row}
    broken = [
        partials | {"lab": None},
        partials | {"lab": partials["lab"] | {"job_id": "j-other"}},
        partials | {"lab": partials["lab"] | {"leaves": ["zz"], "margin": "nan", "reasons": []}},
        partials | {"lab": {"kind": model["kind"], "job_id": model["job_id"]}},
    ]
    if model["kind"] == "tree_ensemble":
        broken.append(partials | {"lab": partials["lab"] | {"leaves": ["0"] * len(model["trees"])}})
    for given_ in broken:
        with pytest.raises(ScoringError):
            finish(model, given_)


@quick
@given(models)
def test_an_absent_column_is_an_error_and_not_a_missing_value(model):
    with pytest.raises(ScoringError) as caught:
        partial(model, "bank", {"amount": 3.0})
    assert caught.value.code == "input_absent"
    assert "bank.term" in caught.value.message


@quick
@given(models)
def test_text_in_a_number_is_refused_without_repeating_it(model):
    with pytest.raises(ScoringError) as caught:
        partial(model, "bank", {"amount": "secret", "term": "CA"})
    assert caught.value.code == "input_not_numeric"
    assert "secret" not in caught.value.message + caught.value.message_zh


def test_a_score_takes_less_than_five_milliseconds(sba_zone):
    from tests.models.support import sides

    model = sba_zone.model
    row = {side.side: side.row(side.ids[7]) for side in sides("sba_2003_2006")}
    taken = []
    for _ in range(30):
        started = time.perf_counter()
        finish(model, {party: partial(model, party, row[party]) for party in row})
        taken.append(time.perf_counter() - started)
    assert sorted(taken)[len(taken) // 2] < 0.005


@pytest.mark.parametrize(("value", "leaf"), [(4.999, 1.0), (5.0, -1.0), (5.001, -1.0), (None, 1.0), (math.nan, 1.0)])
def test_a_value_on_the_threshold_goes_right_and_a_missing_one_where_the_node_says(value, leaf):
    nodes = [
        {"party": "lab", "input": "age", "op": "lt", "value": 5, "missing": "left", "left": 1, "right": 2},
        {"leaf": 1.0, "cover": 10},
        {"leaf": -1.0, "cover": 30},
    ]
    model = head("tree_ensemble") | {"base_margin": 0.0, "trees": [{"nodes": nodes}]}
    row = {"bank": {"amount": 1, "term": None}, "lab": {"age": value, "state": None}}
    assert finish(model, {party: partial(model, party, row[party]) for party in row})["margin"] == leaf
