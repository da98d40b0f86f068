"""Metrics agree with scikit-learn and with definitions; intervals cover; no released point is about a few."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from models import evaluation as ev
from tests.models.models_for_tests import quick


def draw(n=3000, seed=0, signal=0.7, rate=0.25):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < rate).astype(int)
    return y, signal * y + rng.normal(size=n)


@quick
@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=60))
def test_auc_and_ks_agree_with_scikit_learn_and_scipy_under_ties(rows):
    y, margin = np.array([int(bad) for bad, _ in rows]), np.array([float(value) for _, value in rows])
    if y.min() == y.max():
        with pytest.raises(ValueError, match="both"):
            ev.auc(y, margin)
        return
    assert ev.auc(y, margin) == pytest.approx(roc_auc_score(y, margin))
    assert ev.gini(y, margin) == pytest.approx(2 * roc_auc_score(y, margin) - 1)
    assert ev.ks(y, margin) == pytest.approx(ks_2samp(margin[y == 0], margin[y == 1]).statistic)


def test_brier_agrees_with_scikit_learn():
    y, margin = draw()
    assert ev.brier(y, expit(margin)) == pytest.approx(brier_score_loss(y, expit(margin)))


def test_each_resample_is_what_resampling_rows_would_give():
    y, margin = draw(300)
    margin = margin.round(1)  # ties
    drawn = ev.bootstrap(y, {"m": margin}, 5, seed=9)["m"]
    rng = np.random.default_rng(9)
    for area, gap in drawn:
        rows = rng.integers(0, len(y), len(y))
        assert area == pytest.approx(roc_auc_score(y[rows], margin[rows]))
        assert gap == pytest.approx(ev.ks(y[rows], margin[rows]))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    y, margin = draw(200_000, seed=5)
    truth = ev.auc(y, margin)
    covered = 0
    for seed in range(60):
        rows = np.random.default_rng(seed).integers(0, len(y), 800)
        low, high = ev._interval(ev.bootstrap(y[rows], {"m": margin[rows]}, 200, seed)["m"][:, 0])
        covered += low <= truth <= high
    assert covered >= 52  # 57 expected; 52 or fewer happen once in a hundred times


def test_uplift_intervals_are_paired_and_so_narrower_than_unpaired_ones():
    y, base = draw(2000)
    better = base + 0.15 * y
    same, other = ev.bootstrap(y, {"a": base, "b": better}, 300, 1), ev.bootstrap(y, {"b": better}, 300, 2)
    paired = ev.uplift(y, base, better, (same["a"], same["b"]))
    unpaired = ev.uplift(y, base, better, (same["a"], other["b"]))
    assert paired["auc"] == pytest.approx(ev.auc(y, better) - ev.auc(y, base), abs=1e-4)
    assert np.diff(paired["auc_ci"]) < 0.3 * np.diff(unpaired["auc_ci"])


def test_equal_models_have_no_uplift_at_all():
    y, margin = draw(1000)
    drawn = ev.bootstrap(y, {"a": margin, "b": margin * 2}, 100, 1)
    assert ev.uplift(y, margin, margin * 2, (drawn["a"], drawn["b"]))["auc_ci"] == [0.0, 0.0]


def test_four_hundred_resamples_of_four_models_take_seconds_at_most():
    y, margin = draw(10_000)
    started = time.process_time()
    ev.bootstrap(y, dict.fromkeys("abcd", margin), 400, 1)
    assert time.process_time() - started < 4


def test_platt_finds_the_slope_and_offset_that_made_the_labels():
    rng = np.random.default_rng(3)
    margin = rng.normal(size=60_000) * 2
    y = (rng.random(60_000) < expit(0.6 * margin - 1.1)).astype(int)
    found = ev.fit_platt(margin, y)
    assert found["a"] == pytest.approx(0.6, abs=0.03)
    assert found["b"] == pytest.approx(-1.1, abs=0.03)


def test_platt_never_turns_a_model_round():
    y, margin = draw(500)
    found = ev.fit_platt(-margin, y)
    assert found["a"] == 0.05
    assert expit(found["a"] * -margin + found["b"]).mean() == pytest.approx(y.mean(), abs=0.01)


def test_platt_stays_finite_when_classes_separate():
    found = ev.fit_platt(np.array([-2.0, -1.0, 1.0, 2.0] * 10), np.array([0, 0, 1, 1] * 10))
    assert np.isfinite(list(found.values())).all()


def test_the_stacker_is_logistic_regression_when_rows_are_many_and_the_mean_when_few():
    y, one = draw(20_000)
    two = draw(20_000, seed=1)[1] + 0.4 * y
    weights = ev.fit_stacker((one, two), y)
    plain = LogisticRegression(C=1e6).fit(np.column_stack([one, two]), y).coef_[0]
    assert weights[:2] == pytest.approx(plain, abs=0.01)
    assert ev.fit_stacker((one[:6], two[:6]), np.array([0, 1, 0, 0, 1, 0]), l2=1e6)[:2] == pytest.approx(
        [0.5, 0.5], abs=0.01
    )


@quick
@given(st.integers(25, 400), st.floats(0.05, 0.9), st.booleans(), st.integers(0, 10_000))
def test_no_curve_point_is_about_fewer_than_ten_enterprises(n, rate, ties, seed):
    y, margin = draw(n, seed, rate=rate)
    y[0], y[1] = 0, 1
    margin = margin.round(0) if ties else margin
    roc = ev.roc_points(y, margin)
    steps = np.diff([p["share"] for p in roc]) * n
    assert steps.min() >= 9.9
    assert roc[-1] == {"share": 1.0, "fpr": 1.0, "tpr": 1.0}
    for points in (ev.calibration_curve(y, expit(margin)),):
        assert min(p["share"] for p in points) * n >= 9.9
    bins = ev.score_distribution(y, 600 - 40 * margin)
    goods, bads = (y == 0).sum(), y.sum()
    assert min(b["goods"] * goods + b["bads"] * bads for b in bins) >= 9.9
    assert sum(b["goods"] for b in bins) == pytest.approx(1, abs=0.01)
    assert bins[0]["from"] is None
    assert bins[-1]["to"] is None


def test_roc_points_keep_the_area():
    y, margin = draw(5000)
    points = ev.roc_points(y, margin)
    area = np.trapezoid([p["tpr"] for p in points], [p["fpr"] for p in points])
    assert area == pytest.approx(ev.auc(y, margin), abs=0.003)


def test_a_perfectly_calibrated_model_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    pd = rng.uniform(0.02, 0.6, 50_000)
    y = (rng.random(50_000) < pd).astype(int)
    assert all(abs(p["predicted"] - p["observed"]) < 0.02 for p in ev.calibration_curve(y, pd))


def test_psi_stability_is_the_textbook_sum():
    expected, actual = np.array([1000, 1000]), np.array([1500, 500])
    assert ev.psi_stability(expected, actual) == pytest.approx(0.25 * np.log(1.5) - 0.25 * np.log(0.5), abs=1e-3)
    assert ev.psi_stability(expected, expected) == 0


def test_stability_sees_a_shift_a_new_level_and_new_missing_values():
    rng = np.random.default_rng(0)
    base = rng.normal(size=3000)
    assert ev.feature_stability(base, rng.normal(size=3000), "numeric")["band"] == "stable"
    assert ev.feature_stability(base, rng.normal(1, 1, 3000), "numeric")["band"] == "unstable"
    holes = np.where(rng.random(3000) < 0.4, np.nan, base)
    found = ev.feature_stability(base, holes, "numeric")
    assert found["band"] == "unstable"
    assert found["missing_test"] == pytest.approx(0.4, abs=0.03)
    assert ev.feature_stability(["a", "b"] * 500, ["a", "new"] * 500, "categorical")["band"] == "unstable"
    assert ev.score_stability(base, base + 1)["band"] == "unstable"


def test_a_stacker_never_turns_a_score_upside_down():
    """Few rows can make a good score look harmful; the stacked model must stay a fair opponent of the joint one."""
    rng = np.random.default_rng(3)
    y = np.array([0, 1] * 30)
    good = y * 2.0 - 1 + rng.normal(size=60)
    harmful = 1 - y * 2.0 + rng.normal(size=60)
    bank, lab, _ = ev.fit_stacker((good, harmful), y)
    assert bank > 0
    assert lab == 0
    both_harmful = ev.fit_stacker((-good, harmful), y)
    assert both_harmful[:2].min() >= 0
