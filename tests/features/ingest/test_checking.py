"""Rules on cells and rows: what is accepted, what is told, and that no row depends on another."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given, settings

from features.ingest import Delivery, IngestRefused, read_rows
from features.ingest import rules as record_rules
from features.ingest.checking import Checked, check, named
from features.ingest.wording import WORDINGS
from tests.features.events import CATALOGUE
from tests.features.ingest.desk import START, A, B, Desk, bill, penalty

RULES = record_rules.load(CATALOGUE)


def checked(rows: list[dict[str, Any]] | pa.Table, category: str = "administrative", **header: Any) -> Checked:
    from features.ingest.reading import Raw

    delivery = Delivery("justice", category, "a", "file", "b", **header)
    if isinstance(rows, pa.Table):
        import numpy as np

        raw = Raw("t", "", rows, np.arange(1, len(rows) + 1))
    else:
        raw = read_rows("t", rows)
    own = CATALOGUE.category(category)
    return check(own, RULES[category], delivery, "t", named(own, delivery, raw), START)


def faults(rows: list[dict[str, Any]] | pa.Table, category: str = "administrative", **header: Any) -> set[Any]:
    return {(int(at), one.column, one.code) for one in checked(rows, category, **header).faults for at in one.at}


@pytest.mark.parametrize(
    ("change", "column", "code"),
    [
        ({"record_id": None}, "record_id", "required"),
        ({"event_date": ""}, "event_date", "required"),
        ({"event_date": "2024-02-30"}, "event_date", "not_date"),
        ({"event_date": "2024-03-13"}, "event_date", "date_future"),
        ({"event_date": "1899-12-31"}, "event_date", "date_too_early"),
        ({"valid_to": "31/12/2024"}, "valid_to", "not_date"),
        ({"act_kind": "Penalty"}, "act_kind", "not_code"),
        ({"act_kind": None}, "act_kind", "required"),
        ({"penalty_kind": None}, "penalty_kind", "required_when"),
        ({"fine_amount": "1,000"}, "fine_amount", "not_decimal"),
        ({"fine_amount": "1e3"}, "fine_amount", "not_decimal"),
        ({"fine_amount": "0.125"}, "fine_amount", "not_decimal"),
        ({"fine_amount": "12345678901234567"}, "fine_amount", "not_decimal"),
        ({"fine_amount": "-1"}, "fine_amount", "out_of_range"),
        ({"serious": "maybe"}, "serious", "not_boolean"),
        ({"record_id": "a\tb"}, "record_id", "not_text"),
        ({"record_id": "x" * 300}, "record_id", "not_text"),
        ({"op": "erase"}, "op", "op_unknown"),
        ({"op": "correct"}, "revision", "required"),
        ({"source": "courts"}, "source", "other_source"),
    ],
)
def test_a_bad_cell_is_told_by_row_and_column(change: dict[str, Any], column: str, code: str) -> None:
    """R38, R54: type, code list, range, calendar, required."""
    assert faults([penalty("1"), penalty("2") | change, penalty("3")]) == {(1, column, code)}


@pytest.mark.parametrize(
    ("category", "change", "column", "code"),
    [
        ("utilities", {"event_date": "2024-01-30"}, "event_date", "month_end"),
        ("utilities", {"overdue_days": "1.5"}, "overdue_days", "not_integer"),
        ("utilities", {"paid": None}, "paid", "required"),
    ],
)
def test_rules_of_a_category(category: str, change: dict[str, Any], column: str, code: str) -> None:
    assert faults([bill("1"), bill("2") | change], category) == {(1, column, code)}


def test_more_rules() -> None:
    person = {"uscc": A, "record_id": "1", "event_date": "2024-01-02", "role": "director", "person_ref": "p"}
    late = {"appointed_on": "2024-01-02", "left_on": "2023-01-02"}
    assert faults([person | late | {"share_ratio": "0.5"}], "key_persons") == {(0, "left_on", "date_order")}
    assert faults([person | {"share_ratio": "51"}], "key_persons") == {(0, "share_ratio", "out_of_range")}
    assert faults([person | {"share_ratio": "half"}], "key_persons") == {(0, "share_ratio", "not_number")}
    change = {"uscc": A, "record_id": "1", "event_date": "2024-01-02", "change_kind": "address"}
    assert faults([change | {"district": "4401"}], "registration") == {(0, "district", "pattern")}
    assert faults([change | {"op": "repair", "revision": "1"}], "registration") == {(0, "op", "op_no_repair")}


def test_several_faults_of_a_row_are_all_told() -> None:
    row = penalty("1", event_date=None, fine_amount="x", serious="x")
    assert {code for _, _, code in faults([row])} == {"required", "not_decimal", "not_boolean"}


def test_an_event_that_only_names_its_record_needs_no_items() -> None:
    bare = {"uscc": A, "record_id": "1", "event_date": "2024-03-10", "op": "delete", "revision": "r1"}
    assert faults([bare]) == set()
    assert faults([penalty("1"), bare | {"op": "correct"}]) >= {(1, "act_kind", "required")}


def test_ways_to_write_a_value() -> None:
    rows = [
        penalty("1", event_date=day, fine_amount=f" {amount} ", serious=yes)
        for day, amount, yes in (
            ("20240310", "7.50", "是"),
            ("2024/3/10", "7.5000", "1"),
            ("2024年3月10日", "7.5", "TRUE"),
        )
    ]
    cells = checked(rows).cells
    assert set(cells["event_date"].to_pylist()) == {dt.date(2024, 3, 10)}
    assert set(cells["fine_amount"].to_pylist()) == {Decimal("7.50")}
    assert set(cells["serious"].to_pylist()) == {True}


def test_floats_are_the_two_decimals_that_they_stand_for() -> None:
    base = {name: [value] * 5 for name, value in penalty("1").items() if name not in ("fine_amount", "record_id")}
    amounts = [0.1 + 0.2, 1234567.89, 0.125, float("nan"), 1e300]
    table = pa.table({**base, "record_id": list("12345"), "fine_amount": amounts})
    assert faults(table) == {(2, "fine_amount", "not_decimal"), (3, "fine_amount", "not_decimal"),
                             (4, "fine_amount", "not_decimal")}  # fmt: skip
    assert checked(table).cells["fine_amount"].to_pylist()[:2] == [Decimal("0.30"), Decimal("1234567.89")]


def test_a_typed_column_tells_the_single_cell_that_does_not_fit() -> None:
    base = {name: [value] * 2 for name, value in bill("1").items() if name != "record_id"}
    table = pa.table({**base, "record_id": ["1", "2"], "overdue_days": [3.0, 3.5]})
    assert faults(table, "utilities") == {(1, "overdue_days", "not_integer")}


def test_two_versions_of_a_record_in_one_batch_contradict_each_other() -> None:
    rows = [penalty("1"), penalty("1", fine_amount="9"), penalty("2"), penalty("2")]
    assert faults(rows) == {(0, "record_id", "twice_in_batch"), (1, "record_id", "twice_in_batch")}
    assert faults([penalty("1"), penalty("1", fine_amount="9", op="correct", revision="r1")]) == set()
    assert {at for at, _, _ in faults([penalty("1", A), penalty("1", B)])} == {0, 1}


def test_only_a_backfill_says_when_something_became_known() -> None:
    """R37: otherwise a source could rewrite what was known at an earlier date."""
    row = penalty("1", known_at="2024-03-11 08:00:00")
    with pytest.raises(IngestRefused) as caught:
        faults([row])
    assert caught.value.code == "ingest_known_at"
    assert faults([row], backfill=True) == set()
    for moment in ("2024-03-12 10:00:00", "2024-03-09 08:00:00"):
        assert faults([row | {"known_at": moment}], backfill=True) == {(0, "known_at", "known_too_late")}
    assert faults([row | {"known_at": "2024-03-11T08:00:00+08:00"}], backfill=True) == {(0, "known_at", "not_time")}


@pytest.mark.parametrize(
    ("rows", "code", "word"),
    [
        ([penalty("1", blood_type="A")], "ingest_forbidden", "blood_type"),
        ([penalty("1", 法定代表人民族="汉")], "ingest_forbidden", "民族"),
        ([penalty("1", fine="3")], "ingest_unknown_column", "fine"),
        ([penalty("1", 罚没金额="3")], "ingest_column_twice", "fine_amount"),
        ([{"uscc": A, "record_id": "1", "act_kind": "reward"}], "ingest_missing_column", "event_date"),
        ([{"record_id": "1", "event_date": "2024-01-01", "act_kind": "reward"}], "ingest_missing_column", "uscc"),
        ([{"uscc": A, "record_id": "1", "event_date": "2024-01-01"}], "ingest_missing_column", "act_kind"),
    ],
)
def test_a_table_with_the_wrong_columns_is_refused_whole(rows: list[dict[str, Any]], code: str, word: str) -> None:
    """R38; forbidden fields (征信业管理条例第十四条) are refused before a value is looked at."""
    with pytest.raises(IngestRefused, match=word) as caught:
        faults(rows)
    assert caught.value.code == code


def test_forbidden_columns_cannot_be_renamed_or_ignored_in() -> None:
    with pytest.raises(IngestRefused):
        faults([penalty("1", religion="x")], ignore=("religion",))
    with pytest.raises(IngestRefused):
        faults([penalty("1", religion="2030-01-01")], columns={"religion": "valid_to"})


def test_chinese_headings_and_a_mapping_are_read() -> None:
    row = {
        "统一社会信用代码": A,
        "记录编号": "1",
        "事件日期": "2024-03-10",
        "行为种类": "reward",
        "备注": "x",
        "至": "2030-01-01",
    }
    found = checked([row], ignore=("备注",), columns={"至": "valid_to"})
    assert found.faults == []
    assert found.cells["valid_to"].to_pylist() == [dt.date(2030, 1, 1)]


def test_a_column_of_a_type_that_says_nothing_is_refused() -> None:
    table = pa.table({"uscc": [A], "record_id": ["1"], "event_date": ["2024-01-01"], "act_kind": [["reward"]]})
    with pytest.raises(IngestRefused) as caught:
        faults(table)
    assert caught.value.code == "ingest_column_type"


CELLS = st.sampled_from(["1", "7.50", "0.125", "-3", "x", "1e3", "", "999999999999999999", "7.5000", " 8 "])


@settings(max_examples=60, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=6))
def test_whether_a_row_is_good_does_not_depend_on_the_other_rows(cells: list[str]) -> None:
    together = checked([penalty(str(n), fine_amount=cell) for n, cell in enumerate(cells)])
    for at, cell in enumerate(cells):
        alone = checked([penalty("1", fine_amount=cell)])
        assert bool(alone.bad()[0]) == bool(together.bad()[at])
        assert alone.cells["fine_amount"][0] == together.cells["fine_amount"][at]


def test_every_kind_of_fault_has_words_and_a_remedy_in_both_languages() -> None:
    for code, wording in WORDINGS.items():
        assert all((wording.what, wording.what_zh, wording.remedy, wording.remedy_zh)), code
        assert not wording.what_zh.isascii()


def test_the_report_tells_row_column_and_remedy_but_no_value(desk: Desk) -> None:
    """R54: fed back to the source, by row and column."""
    entry = desk.deliver([penalty("1"), penalty("2", fine_amount="secret 77"), penalty("3", serious="perhaps")])
    assert desk.report(entry) == [(2, "fine_amount", "not_decimal"), (3, "serious", "not_boolean")]
    texts = [(desk.store.root / one.path).read_text("utf-8-sig") for one in entry.files if one.role == "report"]
    assert len(texts) == 2
    for text in texts:
        assert "罚没金额" in text and "两位小数" in text and "two decimals" in text
        assert "secret" not in text and "perhaps" not in text


def test_rules_name_what_the_catalogue_has() -> None:
    assert set(RULES) == {category.id for category in CATALOGUE}
    text = record_rules.FILE.read_text(encoding="utf-8")
    for old, new in (
        ('required = ["act_kind"]', 'required = ["colour"]'),
        ('act_kind = ["penalty"]', 'act_kind = ["murder"]'),
        ("[category.tax]", "[category.taxes]"),
        ("min = { level = 1 }", "min = { qualification = 1 }"),
        ("month_end = true", "month_ende = true"),
    ):
        assert old in text
        with pytest.raises(IngestRefused) as caught:
            record_rules.parse(text.replace(old, new), CATALOGUE)
        assert caught.value.code == "ingest_rules"


def test_a_month_is_late_after_its_days_of_grace() -> None:
    """R56."""
    assert RULES["utilities"].deadline("2024-01") == dt.datetime(2024, 2, 21)
    assert RULES["utilities"].deadline("2023-12") == dt.datetime(2024, 1, 21)
