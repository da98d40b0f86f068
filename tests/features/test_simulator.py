"""The embedded example: simulated, seeded, valid, with a real but imperfect joint gain."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from features import simulator, uscc
from features.simulator import Size, simulate, write
from features.tables import load_side
from features.validation import check_pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("province"))


def test_the_example_passes_its_own_checks(folder: Path) -> None:
    assert check_pair(folder) == []
    assert check_pair(folder, "bank_a") == []
    assert check_pair(folder, "bank_b") == []


def test_the_example_has_the_promised_shape(folder: Path) -> None:
    bank, lab = load_side(folder, "bank"), load_side(folder, "lab")
    assert (bank.rows, lab.rows, len(set(bank.ids) & set(lab.ids))) == (6000, 8000, 5000)
    names = {column["name"] for column in lab.columns}
    assert {
        "tax_arrears_months",
        "vat_sales_growth_12m",
        "headcount_trend_12m",
        "utility_delinq_cnt_6m",
        "kwh_yoy",
        "judgment_defaulter_flag",
        "abnormal_list_flag",
    } <= names
    assert any(lab.data.column(name).null_count for name in names)
    assert all(uscc.is_valid(code) for code in bank.ids)


def test_the_example_says_that_it_is_simulated(folder: Path) -> None:
    assert "Simulated" in load_side(folder, "lab").contract.title
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "Simulated." in readme
    assert "模拟数据" in readme


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    size = Size(600, 700, 500)
    for name in ("bank.parquet", "lab.parquet", "dataset.toml", "README.md"):
        one, two = write(tmp_path / "1", 5, size) / name, write(tmp_path / "2", 5, size) / name
        assert one.read_bytes() == two.read_bytes()
    assert not simulate(6, size)[0].equals(simulate(5, size)[0])


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="common"):
        Size(100, 200, 150)


def test_joint_beats_the_bank_out_of_time_and_is_imperfect() -> None:
    bank, lab = simulate()
    assert 0.06 < bank["bad_12m"].mean() < 0.10
    data = bank.merge(lab.drop(columns="as_of"), on="uscc")
    other = {"uscc", "as_of", "party", "split", "bad_12m"}
    own = [name for name in bank if name not in other]
    theirs = [name for name in lab if name not in other]
    alone, joint = _auc(data, own), _auc(data, own + theirs)
    assert 0.62 < alone < 0.74
    assert alone + 0.03 < joint < 0.82


def _auc(data: pd.DataFrame, inputs: list[str]) -> float:
    table = data[inputs].apply(lambda column: column.astype("category") if column.dtype == object else column)
    train = data["split"] == "train"
    booster = lightgbm.train(
        {
            "objective": "binary",
            "max_depth": 4,
            "num_leaves": 15,
            "learning_rate": 0.15,
            "max_bin": 20,
            "min_data_in_leaf": 50,
            "verbose": -1,
            "num_threads": 1,
            "seed": 1,
        },
        lightgbm.Dataset(table[train], data.loc[train, "bad_12m"]),
        30,
    )
    return float(roc_auc_score(data.loc[~train, "bad_12m"], booster.predict(table[~train])))


def test_out_of_time_means_later(folder: Path) -> None:
    bank, _ = simulate()
    assert bank.loc[bank["split"] == "train", "as_of"].max() < bank.loc[bank["split"] == "oot", "as_of"].min()
    assert load_side(folder, "bank").contract.name == simulator.NAME
