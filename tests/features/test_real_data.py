"""The real pairs pass as they are, and are refused when spoilt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from features.tables import load_side
from features.validation import check_pair

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real tables lie beside the repository")

SHAPES = {
    "sba_2003_2006": (14486, 6, 20481, 24),
    "polish_1year": (7027, 24, 6680, 40),
    "uci_card": (30000, 13, 30000, 10),
}


@pytest.mark.parametrize("name", SHAPES)
def test_real_pairs_pass(name: str) -> None:
    assert check_pair(DATA / name) == []
    bank, lab = load_side(DATA / name, "bank"), load_side(DATA / name, "lab")
    assert (bank.rows, len(bank.columns), lab.rows, len(lab.columns)) == SHAPES[name]


@pytest.mark.parametrize("party", ["bank_a", "bank_b", "bank_c"])
def test_each_bank_of_a_real_table_passes(party: str) -> None:
    assert check_pair(DATA / "sba_2003_2006", party) == []


@pytest.mark.parametrize(("days", "code"), [(1, "as_of_later"), (-1, "as_of_earlier")])
def test_a_shifted_date_in_a_real_table_is_caught(tmp_path: Path, days: int, code: str) -> None:
    folder = Path(shutil.copytree(DATA / "sba_2003_2006", tmp_path / "shifted"))
    lab = pd.read_parquet(folder / "lab.parquet")
    known = lab["ent_id"].isin(pd.read_parquet(folder / "bank.parquet")["ent_id"])
    row = int(known.to_numpy().nonzero()[0][100])
    lab.loc[row, "as_of"] = lab.loc[row, "as_of"] + pd.DateOffset(days=days)
    lab.to_parquet(folder / "lab.parquet", index=False)
    [fault] = check_pair(folder)
    assert (fault.code, fault.file, fault.column, fault.rows) == (code, "lab.parquet", "as_of", (row + 1,))


def test_real_tables_written_as_csv_pass(tmp_path: Path) -> None:
    source, folder = DATA / "sba_2003_2006", tmp_path / "csv"
    folder.mkdir()
    for side in ("bank", "lab"):
        pd.read_parquet(source / f"{side}.parquet").to_csv(folder / f"{side}.csv", index=False)
    (folder / "dataset.toml").write_text(
        (source / "dataset.toml").read_text(encoding="utf-8").replace(".parquet", ".csv"), encoding="utf-8"
    )
    assert check_pair(folder) == []
    assert load_side(folder, "lab").data.equals(load_side(source, "lab").data)
