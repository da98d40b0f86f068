"""Every learner keeps the same contract, on real data with missing values and levels never seen."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from models.formats import SCALE, validate
from models.learners import Column, columns_of, make
from models.recipes import resolve
from models.roles import FIT, TEST
from models.sample import join, read_parquet
from models.scoring import finish, partial
from tests.models.models_for_tests import head
from tests.models.support import parquet, ticket

RECIPES = [
    {"name": "boosting"},
    {"name": "boosting", "params": {"bags": 2, "colsample": 0.6}},
    {"name": "logistic"},
    {"name": "logistic", "params": {"l2": 0}},
]
NAMES = ["boosting", "bagged boosting", "scorecard", "scorecard without penalty"]
learners = pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)


@pytest.fixture(scope="module")
def sample():
    body = ticket("sba_2003_2006")
    tables = (read_parquet(parquet("sba_2003_2006", party), party) for party in ("bank", "lab"))
    columns = columns_of(body)
    return columns, join(*tables, body, columns)


@pytest.fixture(scope="module")
def fitted(sample):
    columns, rows = sample
    fit = rows.rows(FIT)
    return {
        name: make(resolve(recipe, "zone"), columns, seed=3).fit(rows.X.loc[fit], rows.y[fit])
        for name, recipe in zip(NAMES, RECIPES, strict=True)
    }


def strange(rows, n=400):
    """Test rows with further missing values and levels that training never saw."""
    X = rows.X.loc[rows.rows(TEST)].head(n).reset_index(drop=True).copy()
    rng = np.random.default_rng(5)
    for key in X:
        hit = rng.random(n) < 0.2
        if X[key].dtype == object:
            X.loc[hit, key] = "never seen"
            X.loc[rng.random(n) < 0.2, key] = None
        else:
            X[key] = X[key].astype(float)
            X.loc[hit, key] = np.nan
    return X


@learners
def test_init_only_stores_and_clone_gives_an_equal_unfitted_learner(recipe):
    learner = make(resolve(recipe), [Column("bank", "x", "numeric")])
    names = inspect.signature(type(learner).__init__).parameters.keys() - {"self"}
    assert set(vars(learner)) == names
    assert clone(learner).get_params() == learner.get_params()


@learners
def test_an_unfitted_learner_says_so(recipe):
    learner = make(resolve(recipe), [Column("bank", "x", "numeric")])
    with pytest.raises(NotFittedError):
        learner.margin(pd.DataFrame({"bank.x": [1.0]}))
    with pytest.raises(NotFittedError):
        learner.body()


@pytest.mark.parametrize("name", NAMES)
def test_fitted_state_ends_in_an_underscore(fitted, name):
    learner = fitted[name]
    assert all(key.endswith("_") for key in vars(learner).keys() - learner.get_params().keys())


@learners
def test_fitting_is_deterministic_and_leaves_its_input_alone(recipe, sample):
    columns, rows = sample
    fit = np.flatnonzero(rows.rows(FIT))[:3000]
    X, y = rows.X.loc[fit].copy(), rows.y[fit].copy()
    before = X.copy(deep=True)
    margins = [make(resolve(recipe), columns, seed=3).fit(X, y).margin(X) for _ in range(2)]
    assert np.array_equal(margins[0], margins[1])
    pd.testing.assert_frame_equal(X, before)
    assert np.array_equal(y, rows.y[fit])


@pytest.mark.parametrize("name", NAMES)
def test_margins_are_finite_for_missing_values_and_unseen_levels(fitted, sample, name):
    X = strange(sample[1])
    margin = fitted[name].margin(X)
    assert margin.shape == (len(X),)
    assert np.isfinite(margin).all()
    proba = fitted[name].predict_proba(X)
    assert np.allclose(proba.sum(axis=1), 1)
    assert np.array_equal(fitted[name].predict(X), (proba[:, 1] > 0.5).astype(int))


@pytest.mark.parametrize("name", NAMES)
def test_the_document_scores_exactly_like_the_learner(fitted, sample, name):
    learner, X = fitted[name], strange(sample[1])
    model = head("") | {"calibration": {"a": 1.0, "b": 0.0}, "scale": dict(SCALE)} | learner.body()
    validate(model)
    margin = learner.margin(X)
    for index, row in enumerate(X.to_dict("records")):
        split = {
            party: {key.split(".", 1)[1]: value for key, value in row.items() if key.startswith(f"{party}.")}
            for party in ("bank", "lab")
        }
        result = finish(model, {party: partial(model, party, split[party]) for party in split})
        assert result["margin"] == pytest.approx(margin[index], abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_no_group_of_fewer_than_twenty_enterprises_leaves_in_a_document(fitted, sample, name):
    body = fitted[name].body()
    rows = sample[1]
    counts = {key: rows.X.loc[rows.rows(FIT), key].astype(str).value_counts() for key in rows.X}
    for tree in body.get("trees", []):
        for node in tree["nodes"]:
            if "leaf" in node:
                assert node["cover"] >= 20
                assert node["cover"] % 5 == 0
            elif node["op"] == "in":
                assert all(counts[f"{node['party']}.{node['input']}"][level] >= 20 for level in node["values"])
    for feature in body.get("features", []):
        for level in feature["bins"].get("levels", {}):
            assert counts[f"{feature['party']}.{feature['input']}"][level] >= 20


@pytest.mark.parametrize("name", NAMES)
def test_importance_names_every_column_and_is_not_negative(fitted, sample, name):
    importance = fitted[name].importance()
    assert set(importance) == {column.key for column in sample[0]}
    assert min(importance.values()) >= 0
    assert max(importance.values()) > 0


@learners
def test_columns_of_one_name_at_both_parties_stay_apart(recipe):
    rng = np.random.default_rng(0)
    columns = [Column("bank", "x", "numeric"), Column("lab", "x", "numeric")]
    X = pd.DataFrame({"bank.x": rng.normal(size=2000), "lab.x": rng.normal(size=2000)})
    y = (X["lab.x"] + rng.normal(size=2000) > 0.5).astype(int).to_numpy()
    importance = make(resolve(recipe), columns).fit(X, y).importance()
    assert importance["lab.x"] > 3 * importance["bank.x"]


@learners
def test_a_column_that_is_constant_or_empty_does_no_harm(recipe):
    rng = np.random.default_rng(0)
    columns = [Column("bank", name, kind) for name, kind in (("x", "numeric"), ("c", "numeric"), ("e", "categorical"))]
    X = pd.DataFrame({"bank.x": rng.normal(size=1000), "bank.c": 1.0, "bank.e": None})
    y = (X["bank.x"] + rng.normal(size=1000) > 0).astype(int).to_numpy()
    learner = make(resolve(recipe), columns).fit(X, y)
    assert {column["name"] for column in learner.body()["inputs"]["bank"]} == {"x"}
