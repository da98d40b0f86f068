"""A whole logistic job: weights of evidence through encrypted counts, Newton's method on secret shares."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from models import formats, scoring
from models.learners.base import Column
from models.learners.scorecard import Scorecard

from . import harness
from .conftest import COLUMNS, make_tables, raw_rows, write_inputs
from .harness import Side


class Outcome:
    def __init__(self, folder: Path) -> None:
        self.tables = make_tables()
        recipe = {"name": "logistic", "params": {"epochs": 8}}
        self.ticket = harness.ticket(COLUMNS, recipe, protocol__psi="ECDH")
        self.sides: dict[str, Side] = harness.run(
            harness.tasks(self.ticket), write_inputs(self.tables, folder), folder, seconds=150
        )
        for side in self.sides.values():
            assert side.code == 0, side.error
        self.bank, self.lab = self.sides["bank"], self.sides["lab"]
        self.scores = pd.read_parquet(io.BytesIO(self.bank.outputs["scores.parquet"]))
        self.model = formats.join_parts(
            self.bank.json("model_part.json"), self.lab.json("model_part.json"), {"a": 1.0, "b": 0.0}
        )
        self.reference = {joint: self._reference(joint) for joint in (True, False)}

    def _reference(self, joint: bool) -> tuple[Scorecard, np.ndarray]:
        """The plaintext recipe on the same rows, and its margins."""
        frames = {party: self.tables[party].set_index("id").loc[self.scores["id"]] for party in COLUMNS}
        columns = [
            Column(party, column["name"], column["kind"])
            for party in COLUMNS
            for column in COLUMNS[party]
            if joint or party == "lab"
        ]
        design = pd.DataFrame({column.key: frames[column.party][column.name].to_numpy() for column in columns})
        fit = (self.scores["role"] == "fit").to_numpy()
        card = Scorecard(columns).fit(design[fit].reset_index(drop=True), self.scores["y"].to_numpy()[fit])
        return card, card.margin(design)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return Outcome(tmp_path_factory.mktemp("logistic"))


def test_coefficients_match_scikit_learn_on_the_same_weights_of_evidence(done: Outcome) -> None:
    card, _ = done.reference[True]
    secret = {f"{f['party']}.{f['input']}": f["coefficient"] for f in done.model["features"]}
    plain = dict(zip(secret, card.coefficients_.values(), strict=True))
    assert max(abs(secret[key] - plain[key]) for key in secret) < 5e-3
    assert done.model["intercept"] == pytest.approx(card.intercept_, abs=5e-3)


@pytest.mark.parametrize(("joint", "column"), [(True, "joint_margin"), (False, "lab_margin")])
def test_margins_and_auc_match_the_plaintext_recipe(done: Outcome, joint: bool, column: str) -> None:
    _, margin = done.reference[joint]
    assert np.abs(margin - done.scores[column]).max() < 0.02
    test = done.scores["role"] == "test"
    ours = roc_auc_score(done.scores["y"][test], done.scores[column][test])
    assert abs(ours - roc_auc_score(done.scores["y"][test], margin[test])) < 0.002


def test_probabilities_are_as_calibrated_as_the_plaintext_ones(done: Outcome) -> None:
    fit = (done.scores["role"] == "fit").to_numpy()
    label = done.scores["y"].to_numpy()[fit]
    _, plain = done.reference[True]
    secret = done.scores["joint_margin"].to_numpy()
    assert (1 / (1 + np.exp(-secret[fit]))).mean() == pytest.approx(label.mean(), abs=1e-3)
    slopes = [LogisticRegression(C=1e9).fit(margin[fit][:, None], label).coef_[0, 0] for margin in (secret, plain)]
    assert slopes[0] == pytest.approx(slopes[1], abs=0.01)


def test_the_joined_parts_score_raw_rows_as_the_engine_did(done: Outcome) -> None:
    rows = raw_rows(done.tables, done.scores["id"])
    margins = []
    for bank, lab in zip(rows["bank"], rows["lab"], strict=True):
        partials = {"bank": scoring.partial(done.model, "bank", bank), "lab": scoring.partial(done.model, "lab", lab)}
        margins.append(scoring.finish(done.model, partials)["margin"])
    assert np.abs(np.array(margins) - done.scores["joint_margin"]).max() < 1e-4


def test_each_owner_keeps_its_own_coefficients_and_the_bank_the_intercept(done: Outcome) -> None:
    bank, lab = done.bank.json("model_part.json"), done.lab.json("model_part.json")
    assert lab["intercept"] is None and bank["intercept"] is not None
    assert all(set(feature) == {"party"} for feature in bank["features"] if feature["party"] == "lab")
    assert all(set(feature) == {"party"} for feature in lab["features"] if feature["party"] == "bank")


def test_the_facts_name_the_protocol_that_ran(done: Outcome) -> None:
    facts = done.lab.summary["protocol"]
    assert facts["spu"] == "SEMI2K" and facts["field"] == "FM128" and "25519" in facts["psi"]
