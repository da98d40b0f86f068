"""A whole boosting job: two SecretFlow processes, real set intersection, real encryption, consents ending midway."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score as auc

from models import formats, scoring
from models.binning import assign, auc_from_counts, bin_count, fit_recipe_bins
from models.roles import roles

from . import harness
from .conftest import COLUMNS, make_tables, raw_rows, write_inputs
from .harness import Hooks, Side

LEAVES_BEFORE_FIT_JOINT, LEAVES_BEFORE_PREDICT = 25, 10


class Outcome:
    def __init__(self, folder: Path) -> None:
        self.tables = make_tables()
        self.columns = {**COLUMNS, "lab": [*COLUMNS["lab"], {"name": "written_off", "kind": "numeric"}]}
        outcome = self.tables["bank"].set_index("id")["y"].reindex(self.tables["lab"]["id"]).fillna(0)
        self.tables["lab"]["written_off"] = outcome.to_numpy() * 3.5  # states the outcome
        self.common = sorted(set(self.tables["bank"]["id"]) & set(self.tables["lab"]["id"]))
        middle = self.common[::20][:LEAVES_BEFORE_FIT_JOINT]
        late = [value for value in self.common if value not in middle][:LEAVES_BEFORE_PREDICT]
        self.gone = {"fit_joint": middle, "predict": late}
        # both know every enterprise at one date; the lab's "closed" holds days after it, some of them later
        for table in self.tables.values():
            table["as_of"] = dt.date(2024, 1, 31)
        days = np.random.default_rng(3).integers(-400, 40, len(self.tables["lab"]))
        self.tables["lab"]["closed"] = days.astype(float)
        self.columns["lab"].append({"name": "closed", "kind": "numeric", "unit": "days_after_as_of"})
        split = {"column": "window", "train": "train", "test": "oot"}
        params = {"rounds": 3, "max_depth": 3, "bins": 8}
        self.ticket = harness.ticket(
            self.columns, {"name": "boosting", "params": params}, split=split, dataset__as_of="as_of"
        )
        # The node repeats ids it has already asked to drop; that must do no harm.
        hooks = Hooks(exclude={"fit_joint": middle, "predict": [*middle, *late, "ent-nobody"]})
        self.pair = harness.Pair(
            harness.tasks(self.ticket, {"bank": [], "lab": ["headcount"]}),
            write_inputs(self.tables, folder),
            folder,
            hooks,
        )
        self.sides: dict[str, Side] = self.pair.wait(120)
        for side in self.sides.values():
            assert side.code == 0, side.error
        self.bank, self.lab = self.sides["bank"], self.sides["lab"]
        self.scores = pd.read_parquet(io.BytesIO(self.bank.outputs["scores.parquet"]))
        self.model = formats.join_parts(
            self.bank.json("model_part.json"), self.lab.json("model_part.json"), {"a": 1.0, "b": 0.0}
        )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return Outcome(tmp_path_factory.mktemp("boosting"))


def test_the_intersection_is_exact_for_ids_with_quotes_and_commas(done: Outcome) -> None:
    for side in done.sides.values():
        assert side.summary["intersection"] == len(done.common)


def test_both_parties_report_every_phase_with_its_costs(done: Outcome) -> None:
    names = ["psi", "screen", "fit_lab", "fit_joint", "predict"]
    for side in done.sides.values():
        finished = [message for message in side.of("phase") if message["state"] == "done"]
        assert [message["phase"] for message in finished] == names
        assert all(message["cpu_seconds"] > 0 and message["peak_rss_mb"] > 0 for message in finished)
        trees = [message["done"] for message in side.of("progress") if message["phase"] == "fit_joint"]
        assert trees == [1, 2, 3]


def test_rows_whose_consent_ends_leave_before_the_next_phase(done: Outcome) -> None:
    left = len(done.common) - LEAVES_BEFORE_FIT_JOINT - LEAVES_BEFORE_PREDICT
    assert done.bank.summary["rows"] == done.lab.summary["rows"] == len(done.scores) == left
    assert not set(done.scores["id"]) & {*done.gone["fit_joint"], *done.gone["predict"]}
    # The joint model was fitted without the first group: its root holds the remaining fit rows, no more.
    window = done.tables["bank"].set_index("id")["window"]
    before = [value for value in done.common if value not in done.gone["fit_joint"]]
    fit = int((roles(before, window.loc[before].tolist(), done.ticket) == "fit").sum())
    assert done.model["trees"][0]["nodes"][0]["cover"] == fit


def test_scores_carry_the_label_and_role_of_each_row(done: Outcome) -> None:
    bank = done.tables["bank"].set_index("id").loc[done.scores["id"]]
    assert done.scores["y"].tolist() == bank["y"].tolist()
    assert done.scores["role"].tolist() == roles(list(bank.index), bank["window"].tolist(), done.ticket).tolist()


def test_the_joined_parts_score_raw_rows_as_the_engine_did(done: Outcome) -> None:
    rows = raw_rows(done.tables, done.scores["id"])
    margins = []
    for bank, lab in zip(rows["bank"], rows["lab"], strict=True):
        partials = {"bank": scoring.partial(done.model, "bank", bank), "lab": scoring.partial(done.model, "lab", lab)}
        margins.append(scoring.finish(done.model, partials)["margin"])
    assert np.abs(np.array(margins) - done.scores["joint_margin"]).max() < 1e-4
    parties = {node.get("party") for tree in done.model["trees"] for node in tree["nodes"]}
    assert {"bank", "lab"} <= parties


def test_each_part_says_nothing_of_the_other_party(done: Outcome) -> None:
    bank, lab = (side.outputs["model_part.json"].decode() for side in (done.bank, done.lab))
    for name in ("tax_arrears", "province", "industry"):
        assert name not in bank and name in {
            column["name"] for column in done.lab.json("model_part.json")["inputs"]["lab"]
        }
    assert "tenure" not in lab and json.loads(lab)["base_margin"] is None
    assert all(node.get("leaf") is None for tree in json.loads(lab)["trees"] for node in tree["nodes"])


def test_excluded_columns_are_nowhere_in_the_model(done: Outcome) -> None:
    assert "headcount" not in json.dumps(done.model)
    assert "headcount" not in {row["column"] for row in done.bank.json("screen.json")}


def test_a_column_of_the_lab_that_states_the_outcome_is_screened_out_before_training(done: Outcome) -> None:
    screened = {row["column"]: row["auc"] for row in done.bank.json("screen.json")}
    assert screened["written_off"] > 0.99
    assert "written_off" not in json.dumps(done.model) and "tax_arrears" in json.dumps(done.model)
    # dates after the as-of date show without a label
    assert next(row for row in done.bank.json("screen.json") if row["column"] == "closed")["late_dates"] > 0.05
    assert "closed" not in json.dumps(done.model)
    # fit_lab, too, learned without it: its score is far from perfect
    assert 0.5 < auc(done.scores["y"], done.scores["lab_margin"]) < 0.95
    told = [told["what"] for told in done.bank.summary["protocol"]["revealed"] if told["to"] == "lab"]
    assert any("left out" in what for what in told)


def test_only_the_bank_gets_scores_and_screen(done: Outcome) -> None:
    assert set(done.bank.outputs) == {"scores.parquet", "model_part.json", "screen.json"}
    assert set(done.lab.outputs) == {"model_part.json"}


def test_the_screen_equals_counting_in_clear(done: Outcome) -> None:
    bank, lab = (done.tables[party].set_index("id").loc[done.common] for party in ("bank", "lab"))
    fit = roles(done.common, bank["window"].tolist(), done.ticket) == "fit"
    label = bank["y"].to_numpy()[fit]
    kinds = {column["name"]: column["kind"] for column in done.columns["lab"]}
    for row in done.bank.json("screen.json"):
        values = lab[row["column"]].to_numpy()[fit]
        settings = {"max_bins": 10, "min_share": 0.02, "max_levels": 20, "level_share": 0.01}
        bins = fit_recipe_bins(values, kinds[row["column"]], settings)
        codes = assign(bins, values)
        bads = np.bincount(codes, weights=label, minlength=bin_count(bins))
        goods = np.bincount(codes, minlength=bin_count(bins)) - bads
        assert row["auc"] == pytest.approx(auc_from_counts(goods, bads), abs=1e-6)
        assert row["party"] == "lab" and row["iv"] >= 0
    arrears = next(row for row in done.bank.json("screen.json") if row["column"] == "tax_arrears")
    assert arrears["missing_auc"] > 0.5


def test_nothing_is_left_in_the_private_folders(done: Outcome) -> None:
    assert done.pair.leftovers("bank") == [] and done.pair.leftovers("lab") == []


def test_the_report_facts_name_protocol_trust_and_what_was_revealed(done: Outcome) -> None:
    facts = done.bank.summary["protocol"]
    assert facts["psi"] == "RR22" and facts["heu"] == {"schema": "ou", "key_size": 2048, "secret_key": "bank"}
    assert {told["to"] for told in facts["revealed"]} == {"both", "bank", "lab"}
    assert all(told["what"] and told["what_zh"] for told in facts["revealed"])
    assert done.bank.summary["versions"]["secretflow"].startswith("1.14")
