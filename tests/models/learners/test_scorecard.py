"""The scorecard is scikit-learn's logistic regression on WOE data, and its probabilities are calibrated."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from models.evaluation import auc
from models.learners import columns_of, make
from models.learners.scorecard import contributions
from models.recipes import resolve
from models.roles import FIT, TEST
from models.sample import join, read_parquet
from tests.models.support import parquet, ticket


@pytest.fixture(scope="module")
def card():
    body = ticket("uci_card", "logistic")
    tables = (read_parquet(parquet("uci_card", party), party) for party in ("bank", "lab"))
    columns = columns_of(body)
    rows = join(*tables, body, columns)
    fit = rows.rows(FIT)
    return rows, make(resolve(body["recipe"]), columns).fit(rows.X.loc[fit], rows.y[fit])


def test_auc_is_that_of_scikit_learn_on_the_same_woe(card):
    rows, learner = card
    fit, test = rows.rows(FIT), rows.rows(TEST)
    plain = LogisticRegression(max_iter=1000).fit(learner.woe(rows.X.loc[fit]), rows.y[fit])
    ours = auc(rows.y[test], learner.margin(rows.X.loc[test]))
    theirs = auc(rows.y[test], plain.decision_function(learner.woe(rows.X.loc[test])))
    assert abs(ours - theirs) < 0.002


def test_mean_probability_is_the_bad_rate(card):
    rows, learner = card
    for role, tolerance in ((FIT, 1e-3), (TEST, 0.01)):
        mask = rows.rows(role)
        assert abs(learner.predict_proba(rows.X.loc[mask])[:, 1].mean() - rows.y[mask].mean()) < tolerance


def test_contributions_of_the_document_add_up_to_the_margin(card):
    rows, learner = card
    body = learner.body()
    X = rows.X.head(500)
    total = body["intercept"] + sum(contributions(f, X[f"{f['party']}.{f['input']}"]) for f in body["features"])
    assert np.allclose(total, learner.margin(X), atol=1e-9)
