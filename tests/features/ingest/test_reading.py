"""What is read from CSV, JSON lines, Parquet and databases, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import sqlalchemy

from features.ingest import IngestRefused, read_file, read_query, read_rows
from tests.features.ingest.desk import A, Desk, load, penalty, write_csv, write_jsonl


def refused(code: str, path: Path, encoding: str = "utf-8") -> IngestRefused:
    with pytest.raises(IngestRefused) as caught:
        read_file(path, encoding)
    assert caught.value.code == code
    assert caught.value.message_zh
    return caught.value


def test_all_formats_give_the_same_events(tmp_path: Path) -> None:
    """R37: whatever the method, the record is the same."""
    rows = [penalty("1"), penalty("2", fine_amount="7.5", valid_to="2030-01-01", serious="true")]
    typed = pa.table(
        {
            "uscc": pa.array([A, A]).dictionary_encode(),
            "record_id": ["1", "2"],
            "event_date": pa.array(["2024-03-10"] * 2).cast(pa.timestamp("ms")),
            "act_kind": ["penalty"] * 2,
            "penalty_kind": ["fine"] * 2,
            "fine_amount": [100.0, 7.5],
            "valid_to": pa.array([None, "2030-01-01"]).cast(pa.date32()),
            "serious": [None, True],
        }
    )
    pyarrow.parquet.write_table(typed, tmp_path / "a.parquet")
    write_csv(tmp_path / "a.csv", rows)
    write_csv(tmp_path / "gb.csv", [{**row, "revision": ""} for row in rows], "gb18030")
    write_jsonl(tmp_path / "a.jsonl", [rows[0], {**rows[1], "fine_amount": 7.50, "serious": True}])
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with sqlalchemy.create_engine(url).begin() as db:
        db.execute(sqlalchemy.text("CREATE TABLE t (n TEXT, amount REAL, until TEXT, serious BOOLEAN)"))
        db.execute(sqlalchemy.text("INSERT INTO t VALUES ('1', 100, NULL, NULL), ('2', 7.5, '2030-01-01', 1)"))
    query = (
        f"SELECT '{A}' AS uscc, n AS record_id, '2024-03-10' AS event_date, 'penalty' AS act_kind, "
        "'fine' AS penalty_kind, amount AS fine_amount, until AS valid_to, serious FROM t"
    )
    found = []
    for name in ("a.parquet", "a.csv", "gb.csv", "a.jsonl"):
        desk = Desk(tmp_path / name.replace(".", "-"))
        load(tmp_path / name, desk, encoding="gb18030" if name == "gb.csv" else "utf-8")
        found.append(desk.events())
    desk = Desk(tmp_path / "db")
    from features.ingest import Delivery

    desk.intake.ingest(Delivery("justice", "administrative", "x", "database", "y"), read_query(url, query))
    found.append(desk.events())
    assert len(found[0]) == 2
    contents = [[row["content"] for row in events] for events in found]
    assert all(one == contents[0] for one in contents)


def test_the_hash_is_of_the_bytes_delivered(tmp_path: Path) -> None:
    """R37."""
    path = write_csv(tmp_path / "a.csv", [penalty("1")])
    assert read_file(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_rows("q", [penalty("1")]).sha256 == read_rows("q", [penalty("1")]).sha256
    assert read_rows("q", [penalty("1")]).sha256 != read_rows("q", [penalty("2")]).sha256


def test_rows_that_are_none_are_set_aside_with_their_numbers(tmp_path: Path) -> None:
    """R54: the row's number is its place after the heading, whatever stands between the rows."""
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,2\n3\n"x\ny",5\n\n7,8,9\n10,11\n', encoding="utf-8")
    raw = read_file(path)
    assert [(one.row, one.text) for one in raw.broken] == [(2, "3"), (4, "7,8,9")]
    assert raw.rows.tolist() == [1, 3, 5]
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"a": 1}\n[1]\n{"a": {"b": 1}}\nnonsense\n{"a": 1, "a": 2}\n{"a": 1.10}\n', encoding="utf-8")
    raw = read_file(lines)
    assert [one.row for one in raw.broken] == [2, 3, 4, 5]
    assert raw.table.to_pydict() == {"a": ["1", "1.10"]}


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gb.csv").write_bytes("record_id,op\n民,2\n".encode("gb18030"))
    refused("ingest_encoding", tmp_path / "gb.csv")
    (tmp_path / "a.csv").write_bytes(b"a,a\n1,2\n")
    refused("ingest_heading", tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    refused("ingest_unreadable", tmp_path / "a.parquet")
    refused("ingest_unreadable", tmp_path / "absent.csv")
    (tmp_path / "a.xlsx").write_bytes(b"")
    refused("ingest_format", tmp_path / "a.xlsx")


def test_a_database_that_fails_tells_neither_password_nor_values() -> None:
    with pytest.raises(IngestRefused) as caught:
        read_query("sqlite:////nowhere/secret-word/x.db", "SELECT 'private' FROM missing")
    assert "secret" not in caught.value.message + caught.value.message_zh
    assert "private" not in caught.value.message
    assert caught.value.__suppress_context__
