"""Native text in, releasable text and exact trees out."""

from __future__ import annotations

import math
import re

import lightgbm as lgb
import numpy as np
import pytest

from models.learners import Column, columns_of
from models.learners.boosting import Boosting
from models.learners.lightgbm_text import NativeModel, UnsupportedModel
from models.roles import FIT, TEST
from models.sample import join, read_parquet
from tests.models.support import parquet, ticket


@pytest.fixture(scope="module", params=["sba_2003_2006", "polish_1year"])
def fitted(request):
    body = ticket(request.param)
    tables = (read_parquet(parquet(request.param, party), party) for party in ("bank", "lab"))
    columns = columns_of(body)
    rows = join(*tables, body, columns)
    fit = rows.rows(FIT)
    learner = Boosting(columns).fit(rows.X.loc[fit], rows.y[fit])
    return rows, learner


def walk(node, values):
    """Follow one row of encoded values down a parsed tree."""
    while not node.is_leaf:
        value = values[node.feature]
        if node.levels is not None:
            left = not math.isnan(value) and int(value) in node.levels
        else:
            left = node.missing_left if math.isnan(value) else value < node.value
        node = node.left if left else node.right
    return node.value


def raw_training(learner, rows):
    """The same training with LightGBM alone, untouched by our text."""
    fit = rows.rows(FIT)
    matrix = learner._matrix(rows.X)
    categorical = [i for i, column in enumerate(learner.columns) if column.kind == "categorical"]
    params = learner._params()
    data = lgb.Dataset(matrix[fit], rows.y[fit], categorical_feature=categorical, params=params)
    return matrix, lgb.train(params | {"seed": 0}, data, learner.rounds)


def test_trees_answer_exactly_like_lightgbm_on_rows_with_missing_values_and_unseen_levels(fitted):
    rows, learner = fitted
    matrix, booster = raw_training(learner, rows)
    trees = NativeModel.parse(booster.model_to_string()).trees
    some = matrix[rows.rows(TEST)][:300].copy()
    rng = np.random.default_rng(1)
    some[rng.random(some.shape) < 0.15] = np.nan
    some[rng.random(some.shape) < 0.05] = 0.0
    categorical = [i for i, column in enumerate(learner.columns) if column.kind == "categorical"]
    for column in categorical:
        some[rng.random(len(some)) < 0.1, column] = 9999.0
    expected = booster.predict(some, raw_score=True)
    got = [sum(walk(tree, row) for tree in trees) for row in some]
    assert np.allclose(got, expected, rtol=0, atol=1e-9)


def test_rounding_thresholds_sends_no_training_row_another_way(fitted):
    rows, learner = fitted
    matrix, booster = raw_training(learner, rows)
    fit = rows.rows(FIT)
    assert np.allclose(booster.predict(matrix[fit], raw_score=True), learner.margin(rows.X.loc[fit]), atol=1e-9)


def test_the_released_text_is_read_back_by_lightgbm_with_the_same_margins(fitted):
    rows, learner = fitted
    X = rows.X.loc[rows.rows(TEST)].head(500)
    again = lgb.Booster(model_str=learner.text())
    assert np.array_equal(again.predict(learner._matrix(X), raw_score=True), learner.margin(X))
    assert NativeModel.parse(learner.text()).to_text(learner._levels_by_feature()) == learner.text()


def test_the_released_text_predicts_from_a_frame_with_categories(fitted):
    rows, learner = fitted
    X = rows.X.loc[rows.rows(TEST)].head(300).copy()
    for column in learner.columns:
        if column.kind == "categorical":
            X[column.key] = X[column.key].astype("category")
    again = lgb.Booster(model_str=learner.text())
    assert np.allclose(again.predict(X, raw_score=True), learner.margin(X), atol=1e-9)


def test_no_private_minimum_or_maximum_leaves_in_the_text(fitted):
    _, learner = fitted
    infos = re.search(r"^feature_infos=(.*)$", learner.text(), re.M).group(1)
    assert set(infos.split(" ")) <= {"[-inf:inf]", "none"}
    assert "parameters" not in learner.text()


def test_counts_are_rounded_and_no_leaf_is_small(fitted):
    rows, learner = fitted
    for name in ("leaf_count", "internal_count"):
        counts = [int(c) for line in re.findall(rf"^{name}=(.*)$", learner.text(), re.M) for c in line.split()]
        assert min(counts) >= 20
        assert all(count % 5 == 0 for count in counts)
    matrix = learner._matrix(rows.X.loc[rows.rows(FIT)])
    leaves = learner.booster_.predict(matrix, pred_leaf=True)
    assert min(np.unique(leaves[:, tree], return_counts=True)[1].min() for tree in range(leaves.shape[1])) >= 20


@pytest.mark.parametrize("fitted", ["polish_1year"], indirect=True)
def test_min_leaf_holds_where_lightgbm_alone_would_break_it(fitted):
    """LightGBM counts rows from Hessians: with a rare label its own guard lets leaves of few rows pass."""
    rows, learner = fitted
    fit = rows.rows(FIT)
    params = learner._params() | {"min_sum_hessian_in_leaf": 1e-3}
    booster = lgb.train(params, lgb.Dataset(learner._matrix(rows.X)[fit], rows.y[fit], params=params), 30)
    assert NativeModel.parse(booster.model_to_string()).smallest_leaf() < 20
    assert learner.native_.smallest_leaf() >= 20


@pytest.mark.parametrize("fitted", ["sba_2003_2006"], indirect=True)
def test_thresholds_are_short_and_no_enterprises_exact_figure(fitted):
    _, learner = fitted
    splits = [n for tree in learner.native_.trees for n in tree.walk() if not n.is_leaf and n.levels is None]
    digits = [len(repr(n.value).replace(".", "").strip("0-")) for n in splits]
    assert np.median(digits) <= 4


@pytest.mark.parametrize(
    "params",
    [{"linear_tree": True}, {"zero_as_missing": True}, {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}],
)
def test_what_the_document_cannot_say_exactly_is_refused(params):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3)) * (rng.random((500, 3)) < 0.7)
    y = (X[:, 0] + rng.normal(size=500) > 0).astype(float)
    params = {"objective": "binary", "verbose": -1, "num_threads": 1, **params}
    booster = lgb.train(params, lgb.Dataset(X, y, params=params), 3)
    with pytest.raises(UnsupportedModel):
        NativeModel.parse(booster.model_to_string())


def test_a_label_without_signal_gives_a_model_of_single_leaves():
    rng = np.random.default_rng(0)
    import pandas as pd

    X = pd.DataFrame({"bank.x": rng.integers(0, 2, 200).astype(float)})
    y = np.tile([0, 1], 100)
    learner = Boosting([Column("bank", "x", "numeric")], min_leaf=150).fit(X, y)
    assert np.allclose(learner.margin(X), 0)
    assert learner.body()["inputs"] == {"bank": [], "lab": []}
