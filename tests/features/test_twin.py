"""A mock twin has the form of a dataset and none of its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from features import simulator
from features.cli import app
from features.contract import read_contract
from features.twin import _LEAST, NEAR, WITHIN, TwinRefused, near, twin, write_twin
from features.twin import _comparable as comparable
from features.validation import check_pair
from tests.features.conftest import Pair


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulator.write(tmp_path_factory.mktemp("real"), 3, simulator.Size(1500, 2000, 1000))


@pytest.fixture(scope="module")
def mock(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_twin(real, tmp_path_factory.mktemp("mock"), 400, 5)


def tables(real: Path, mock: Path) -> list[tuple[pa.Table, pa.Table]]:
    return [
        (pq.read_table(real / f"{side}.parquet"), pq.read_table(mock / f"{side}.parquet")) for side in ("bank", "lab")
    ]


def test_a_twin_has_the_same_schema_and_passes_every_check(real: Path, mock: Path) -> None:
    for of_real, of_mock in tables(real, mock):
        assert of_mock.schema.remove_metadata() == of_real.schema.remove_metadata()
        assert len(of_mock) == 400
    assert check_pair(mock) == []


def test_ranges_and_codes_are_those_of_the_real_table(real: Path, mock: Path) -> None:
    for of_real, of_mock in tables(real, mock):
        for name in of_real.column_names[2:]:
            one, other = of_real.column(name).drop_null(), of_mock.column(name).drop_null()
            if pa.types.is_string(one.type):
                assert set(other.unique().to_pylist()) <= set(one.unique().to_pylist())
            else:
                low, high = pc.min(one).as_py(), pc.max(one).as_py()
                assert low <= pc.min(other).as_py() <= pc.max(other).as_py() <= high


def test_no_mock_row_equals_or_nearly_equals_a_real_one(real: Path, mock: Path) -> None:
    """Measured here by plain loops, apart from the product's own check."""
    for of_real, of_mock in tables(real, mock):
        assert not set(of_real.column("uscc").to_pylist()) & set(of_mock.column("uscc").to_pylist())
        names = [name for name in of_real.column_names if name not in ("uscc", "as_of", "bad_12m")]
        frame, other = of_real.select(names).to_pandas(), of_mock.select(names).to_pandas()
        agreeing = np.zeros((len(other), len(frame)))
        for name in names:
            if frame[name].dtype.kind in "if":
                apart = np.abs(other[name].to_numpy()[:, None] - frame[name].to_numpy()[None, :])
                same = apart <= WITHIN * (frame[name].max() - frame[name].min())
                same |= other[name].isna().to_numpy()[:, None] & frame[name].isna().to_numpy()[None, :]
            else:
                same = other[name].to_numpy()[:, None] == frame[name].to_numpy()[None, :]
            agreeing += same
        assert agreeing.max() < NEAR * len(names)


def test_a_code_that_few_rows_have_is_not_shown() -> None:
    rng = np.random.default_rng(1)
    codes = ["common"] * 500 + ["rare"] * (_LEAST - 1)
    numbers = {f"n{place}": rng.normal(size=len(codes)) for place in range(6)}
    made = twin(pa.table({"code": codes, **numbers}), 200, rng)
    assert made.column("code").unique().to_pylist() == ["common"]


def test_an_outlier_is_not_shown() -> None:
    rng = np.random.default_rng(1)
    values = np.append(rng.normal(size=999), 1e9)
    made = twin(pa.table({"x": values, **{f"n{place}": rng.normal(size=1000) for place in range(6)}}), 500, rng)
    assert pc.max(made.column("x")).as_py() < 10


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from("ab"), st.none() | st.integers(0, 5)), min_size=2, max_size=20)
)
def test_a_copied_row_is_always_found_to_be_near(rows: list[tuple[float, str, int | None]]) -> None:
    names = ["x", "code", "n"]
    table = pa.table({name: pa.array([row[place] for row in rows], kind) for place, (name, kind) in
                      enumerate(zip(names, (pa.float64(), pa.string(), pa.int64()), strict=True))})  # fmt: skip
    assert near(comparable(table, names), comparable(table.slice(0, 1), names)).all()


def test_a_table_in_which_every_row_is_near_is_refused() -> None:
    table = pa.table({"flag": [True, False] * 50, "code": ["a", "a", "b", "b"] * 25})
    with pytest.raises(TwinRefused) as refused:
        twin(table, 20, np.random.default_rng(1))
    assert refused.value.code == "twin_near"


def test_the_twin_of_a_csv_folder_and_its_mark(pair: Pair, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["twin", str(pair.write()), str(tmp_path / "mock"), "--rows", "120"])
    assert told.exit_code == 0, told.output
    assert read_contract(tmp_path / "mock").title.startswith("MOCK")
    assert (tmp_path / "mock" / "bank.csv").read_text().count("\n") == 121


def test_the_same_seed_gives_the_same_twin(real: Path, mock: Path, tmp_path: Path) -> None:
    again = write_twin(real, tmp_path / "again", 400, 5)
    for (_, one), (_, other) in zip(tables(real, mock), tables(real, again), strict=True):
        assert one.equals(other)
