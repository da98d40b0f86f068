"""Loading one side and taking rows from it."""

from __future__ import annotations

import datetime as dt
import io

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.faults import DataRefused
from features.tables import UnknownColumn, load_side, select
from tests.features.conftest import Pair


def read(content: bytes) -> pa.Table:
    return pyarrow.parquet.read_table(io.BytesIO(content))


def test_model_columns_leave_out_id_date_label_split_owner_and_ignored(pair: Pair) -> None:
    side = load_side(pair.write(), "bank")
    assert list(side.columns) == [
        {"name": "amount", "kind": "numeric"},
        {"name": "ratio", "kind": "numeric"},
        {"name": "product", "kind": "categorical"},
    ]
    assert "loan_nr" not in side.data.column_names
    assert side.rows == 300
    assert side.ids[0] == "E00000"


def test_only_the_rows_of_one_bank_are_loaded(pair: Pair) -> None:
    side = load_side(pair.write(), "bank", "bank_b")
    assert side.ids == [row["ent_id"] for row in pair.bank if row["owner"] == "bank_b"]
    assert side.describe()["party"] == "bank_b"


def test_selection_holds_exactly_the_named_rows_and_columns(pair: Pair) -> None:
    side = load_side(pair.write(), "bank")
    table = read(select(side, {"E00003", "E00200", "absent"}, ["product", "bad", "window"]))
    assert table.column_names == ["ent_id", "product", "bad", "window"]
    assert table.to_pylist() == [
        {"ent_id": "E00003", "product": "credit line", "bad": 0, "window": "train"},
        {"ent_id": "E00200", "product": "loan", "bad": 1, "window": "oot"},
    ]
    assert table.schema.field("bad").type == pa.int64()


def test_the_as_of_date_can_be_selected(pair: Pair) -> None:
    first = pair.lab[0]
    table = read(select(load_side(pair.write(), "lab"), {first["ent_id"]}, ["as_of"]))
    assert table.to_pylist() == [{"ent_id": first["ent_id"], "as_of": dt.date.fromisoformat(first["as_of"])}]


def test_a_row_that_was_not_selected_leaves_no_trace_in_the_file(pair: Pair) -> None:
    content = select(load_side(pair.write(), "bank"), {"E00003"}, ["product"])
    assert b"E00003" in content
    assert b"E00004" not in content
    assert b"credit line" in content
    assert b"loan_nr" not in content


@pytest.mark.parametrize("name", ["loan_nr", "owner", "nothing"])
def test_selection_of_a_column_that_is_not_offered_is_refused(pair: Pair, name: str) -> None:
    with pytest.raises(UnknownColumn, match=name):
        select(load_side(pair.write(), "bank"), {"E00003"}, [name])


def test_the_lab_offers_no_label(pair: Pair) -> None:
    with pytest.raises(UnknownColumn):
        select(load_side(pair.write(), "lab"), {"E00060"}, ["bad"])


def test_csv_and_parquet_of_the_same_table_are_read_alike(pair: Pair) -> None:
    from_csv = load_side(pair.write(), "lab")
    table = pa.table(
        {
            "ent_id": [row["ent_id"] for row in pair.lab],
            "as_of": pa.array([row["as_of"] for row in pair.lab]).cast(pa.date32()),
            "kwh_yoy": pa.array([row["kwh_yoy"] for row in pair.lab], pa.float64()),
            "arrears": pa.array([None if row["arrears"] == "" else row["arrears"] for row in pair.lab], pa.int16()),
            "industry": pa.array([row["industry"] or None for row in pair.lab]).dictionary_encode(),
        }
    )
    assert load_side(pair.write_parquet("lab", table), "lab").data.equals(from_csv.data)


def test_booleans_are_numbers_and_nan_is_missing(pair: Pair) -> None:
    count = len(pair.lab)
    table = pa.table(
        {
            "ent_id": [row["ent_id"] for row in pair.lab],
            "as_of": [row["as_of"] for row in pair.lab],
            "industry": ["food"] * count,
            "flag": [n % 2 == 0 for n in range(count)],
            "rate": [float("nan") if n % 2 else 1.5 for n in range(count)],
        }
    )
    side = load_side(pair.write_parquet("lab", table), "lab")
    assert side.data.column("flag").to_pylist()[:2] == [1.0, 0.0]
    assert side.data.column("rate").to_pylist()[:2] == [1.5, None]


def test_booleans_written_in_csv_are_numbers(pair: Pair) -> None:
    pair.every("lab", "arrears", lambda n: ("True", "false", "")[n % 3])
    assert load_side(pair.write(), "lab").data.column("arrears").to_pylist()[:3] == [0.0, None, 1.0]


def test_whole_numbers_as_ids_and_categories_keep_no_fraction(pair: Pair) -> None:
    count = len(pair.lab)
    table = pa.table(
        {
            "ent_id": pa.array(range(count), pa.int64()),
            "as_of": ["2023-01-15"] * count,
            "industry": pa.array([44.0, None] * (count // 2), pa.float64()),
            "kwh_yoy": [1.0, 2.0] * (count // 2),
        }
    )
    side = load_side(pair.write_parquet("lab", table), "lab")
    assert side.ids[:2] == ["0", "1"]
    assert side.data.column("industry").to_pylist()[:2] == ["44", None]


def test_na_is_a_missing_number_but_a_category_of_its_own(pair: Pair) -> None:
    pair.change("lab", 1, "kwh_yoy", "NA").change("lab", 1, "industry", "NA")
    row = load_side(pair.write(), "lab").row(pair.lab[0]["ent_id"])
    assert row is not None
    assert row["kwh_yoy"] is None
    assert row["industry"] == "NA"


def test_row_of_one_enterprise_has_the_model_columns_only(pair: Pair) -> None:
    side = load_side(pair.write(), "bank")
    assert side.row("E00007") == {"amount": 1007.0, "ratio": 1.0, "product": "credit line"}
    assert side.row("absent") is None


def test_description_holds_no_data(pair: Pair) -> None:
    described = load_side(pair.write(), "bank").describe()
    assert described == {
        "name": "pair",
        "title": "A pair of tables",
        "id": "ent_id",
        "as_of": "as_of",
        "rows": 300,
        "label": "bad",
        "split": {"column": "window", "train": "train", "test": "oot"},
        "party": None,
        "columns": [
            {"name": "amount", "kind": "numeric"},
            {"name": "ratio", "kind": "numeric"},
            {"name": "product", "kind": "categorical"},
        ],
    }


def test_a_refused_table_is_not_loaded(pair: Pair) -> None:
    pair.change("bank", 5, "bad", 2)
    with pytest.raises(DataRefused, match="row 5"):
        load_side(pair.write(), "bank")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.sets(st.integers(0, 400)))
def test_selection_is_the_intersection_in_table_order(tmp_path, wanted: set[int]) -> None:
    pair = Pair(tmp_path / "data")
    side = load_side(pair.write(), "lab")
    names = {f"E{number:05d}" for number in wanted}
    assert read(select(side, names, ["kwh_yoy"])).column("ent_id").to_pylist() == [
        one for one in side.ids if one in names
    ]
