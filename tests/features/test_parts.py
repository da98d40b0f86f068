"""One owner's own folder: its rows and nothing of anybody else."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from features import simulator
from features.cli import app
from features.faults import DataRefused
from features.parts import write_part
from features.tables import load_side
from tests.features.conftest import Pair


@pytest.mark.parametrize("party", ["bank_a", "bank_b"])
def test_a_banks_csv_holds_its_rows_only(pair: Pair, tmp_path: Path, party: str) -> None:
    write_part(pair.write(), tmp_path / "own", "bank", party)
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["bank.csv", "dataset.toml"]
    own = load_side(tmp_path / "own", "bank")
    assert own.data.equals(load_side(pair.folder, "bank", party).data)
    other = next(row for row in pair.bank if row["owner"] != party)
    assert other["ent_id"] not in (tmp_path / "own" / "bank.csv").read_text()


def test_a_banks_parquet_holds_its_rows_only(tmp_path: Path) -> None:
    whole = simulator.write(tmp_path / "whole", size=simulator.Size(2000, 2200, 1800))
    table = write_part(whole, tmp_path / "own", "bank", "bank_b")
    assert set(pd.read_parquet(table)["party"]) == {"bank_b"}
    assert load_side(tmp_path / "own", "bank").data.equals(load_side(whole, "bank", "bank_b").data)


def test_the_labs_folder_holds_the_labs_table_unchanged(pair: Pair, tmp_path: Path) -> None:
    table = write_part(pair.write(), tmp_path / "own", "lab")
    assert table.read_bytes() == (pair.folder / "lab.csv").read_bytes()
    assert sorted(path.name for path in table.parent.iterdir()) == ["dataset.toml", "lab.csv"]


def test_a_party_needs_a_party_column(pair: Pair, tmp_path: Path) -> None:
    pair.contract = pair.contract.replace('party = "owner"\n', "").replace('["loan_nr"]', '["loan_nr", "owner"]')
    with pytest.raises(DataRefused):
        write_part(pair.write(), tmp_path / "own", "bank", "bank_a")


def test_part_on_the_command_line(pair: Pair, tmp_path: Path) -> None:
    out = tmp_path / "own"
    arguments = ["part", str(pair.write()), str(out), "--side", "bank", "--party", "bank_a"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (out / "bank.csv").is_file()
    assert CliRunner().invoke(app, ["part", str(pair.folder), str(out), "--side", "other"]).exit_code == 2
    (pair.folder / "bank.csv").unlink()
    assert CliRunner().invoke(app, arguments).exit_code == 1
