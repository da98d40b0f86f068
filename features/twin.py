"""Mock twins: tables of the same form as a dataset's, without any of its rows, to write and try a program against.

Each column is drawn by itself from a coarse sketch of the real one (codes that at least `_LEAST` rows share, tenths
rounded to two digits, shares rounded to twentieths), so no row, no rare value and no relation between columns passes
over. A mock row that comes near a real one is drawn again. Owns the sketch and what counts as near. A twin says in its
title that it is one; quality measured on it means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from features import uscc
from features.contract import FILE, Contract, read_contract

#: Rows that must share a code before a twin may show it.
_LEAST = 10
_CODES = 60
_TENTHS = tuple(place / 10 for place in range(1, 10))
#: A row is near another if so large a share of its columns agree; numbers agree within this part of their range.
NEAR, WITHIN = 0.9, 0.01
_TRIES = 50


class TwinRefused(ValueError):
    """No twin can be made. `code` says why."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        self.code = code
        self.message = message
        self.message_zh = message_zh
        super().__init__(message)


def twin(real: pa.Table, rows: int, rng: np.random.Generator, given: dict[str, pa.Array] | None = None) -> pa.Table:
    """A mock of a table: same columns and types, `rows` rows, none near a real one. `given`: columns made elsewhere.

    Raises TwinRefused when rows stay near real ones, as in a table of very few columns and codes.
    """
    given = given or {}
    drawn = [name for name in real.column_names if name not in given]
    makers = {name: _maker(real.column(name), rng) for name in drawn}
    made = {name: makers[name](rows) for name in drawn}
    compared = _comparable(real, drawn)
    for _ in range(_TRIES):
        at = near(compared, _comparable(pa.table(made), drawn)) if compared else np.zeros(rows, bool)
        if not at.any():
            columns = {**made, **given}
            return pa.table({name: columns[name] for name in real.column_names})
        for name in drawn:
            fresh = makers[name](rows)
            made[name] = pc.if_else(pa.array(at), fresh, made[name])
    raise TwinRefused(
        "twin_near",
        f"{int(at.sum())} mock row(s) stay near real ones: too few columns or codes to tell rows apart; "
        "take fewer rows or leave the table out",
        f"有 {int(at.sum())} 行始终与真实行相近：列或代码过少，请减少行数或不提供该表的模拟件",
    )


def write_twin(folder: Path, out: Path, rows: int, seed: int) -> Path:
    """The twin of a data folder: both tables and the contract. Raises DataRefused, TwinRefused."""
    contract = read_contract(folder)
    rng = np.random.default_rng(seed)
    tables = {side: _read(folder / contract.side(side).table) for side in ("bank", "lab")}
    codes = np.array(uscc.simulate(rng, 2 * rows))
    # half of the enterprises stand in both tables, on the same day
    ids = {"bank": codes[:rows], "lab": codes[rows // 2 : rows // 2 + rows]}
    days = _days(tables["bank"], contract, len(codes), rng)
    out.mkdir(parents=True, exist_ok=True)
    for side, table in tables.items():
        place = 0 if side == "bank" else rows // 2
        given: dict[str, pa.Array] = {contract.id: pa.array(ids[side]).cast(pa.string())}
        if contract.as_of and days is not None:
            given[contract.as_of] = days.slice(place, rows)
        if side == "bank":
            given |= _outcome(table, contract, rows, rng)
        _write(twin(table, rows, rng, given), out / contract.side(side).table)
    text = (folder / FILE).read_text(encoding="utf-8")
    (out / FILE).write_text(
        "# MOCK TWIN 模拟件: same form, no real row\n" + _titled(text, contract.title), encoding="utf-8"
    )
    return out


def near(real: list[tuple[str, np.ndarray]], mock: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """Mask of the mock rows that are near some real row. Columns as `_comparable` gives them."""
    count = len(mock[0][1])
    found = np.zeros(count, bool)
    reach = {
        place: WITHIN * float(np.nanmax(column) - np.nanmin(column)) if np.isfinite(column).any() else 0.0
        for place, (kind, column) in enumerate(real)
        if kind == "number"
    }
    for row in range(count):
        agreeing = np.zeros(len(real[0][1]), int)
        for place, (kind, column) in enumerate(real):
            value = mock[place][1][row]
            if kind == "number":
                same = np.isnan(column) if np.isnan(value) else np.abs(column - value) <= reach[place]
            else:
                same = column == value
            agreeing += same
        found[row] = bool((agreeing >= math.ceil(NEAR * len(real))).any())
    return found


def _comparable(table: pa.Table, names: list[str]) -> list[tuple[str, np.ndarray]]:
    found = []
    for name in names:
        column = table.column(name)
        if _is_number(column.type):
            found.append(("number", column.cast(pa.float64()).to_numpy().astype(float)))
        elif pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
            days = column.cast(pa.date32()).cast(pa.int32()).cast(pa.float64())
            found.append(("number", days.to_numpy().astype(float)))
        else:
            texts = column.cast(pa.string()).fill_null("").to_pylist()
            found.append(("text", np.array(texts, dtype=object)))
    return found


def _maker(column: pa.ChunkedArray, rng: np.random.Generator) -> Callable[[int], pa.Array]:
    """A function that draws so many values from the sketch of a column."""
    empty = _coarse(column.null_count / len(column)) if len(column) else 1.0
    values = column.drop_null()
    draw = _drawer(values, rng)

    def make(count: int) -> pa.Array:
        mask = rng.random(count) < empty
        return pa.array(draw(count), from_pandas=False, mask=mask).cast(column.type, safe=False)

    return make


def _drawer(values: pa.ChunkedArray, rng: np.random.Generator) -> Callable[[int], Any]:
    kind = values.type
    if len(values) == 0:
        return lambda count: np.zeros(count)
    if pa.types.is_boolean(kind):
        share = _coarse(pc.mean(values.cast(pa.int8())).as_py())
        return lambda count: rng.random(count) < share
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        draw = _number(values.cast(pa.date32()).cast(pa.int32()).to_numpy().astype(float), 0, rng, exact=True)
        return lambda count: draw(count).astype("datetime64[D]")
    if _is_number(kind):
        numbers = values.cast(pa.float64()).to_numpy()
        whole = pa.types.is_integer(kind) or bool(np.all(numbers == np.round(numbers)))
        return _number(numbers, 0 if whole else 4, rng)
    counted = pc.value_counts(values.cast(pa.string()).combine_chunks()).to_pylist()
    common = sorted(one["values"] for one in counted if one["counts"] >= _LEAST)
    if not common or len(counted) > _CODES:
        return lambda count: np.char.add("mock-", rng.integers(0, 1000, count).astype(str))
    return lambda count: rng.choice(np.array(common), count)


def _number(
    numbers: np.ndarray, digits: int, rng: np.random.Generator, *, exact: bool = False
) -> Callable[[int], np.ndarray]:
    """Evenly between neighbouring tenths, which are rounded to two digits (days are not)."""
    finite = numbers[np.isfinite(numbers)]
    marks = np.quantile(finite, _TENTHS) if len(finite) else np.zeros(len(_TENTHS))
    if not exact:
        marks = np.array([_two_digits(one) for one in marks])

    def draw(count: int) -> np.ndarray:
        at = rng.integers(0, len(marks) - 1, count)
        return np.round(marks[at] + rng.random(count) * (marks[at + 1] - marks[at]), digits)

    return draw


def _outcome(table: pa.Table, contract: Contract, rows: int, rng: np.random.Generator) -> dict[str, pa.Array]:
    """The label at a coarse rate, with both outcomes present."""
    label = table.column(contract.bank.label)
    share = max(0.05, _coarse(pc.mean(label.cast(pa.float64())).as_py()))
    drawn = (rng.random(rows) < share).astype(int)
    drawn[:2] = (0, 1)
    return {contract.bank.label: pa.array(drawn).cast(label.type)}


def _days(table: pa.Table, contract: Contract, count: int, rng: np.random.Generator) -> pa.Array | None:
    if not contract.as_of:
        return None
    return _maker(table.column(contract.as_of), rng)(count)


def _coarse(share: float) -> float:
    return round(share * 20) / 20


def _two_digits(value: float) -> float:
    return round(value, 1 - math.floor(math.log10(abs(value)))) if value else 0.0


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _read(path: Path) -> pa.Table:
    return pa.parquet.read_table(path) if path.suffix == ".parquet" else pa.csv.read_csv(path)


def _write(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    else:
        pa.csv.write_csv(table, path)


def _titled(text: str, title: str) -> str:
    return text.replace(f'"{title}"', f'"MOCK {title}"', 1)
