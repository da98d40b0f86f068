"""Every rule of the input contract: what breaks it is refused with file, row, column and remedy."""

from __future__ import annotations

import datetime as dt
import re
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.faults import CATALOGUE, FAULTS_SHOWN, DataRefused, Fault
from features.tables import load_side
from features.validation import check_pair, check_side
from tests.features.conftest import Pair, bank_row, lab_row


def assert_names(fault: Fault, code: str, file: str, column: str = "", rows: tuple[int, ...] = ()) -> None:
    """The fault and both of its texts name the place and a remedy."""
    assert fault.code == code
    assert (fault.file, fault.column, fault.rows) == (file, column, rows)
    text, text_zh = fault.text(), fault.text("zh")
    for piece in (file, column, *map(str, rows)):
        assert piece in text
        assert piece in text_zh
    assert "Remedy: " in text
    assert len(fault.remedy()) > 10
    assert "处理：" in text_zh
    assert re.search("[一-鿿]", fault.remedy("zh"))
    assert "{" not in text + text_zh
    if rows and file.endswith(".csv"):
        assert fault.lines == tuple(row + 1 for row in rows)


def test_a_valid_pair_has_no_faults(pair: Pair) -> None:
    assert pair.faults() == []
    assert pair.faults("bank_b") == []


def test_missing_contract_is_refused(tmp_path) -> None:
    [fault] = check_pair(tmp_path)
    assert_names(fault, "contract_missing", "dataset.toml")


@pytest.mark.parametrize("side", ["bank", "lab"])
def test_missing_file_is_named(pair: Pair, side: str) -> None:
    (pair.write() / f"{side}.csv").unlink()
    [fault] = check_pair(pair.folder)
    assert_names(fault, "file_missing", f"{side}.csv")
    assert f"{side}.table" in fault.remedy()


@pytest.mark.parametrize("column", ["ent_id", "as_of", "bad", "window", "owner", "loan_nr", "product"])
def test_missing_column_is_named_with_its_role(pair: Pair, column: str) -> None:
    for row in pair.bank:
        del row[column]
    [fault] = pair.faults()
    assert_names(fault, "column_missing", "bank.csv", column)


def test_a_misspelt_column_gets_a_suggestion(pair: Pair) -> None:
    pair.contract = pair.contract.replace('label = "bad"', 'label = "badd"')
    fault = next(fault for fault in pair.faults() if fault.code == "column_missing")
    assert "did you mean `bad`?" in fault.text()
    assert "是否为 `bad`？" in fault.text("zh")


def test_duplicate_id_names_the_later_row(pair: Pair) -> None:
    pair.change("bank", 12, "ent_id", bank_row(3)["ent_id"])
    assert_names(pair.only(), "id_duplicate", "bank.csv", "ent_id", (12,))


def test_duplicate_id_is_found_within_one_bank_and_at_the_lab(pair: Pair) -> None:
    pair.change("lab", 30, "ent_id", pair.lab[3]["ent_id"]).change("lab", 30, "as_of", pair.lab[3]["as_of"])
    assert_names(pair.only(), "id_duplicate", "lab.csv", "ent_id", (30,))


@pytest.mark.parametrize("empty", ["", "   "])
def test_empty_id_is_refused(pair: Pair, empty: str) -> None:
    pair.change("bank", 7, "ent_id", empty)
    assert_names(pair.only(), "id_empty", "bank.csv", "ent_id", (7,))


@pytest.mark.parametrize("strange", [" E1", "E1 ", "E,1", 'E"1', "E\t1", "x" * 200])
def test_malformed_id_is_refused(pair: Pair, strange: str) -> None:
    pair.change("bank", 9, "ent_id", strange)
    assert_names(pair.only(), "id_malformed", "bank.csv", "ent_id", (9,))


@pytest.mark.parametrize("value", ["2", "-1", "0.5", "yes", "inf"])
def test_non_binary_label_is_refused(pair: Pair, value: str) -> None:
    pair.change("bank", 5, "bad", value)
    assert_names(pair.only(), "label_not_binary", "bank.csv", "bad", (5,))


def test_missing_label_is_refused(pair: Pair) -> None:
    pair.change("bank", 6, "bad", "")
    assert_names(pair.only(), "label_missing", "bank.csv", "bad", (6,))


@pytest.mark.parametrize("value", [0, 1])
def test_constant_label_is_refused(pair: Pair, value: int) -> None:
    pair.every("bank", "bad", lambda _: value)
    assert_names(pair.only(), "label_constant", "bank.csv", "bad")


@pytest.mark.parametrize(("window", "value"), [("train", "train"), ("test", "oot")])
def test_constant_label_in_one_window_is_refused(pair: Pair, window: str, value: str) -> None:
    for row in pair.bank:
        if row["window"] == value:
            row["bad"] = 0
    fault = pair.only()
    first = tuple(n for n, row in enumerate(pair.bank, start=1) if row["window"] == value)[:5]
    assert_names(fault, "window_constant", "bank.csv", "bad", first)
    assert f"{window} window" in fault.text()
    assert f"“{value}”" in fault.text()


@pytest.mark.parametrize("value", ["train", "oot"])
def test_absent_window_value_is_refused(pair: Pair, value: str) -> None:
    pair.bank = [row for row in pair.bank if row["window"] != value] * 1
    pair.bank += [{**bank_row(n), "window": pair.bank[0]["window"]} for n in range(300, 500)]
    fault = pair.only()
    assert_names(fault, "window_absent", "bank.csv", "window")
    assert value in fault.text()


def test_unknown_split_value_is_refused(pair: Pair) -> None:
    pair.change("bank", 8, "window", "valid")
    assert_names(pair.only(), "split_unknown", "bank.csv", "window", (8,))


def test_window_with_hardly_any_bad_enterprises_is_refused(pair: Pair) -> None:
    seen = 0
    for row in pair.bank:
        if row["window"] == "oot":
            row["bad"], seen = int(seen < 2), seen + 1
    fault = pair.only()
    assert_names(fault, "window_small", "bank.csv", "bad")
    assert "2 bad rows, fewer than 5" in fault.text()
    assert "违约样本" in fault.text("zh")


@pytest.mark.parametrize(
    ("cell", "value_class"),
    [
        ("abc", "letters"),
        ("12%", "a percentage"),
        ("1,234", "a number with thousands separators"),
        ("3,5", "a number with a decimal comma"),
        ("2024-01-02", "a date"),
        ("A12", "letters and digits"),
        ("—", "letters"),
    ],
)
def test_text_in_a_numeric_column_is_refused_without_quoting_it(pair: Pair, cell: str, value_class: str) -> None:
    pair.change("lab", 11, "kwh_yoy", cell)
    fault = pair.only()
    assert_names(fault, "text_in_numeric", "lab.csv", "kwh_yoy", (11,))
    assert value_class in fault.text()
    assert "lab.categorical" in fault.remedy()
    assert f"{cell}" not in fault.text().replace(value_class, "").replace("lab.csv", "") or len(cell) == 1


def test_text_column_of_a_parquet_file_must_be_listed_as_categorical(pair: Pair) -> None:
    table = pa.table(
        {
            **{name: [row[name] for row in pair.lab] for name in ("ent_id", "as_of", "kwh_yoy")},
            "industry": [row["industry"] or None for row in pair.lab],
            "zone": ["44"] * len(pair.lab),
        }
    )
    folder = pair.write_parquet("lab", table)
    [fault] = check_pair(folder)
    assert fault.code == "text_in_numeric"
    assert fault.column == "zone"
    assert fault.rows[0] == 1
    assert "digits stored as text" in fault.text()
    assert fault.lines == ()


def test_infinite_number_is_refused(pair: Pair) -> None:
    pair.change("bank", 4, "ratio", "inf").change("bank", 9, "ratio", "-Infinity")
    assert_names(pair.only(), "number_infinite", "bank.csv", "ratio", (4, 9))


def test_infinite_number_in_parquet_is_refused(pair: Pair) -> None:
    values = [float(n) for n in range(len(pair.lab))]
    values[41] = float("inf")
    table = pa.table(
        {
            "ent_id": [row["ent_id"] for row in pair.lab],
            "as_of": [row["as_of"] for row in pair.lab],
            "industry": ["food"] * len(pair.lab),
            "kwh_yoy": values,
        }
    )
    [fault] = check_pair(pair.write_parquet("lab", table))
    assert_names(fault, "number_infinite", "lab.parquet", "kwh_yoy", (42,))


@pytest.mark.parametrize("where", ["bank", "lab"])
def test_label_named_as_a_feature_is_refused(pair: Pair, where: str) -> None:
    old = {"bank": 'categorical = ["product"]', "lab": 'categorical = ["industry"]'}[where]
    pair.contract = pair.contract.replace(old, old.replace("[", '["bad", '))
    fault = pair.only()
    assert_names(fault, "label_is_feature", "dataset.toml", "bad")
    assert f"{where}.categorical" in fault.text()


def test_label_column_in_the_labs_table_is_refused_unless_ignored(pair: Pair) -> None:
    pair.every("lab", "bad", lambda n: n % 2)
    assert_names(pair.only(), "label_in_lab", "lab.csv", "bad")
    pair.contract = pair.contract.replace("ignore = []", 'ignore = ["bad"]')
    assert pair.faults() == []


def test_tables_without_a_common_id_are_refused(pair: Pair) -> None:
    pair.lab = [lab_row(n) for n in range(1000, 1300)]
    assert_names(pair.only(), "no_overlap", "bank.csv", "ent_id")


def test_tables_with_hardly_any_common_id_are_refused(pair: Pair) -> None:
    pair.lab = [lab_row(n) for n in range(290, 500)]
    fault = pair.only()
    assert_names(fault, "overlap_small", "bank.csv", "ent_id")
    assert "only 10 ids" in fault.text()


@pytest.mark.parametrize(("day", "code"), [("2023-12-31", "as_of_later"), ("2020-01-01", "as_of_earlier")])
def test_different_date_for_the_same_enterprise_is_refused(pair: Pair, day: str, code: str) -> None:
    pair.change("lab", 20, "as_of", day)
    fault = pair.only()
    assert_names(fault, code, "lab.csv", "as_of", (20,))
    assert ("future" in fault.text()) == (code == "as_of_later")


def test_dates_of_enterprises_that_only_one_side_knows_are_free(pair: Pair) -> None:
    pair.change("lab", 340, "as_of", "2020-01-01").change("bank", 2, "as_of", "2020-01-01")
    assert pair.faults() == []


@pytest.mark.parametrize("cell", ["15.01.2023", "2023-02-30", "2023/01/15", "yesterday", "20230115"])
def test_malformed_date_is_refused(pair: Pair, cell: str) -> None:
    pair.change("bank", 3, "as_of", cell)
    assert_names(pair.only(), "as_of_malformed", "bank.csv", "as_of", (3,))


def test_missing_date_is_refused(pair: Pair) -> None:
    pair.change("lab", 3, "as_of", "")
    assert_names(pair.only(), "as_of_missing", "lab.csv", "as_of", (3,))


def test_date_after_today_is_refused(pair: Pair) -> None:
    pair.write()
    [fault] = check_side(pair.folder, "bank", today=dt.date(2023, 12, 14))
    rows = tuple(n for n, row in enumerate(pair.bank, start=1) if row["as_of"] == "2023-12-15")
    assert_names(fault, "as_of_future", "bank.csv", "as_of", rows[:5])
    assert fault.count == len(rows)
    assert check_side(pair.folder, "bank", today=dt.date(2023, 12, 15)) == []


def test_too_few_rows_are_refused(pair: Pair) -> None:
    pair.bank = [bank_row(n) for n in range(50, 140)]
    codes = {fault.code: fault for fault in pair.faults()}
    assert_names(codes["too_few_rows"], "too_few_rows", "bank.csv")


def test_file_without_rows_is_refused(pair: Pair) -> None:
    pair.write()
    (pair.folder / "lab.csv").write_text("ent_id,as_of,kwh_yoy,arrears,industry\n")
    [fault] = check_pair(pair.folder)
    assert_names(fault, "file_empty", "lab.csv")
    (pair.folder / "lab.csv").write_text("")
    assert check_pair(pair.folder)[0].code == "file_empty"


def test_damaged_file_is_refused(pair: Pair) -> None:
    pair.contract = pair.contract.replace("lab.csv", "lab.parquet")
    (pair.write() / "lab.parquet").write_bytes(b"PAR1 this is none PAR1")
    [fault] = check_pair(pair.folder)
    assert_names(fault, "file_unreadable", "lab.parquet")


def test_text_that_is_not_utf8_is_refused_with_its_line(pair: Pair) -> None:
    pair.change("lab", 6, "industry", "制造")
    path = pair.write() / "lab.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("gbk"))
    [fault] = check_pair(pair.folder)
    assert (fault.code, fault.file, fault.lines) == ("file_encoding", "lab.csv", (7,))


def test_row_with_another_number_of_fields_is_refused(pair: Pair) -> None:
    path = pair.write() / "bank.csv"
    lines = path.read_text().splitlines()
    lines[5] += ",surplus"
    path.write_text("\n".join(lines) + "\n")
    [fault] = check_pair(pair.folder)
    assert_names(fault, "row_width", "bank.csv", rows=(5,))
    assert "surplus" not in fault.text()


def test_column_that_stands_twice_is_refused(pair: Pair) -> None:
    path = pair.write() / "bank.csv"
    path.write_text(path.read_text().replace("ratio", "amount", 1))
    [fault] = check_pair(pair.folder)
    assert_names(fault, "column_duplicate", "bank.csv", "amount")


def test_column_without_a_usable_name_is_refused(pair: Pair) -> None:
    path = pair.write() / "bank.csv"
    path.write_text(path.read_text().replace("ratio", "", 1))
    assert [fault.code for fault in check_pair(pair.folder)] == ["column_name"]


def test_column_without_any_value_is_refused(pair: Pair) -> None:
    pair.every("lab", "arrears", lambda _: "")
    assert_names(pair.only(), "column_empty", "lab.csv", "arrears")


def test_a_column_of_dates_counts_days_after_as_of(pair: Pair) -> None:
    opened = [dt.date.fromisoformat(row["as_of"]) + dt.timedelta(days=number) for number, row in enumerate(pair.lab)]
    table = pa.table(
        {
            "ent_id": [row["ent_id"] for row in pair.lab],
            "as_of": [row["as_of"] for row in pair.lab],
            "industry": ["food"] * len(pair.lab),
            "opened": [None, *opened[1:]],
        }
    )
    assert check_pair(pair.write_parquet("lab", table)) == []
    side = load_side(pair.folder, "lab")
    assert {"name": "opened", "kind": "numeric", "unit": "days_after_as_of"} in side.columns
    assert side.data.column("opened").to_pylist()[:4] == [None, 1.0, 2.0, 3.0]


def test_an_undeclared_text_column_of_few_words_is_a_category(pair: Pair) -> None:
    """A few words among numbers stay an error (test_any_single_spoilt_cell…); one word everywhere says nothing."""
    pair.every("lab", "kwh_yoy", lambda number: ("high", "low", "7")[number % 3])
    side = load_side(pair.write(), "lab")
    assert {"name": "kwh_yoy", "kind": "categorical"} in side.columns


def test_table_without_inputs_is_refused(pair: Pair) -> None:
    pair.contract = pair.contract.replace("ignore = []", 'ignore = ["kwh_yoy", "arrears", "industry"]').replace(
        'categorical = ["industry"]', "categorical = []"
    )
    assert_names(pair.only(), "no_columns", "lab.csv")


def test_row_without_an_owner_is_refused(pair: Pair) -> None:
    pair.change("bank", 14, "owner", "")
    assert_names(pair.only(), "party_empty", "bank.csv", "owner", (14,))


def test_unknown_bank_is_refused(pair: Pair) -> None:
    [fault] = pair.faults("bank_z")
    assert_names(fault, "party_absent", "bank.csv", "owner")
    assert "bank_z" in fault.text()


def test_rows_keep_their_number_in_the_file_when_one_bank_is_checked(pair: Pair) -> None:
    row = next(n for n, one in enumerate(pair.bank, start=1) if n > 100 and one["owner"] == "bank_b")
    pair.change("bank", row, "amount", "many")
    [fault] = pair.faults("bank_b")
    assert_names(fault, "text_in_numeric", "bank.csv", "amount", (row,))
    assert pair.faults("bank_a") == []


def test_lines_count_breaks_inside_quoted_cells(pair: Pair) -> None:
    pair.change("bank", 3, "product", "loan\nin two lines").change("bank", 10, "amount", "many")
    fault = pair.only()
    assert fault.rows == (10,)
    assert fault.lines == (12,)


def test_several_errors_are_collected_and_shown_together(pair: Pair) -> None:
    pair.change("bank", 5, "bad", 7).change("bank", 6, "ent_id", "").change("bank", 9, "amount", "x")
    pair.change("lab", 4, "kwh_yoy", "y")
    assert {fault.code for fault in pair.faults()} == {"label_not_binary", "id_empty", "text_in_numeric"}
    with pytest.raises(DataRefused) as refused:
        load_side(pair.folder, "bank")
    assert len(refused.value.faults) == 3
    assert all(fault.text() in refused.value.message for fault in refused.value.faults)


def test_a_refusal_is_bounded(pair: Pair) -> None:
    for number in range(60):
        pair.every("lab", f"col{number}", lambda _: "text")
    message = DataRefused(pair.faults()).message
    assert len(message.splitlines()) == FAULTS_SHOWN + 1
    assert message.endswith("and 35 more")


def test_a_fault_names_few_rows_and_the_total(pair: Pair) -> None:
    pair.every("lab", "kwh_yoy", lambda _: "text")
    fault = pair.only()
    assert len(fault.rows) == 5
    assert fault.count == len(pair.lab)
    assert f"({len(pair.lab)} rows in all)" in fault.text()


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_fault_is_worded_in_both_languages(code: str) -> None:
    wording = CATALOGUE[code]
    for text in (wording.what_zh, wording.remedy_zh):
        assert re.search("[一-鿿]", text) or "{" in text
    fields = re.compile(r"{(\w+?)(?:_zh)?}")
    assert set(fields.findall(wording.what)) == set(fields.findall(wording.what_zh))
    assert set(fields.findall(wording.remedy)) == set(fields.findall(wording.remedy_zh))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_single_spoilt_cell_is_found_at_its_place(tmp_path, data: st.DataObject) -> None:
    side = data.draw(st.sampled_from(["bank", "lab"]))
    row = data.draw(st.integers(1, 250))
    column, cell, code = data.draw(
        st.sampled_from(
            [
                ("ent_id", "", "id_empty"),
                ("ent_id", "E 1,2", "id_malformed"),
                ("as_of", "", "as_of_missing"),
                ("as_of", "never", "as_of_malformed"),
                *(
                    [
                        ("bad", "3", "label_not_binary"),
                        ("amount", "x", "text_in_numeric"),
                        ("owner", "", "party_empty"),
                        ("window", "", "split_unknown"),
                    ]
                    if side == "bank"
                    else [("kwh_yoy", "x", "text_in_numeric"), ("kwh_yoy", "inf", "number_infinite")]
                ),
            ]
        )
    )
    fault = Pair(tmp_path / "data").change(side, row, column, cell).only()
    assert_names(fault, code, f"{side}.csv", column, (row,))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(
        st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.none()), min_size=120, max_size=120
    ).filter(lambda cells: any(c is not None for c in cells))
)
def test_any_finite_number_is_read_back_exactly(tmp_path, cells: list[float | None]) -> None:
    pair = Pair(tmp_path / "data", lab=[lab_row(n) for n in range(50, 170)])
    pair.every("lab", "kwh_yoy", lambda n: "" if cells[n - 1] is None else repr(cells[n - 1]))
    pair.write()
    assert load_side(pair.folder, "lab").data.column("kwh_yoy").to_pylist() == cells


def test_a_million_rows_are_checked_in_seconds(tmp_path) -> None:
    count = 1_000_000
    rng = np.random.default_rng(1)
    ids = pa.array(np.char.add("E", np.arange(count).astype(str)))
    day = pa.array(np.full(count, np.datetime64("2023-01-15"))).cast(pa.date32())
    bank = pa.table(
        {
            "ent_id": ids,
            "as_of": day,
            **{f"x{n}": rng.normal(size=count) for n in range(10)},
            "product": pa.array(["loan"] * count),
            "loan_nr": ids,
            "owner": pa.array(["a"] * count),
            "window": pa.array(np.where(rng.random(count) < 0.7, "train", "oot")),
            "bad": pa.array((rng.random(count) < 0.1).astype(np.int64)),
        }
    )
    lab = pa.table(
        {
            "ent_id": ids.take(pa.array(rng.permutation(count))),
            "as_of": day,
            **{f"y{n}": rng.normal(size=count) for n in range(10)},
            "industry": pa.array(["f"] * count),
        }
    )
    pair = Pair(tmp_path / "data")
    pair.write_parquet("bank", bank)
    pair.write_parquet("lab", lab)
    start = time.process_time()
    assert check_pair(pair.folder) == []
    assert time.process_time() - start < 10
