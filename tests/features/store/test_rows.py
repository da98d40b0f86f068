"""Rows in a file: every value comes back as it was given, from any batches, at any places."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.store import rows

VALUES = {
    pa.string(): st.text(st.characters(blacklist_categories=["Cs"]), max_size=6)
    | st.sampled_from(["", "\0", "a\0", "信用"]),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.date32(): st.dates(dt.date(1700, 1, 1), dt.date(2900, 1, 1)),
    pa.timestamp("us"): st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2900, 1, 1)),
    pa.bool_(): st.booleans(),
    pa.decimal128(18, 2): st.integers(-(10**18) + 1, 10**18 - 1).map(lambda number: Decimal(number).scaleb(-2)),
}
SCHEMA = pa.schema([*((f"c{place}", kind) for place, kind in enumerate(VALUES)), ("bytes", pa.string())])


def made(path: Path, table: pa.Table, size: int) -> rows.Rows:
    """The last column has too many different texts for words."""
    texts = [one.encode() for one in table.column("bytes").to_pylist() if one]
    bounds = {"bytes": (10**6, max(map(len, texts), default=1))}
    assert rows.write(path, SCHEMA, table.to_batches(size), bounds) == len(table)
    return rows.Rows(path)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*(st.none() | values for values in (*VALUES.values(), VALUES[pa.string()]))), max_size=8),
    st.integers(1, 4),
    st.data(),
)
def test_every_value_comes_back(given_rows: list[tuple[Any, ...]], size: int, data: st.DataObject) -> None:
    columns = list(zip(*given_rows, strict=True)) or [()] * len(SCHEMA)
    table = pa.table([pa.array(one, kind.type) for one, kind in zip(columns, SCHEMA, strict=True)], SCHEMA)
    with TemporaryDirectory() as name:
        found = made(Path(name) / "t", table, size)
        assert (found.count, found.names) == (len(table), SCHEMA.names)
        assert found.take(slice(None)).to_pylist() == table.to_pylist()
        if given_rows:
            places = data.draw(st.lists(st.integers(0, len(given_rows) - 1)))
            chosen = found.take(np.array(places, np.int64))
            assert chosen.schema.equals(SCHEMA)
            chosen.validate(full=True)
            assert chosen.to_pylist() == [table.to_pylist()[place] for place in places]
            assert found.row(len(table) - 1) == table.to_pylist()[-1]


def test_a_slice_of_a_longer_table_is_written_as_itself(tmp_path: Path) -> None:
    whole = pa.table([pa.array([None] * 3 + [next_of(kind)] * 3).cast(kind.type) for kind in SCHEMA], SCHEMA)
    assert made(tmp_path / "t", whole.slice(2, 3), 2).take(slice(None)).to_pylist() == whole.slice(2, 3).to_pylist()


def next_of(field: pa.Field) -> Any:
    plain = {pa.string(): "x", pa.date32(): dt.date(2024, 1, 1), pa.timestamp("us"): dt.datetime(2024, 1, 1)}
    return plain.get(field.type, Decimal(1) if pa.types.is_decimal(field.type) else 1)


def test_more_columns_than_have_a_bit_are_refused(tmp_path: Path) -> None:
    schema = pa.schema([(f"c{place}", pa.int64()) for place in range(65)])
    with pytest.raises(ValueError, match="64 columns"):
        rows.write(tmp_path / "t", schema, [], {})


def test_removed_rows_are_gone(tmp_path: Path) -> None:
    made(tmp_path / "t", SCHEMA.empty_table(), 1)
    rows.remove(tmp_path / "t")
    assert list(tmp_path.iterdir()) == []
