"""The simulated province: the same by seed, of every category, with the faults of real sources, worth a joint model."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from typer.testing import CliRunner

from features.catalogue import load
from features.ingest.log import Entry, Log
from features.province import Order, settle, write
from features.province.cli import app
from features.province.enterprises import FIRST
from features.province.records import Province
from features.province.write import joint, load_into
from features.store import OPS, EventStore
from features.store.engine import connect
from features.validation import check_pair


@dataclass(frozen=True)
class Made:
    folder: Path
    store: Path
    joint: Path
    entries: list[Entry]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("province")
    write(root / "p", Order(2500, 2, 4))
    load_into(root / "p", root / "store")
    return Made(root / "p", root / "store", joint(root / "p", root / "store"), Log(root / "store").entries())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("province") / "small"
    write(out, Order(150, 3, 7))
    return out


def files(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def consents(folder: Path, bank: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "banks" / bank / "consents.jsonl").read_text().splitlines()]


def test_the_same_seed_gives_the_same_files_and_another_seed_others(small: Path, tmp_path: Path) -> None:
    write(tmp_path / "again", Order(150, 3, 7))
    write(tmp_path / "other", Order(150, 3, 8))
    assert files(tmp_path / "again") == files(small)
    other, first = files(tmp_path / "other"), files(small)
    assert not [name for name in first if "records" in name and first[name] == other.get(name)]


def test_every_category_is_delivered_and_credit_only_by_banks(made: Made) -> None:
    """R36."""
    public = {path.name.split("-")[1] for path in (made.folder / "deliveries").iterdir()}
    assert public == {category.id for category in load()} - {"credit"}
    for bank in (made.folder / "banks").iterdir():
        assert {path.name.split("-")[1] for path in (bank / "deliveries").iterdir()} == {"credit"}


def test_everything_says_that_it_is_simulated(made: Made) -> None:
    headers = [*made.folder.glob("deliveries/*/batch.toml"), *made.folder.glob("banks/*/deliveries/*/batch.toml")]
    assert headers
    for path in (*headers, made.folder / "README.md", made.joint / "README.md", made.joint / "dataset.toml"):
        assert "SIMULATED" in path.read_text(encoding="utf-8").upper()
    codes = pq.read_table(made.folder / "truth" / "enterprises.parquet").column("uscc").to_pylist()
    assert all(code[2:8] == "449901" for code in codes)  # a division that is not assigned


def test_what_goes_wrong_with_sources_goes_wrong_here(made: Made) -> None:
    """R38, R54: errors are held, repeats counted once, delays and old registration numbers occur."""
    faults, matched = Counter[str](), Counter[str]()
    for entry in made.entries:
        faults.update(entry.counts["faults"])
        matched.update(entry.counts["matched_by"])
    assert {"uscc_check", "date_future", "not_code"} <= set(faults)
    assert matched["registration_number"] > 100
    assert sum(entry.counts["redelivered"] for entry in made.entries) > 100
    assert sum(entry.counts["late"] for entry in made.entries) > 1000
    snapshot = EventStore(made.store, load()).snapshot()
    with connect() as db:
        events = snapshot.table([one for one in snapshot.files if one.kind == "amended"])
        ops = {op for (op,) in db.execute(f"SELECT DISTINCT op FROM {events}").fetchall()}
    assert ops == set(OPS)


def test_sources_are_missing_for_some() -> None:
    people = settle(np.random.default_rng(1), 2000)
    bills = {facts.source: facts for facts in Province(np.random.default_rng(2), people).utilities()}
    assert not set(people.district[bills["gas_company"].who]) & {"449905", "449906"}
    assert 0.8 < len(set(bills["power_company"].who)) / len(people) < 0.9


def test_business_follows_the_season() -> None:
    """Growers sell in autumn; the others much less so."""
    people = settle(np.random.default_rng(1), 2000)
    sales = Province(np.random.default_rng(2), people)._sales
    month = (FIRST + np.arange(sales.shape[1])).astype(int) % 12 + 1
    grower = people.sector == 6
    lead = sales[:, month == 9].mean(axis=1) - sales[:, month == 3].mean(axis=1)
    assert lead[grower].mean() > lead[~grower].mean() + 0.5


def test_loan_books_overlap_and_agree_on_nobody_s_fate_by_chance(made: Made) -> None:
    one, two = (pq.read_table(made.folder / "banks" / name / "loans.parquet") for name in ("bank_a", "bank_b"))
    both = set(one.column("uscc").to_pylist()) & set(two.column("uscc").to_pylist())
    assert 0.1 < len(both) / min(len(one), len(two)) < 0.9
    fates = [dict(zip(t.column("uscc").to_pylist(), t.column("bad_12m").to_pylist(), strict=True)) for t in (one, two)]
    assert np.mean([fates[0][code] == fates[1][code] for code in both]) > 0.9


def test_behind_a_sole_trader_a_person_is_asked_and_without_consent_no_row_is_used(made: Made) -> None:
    said = consents(made.folder, "bank_a") + consents(made.folder, "bank_b")
    persons = [one for one in said if one["person"]]
    assert persons and any(one["person_consented"] is False for one in persons)
    refused = {
        (one["recipient"], one["uscc"]) for one in said if one["state"] != "granted" or one["person_consented"] is False
    }
    used = pq.read_table(made.joint / "bank.parquet", columns=["party", "uscc"]).to_pylist()
    assert refused and not refused & {(row["party"], row["uscc"]) for row in used}


def test_the_two_tables_pass_every_check(made: Made) -> None:
    assert check_pair(made.joint) == []


def test_joint_modelling_has_a_real_but_imperfect_gain(made: Made) -> None:
    bank = pq.read_table(made.joint / "bank.parquet").to_pandas()
    table = bank.merge(pq.read_table(made.joint / "lab.parquet").to_pandas().drop(columns="as_of"), on="uscc")
    truths = [pq.read_table(made.folder / "truth" / f"{name}.parquet").to_pandas().assign(party=name)
              for name in ("bank_a", "bank_b")]  # fmt: skip
    table = table.merge(pandas.concat(truths), on=["uscc", "party"])
    kept = ("uscc", "as_of", "party", "split", "bad_12m", "log_odds")
    for name in table.columns:
        if table[name].dtype == object and name not in kept:
            table[name] = table[name].astype("category")

    def auc(columns: list[str]) -> float:
        learner = lightgbm.LGBMClassifier(
            n_estimators=80, learning_rate=0.05, num_leaves=7, min_child_samples=25, subsample=0.8, subsample_freq=1,
            colsample_bytree=0.4, reg_lambda=5, verbose=-1, num_threads=1, random_state=1,
        )  # fmt: skip
        # every row is judged by a model that has not seen it
        folds = StratifiedKFold(5, shuffle=True, random_state=1)
        judged = cross_val_predict(learner, table[columns], table["bad_12m"], cv=folds, method="predict_proba")
        return float(roc_auc_score(table["bad_12m"], judged[:, 1]))

    alone = auc([name for name in bank.columns if name not in kept])
    together = auc([name for name in table.columns if name not in kept])
    truth = float(roc_auc_score(table["bad_12m"], table["log_odds"]))
    assert alone + 0.02 < together < truth - 0.02


def test_one_command_ends_in_a_feature_table(tmp_path: Path) -> None:
    out = tmp_path / "p"
    told = CliRunner().invoke(
        app, ["--enterprises", "120", "--banks", "1", "--out", str(out), "--load", str(tmp_path / "store")]
    )
    assert told.exit_code == 0, told.output
    assert "SIMULATED" in told.output
    lab = pq.read_table(out / "joint" / "lab.parquet")
    assert len(lab) == 120
    assert pa.types.is_date(lab.schema.field("as_of").type)


def test_a_folder_that_is_not_empty_is_left_alone(small: Path) -> None:
    before = files(small)
    told = CliRunner().invoke(app, ["--out", str(small)])
    assert told.exit_code == 1
    assert files(small) == before
