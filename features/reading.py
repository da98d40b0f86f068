"""Reading one table, CSV or Parquet, into columns of known kind.

Owns how a cell of a file becomes an id, a number, a category, a date or a missing value, and the faults that
show while doing so. Never judges the sample as a whole: that is `validation`.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from features.contract import BankTable, Contract, SideName
from features.faults import ROWS_NAMED, Fault

Kind = Literal["numeric", "categorical"]

NAME_LIMIT = 128
ID_LIMIT = 128
#: Spellings of a missing number in a CSV file, lower case. In a text column only the empty cell is missing:
#: “NA” is a country.
_MISSING = pa.array(["", "na", "n/a", "nan", "null", "none", "\\n"])
_NOT_WORDS = pa.concat_arrays([_MISSING, pa.array(["true", "false"])])
_INFINITE = r"^[+-]?(?i:inf|infinity)$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
#: What a cell that is not a number looks like; first match wins. The cell itself is never shown.
_CLASSES = (
    (r"^[+-]?[\d.,]+\s*[%％]$", "a percentage", "百分数"),
    (r"^[+-]?\d{1,3}([,，' ]\d{3})+(\.\d+)?$", "a number with thousands separators", "带千位分隔符的数字"),
    (r"^[+-]?\d+,\d+$", "a number with a decimal comma", "以逗号作小数点的数字"),
    (r"^\d{4}[-/.年]\d{1,2}([-/.月]\d{1,2}日?)?.*$", "a date", "日期"),
    (r"^[^\d]+$", "letters", "文字"),
    (r"^.*$", "letters and digits", "文字与数字混合"),
)


class Column(TypedDict):
    """One model input. `unit` is given for dates only, where the contract names an as-of date to count from."""

    name: str
    kind: Kind
    unit: NotRequired[Literal["days_after_as_of"]]


@dataclass
class Reading:
    """One side's table as typed columns, with the faults found on the way.

    `data` holds the id (string), model columns (float64 or string, null = missing), and where the contract
    names them label (float64), split, party (string) and as_of (date32). A column whose cells could not be
    typed is absent from it and stands in `faults`. `rows` are the 1-based data rows, in the file, of `data`.
    """

    side: SideName
    contract: Contract
    file: str
    data: pa.Table | None = None
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    columns: tuple[Column, ...] = ()
    faults: list[Fault] = field(default_factory=list)
    lines_of: Callable[[Iterable[int]], dict[int, int]] | None = None

    def fault(self, code: str, column: str = "", bad: np.ndarray | None = None, **params: object) -> None:
        """Note a fault; `bad` are positions in `data` (not file rows)."""
        rows: tuple[int, ...] = ()
        count = 0
        if bad is not None and len(bad):
            rows = tuple(int(row) for row in self.rows[bad[:ROWS_NAMED]])
            count = len(bad)
        self.faults.append(Fault(code, self.file, column, rows, self._lines(rows), count, params))

    def _lines(self, rows: tuple[int, ...]) -> tuple[int, ...]:
        if not rows or self.lines_of is None:
            return ()
        found = self.lines_of(rows)
        return tuple(found[row] for row in rows if row in found)


def read_table(folder: Path | str, contract: Contract, side: SideName, party: str | None = None) -> Reading:
    """Read one side's table; with `party`, only the rows that this bank owns.

    Never raises for what is wrong with the data: faults are collected in the result.
    """
    spec = contract.side(side)
    path = Path(folder) / spec.table
    reading = Reading(side, contract, spec.table)
    if not path.is_file():
        reading.fault("file_missing", key=f"{side}.table")
        return reading
    raw = _read_csv(path, reading) if path.suffix.lower() == ".csv" else _read_parquet(path, reading)
    if raw is None:
        return reading
    if raw.num_rows == 0:
        reading.fault("file_empty")
        return reading
    reading.rows = np.arange(1, raw.num_rows + 1, dtype=np.int64)
    raw = _named_columns(raw, reading)
    if party is not None:
        raw = _of_party(raw, reading, party)
    if raw is None or contract.id not in raw.column_names:
        return reading
    _type_columns(raw, reading)
    return reading


# --- files ----------------------------------------------------------------------------------------


def _read_parquet(path: Path, reading: Reading) -> pa.Table | None:
    try:
        names = pyarrow.parquet.read_schema(path).names
        if not _check_names(names, reading):
            return None
        ignored = set(reading.contract.side(reading.side).ignore)
        table = pyarrow.parquet.read_table(path, columns=[name for name in names if name not in ignored])
    except (pa.ArrowException, OSError, ValueError):
        reading.fault("file_unreadable", format="Parquet", detail="damaged, or another format")
        return None
    _check_present(names, reading)
    return table


def _read_csv(path: Path, reading: Reading) -> pa.Table | None:
    reading.lines_of = lambda rows: _csv_lines(path, rows)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            names = next((row for row in csv.reader(stream) if row), None)
    except UnicodeDecodeError:
        _note_encoding(path, reading)
        return None
    except csv.Error as error:
        reading.fault("file_unreadable", format="CSV", detail=str(error))
        return None
    if names is None:
        reading.fault("file_empty")
        return None
    if not _check_names(names, reading):
        return None
    _check_present(names, reading)
    ignored = set(reading.contract.side(reading.side).ignore)
    ragged: list[int] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        ragged.append(row.number)
        return "skip"

    try:
        table = pyarrow.csv.read_csv(
            path,
            # one thread: the numbers of ragged rows are only known then
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=True,
                null_values=[""],
                include_columns=[name for name in names if name not in ignored],
            ),
        )
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            _note_encoding(path, reading)
        else:
            reading.fault("file_unreadable", format="CSV", detail="unbalanced quotes or separators")
        return None
    if ragged:
        # the parser counts the header as row 1
        rows = tuple(number - 1 for number in ragged[:ROWS_NAMED])
        reading.faults.append(
            Fault(
                "row_width",
                reading.file,
                "",
                rows,
                reading._lines(rows),
                len(ragged),
                {"expected": len(names)},
            )
        )
        return None
    return table


def _note_encoding(path: Path, reading: Reading) -> None:
    line = 0
    with path.open("rb") as stream:
        for number, content in enumerate(stream, start=1):
            try:
                content.decode("utf-8")
            except UnicodeDecodeError:
                line = number
                break
    reading.faults.append(Fault("file_encoding", reading.file, lines=(line,)))


def _csv_lines(path: Path, rows: Iterable[int]) -> dict[int, int]:
    """The physical line on which each of the given data rows begins."""
    wanted = set(rows)
    found: dict[int, int] = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        number, begin = -1, 1
        try:
            for record in reader:
                if record:
                    number += 1
                    if number in wanted:
                        found[number] = begin
                        if len(found) == len(wanted):
                            break
                begin = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError):
            return found
    return found


# --- columns ----------------------------------------------------------------------------------------


def _check_names(names: list[str], reading: Reading) -> bool:
    faults = len(reading.faults)
    for name in sorted({name for name in names if names.count(name) > 1}):
        reading.fault("column_duplicate", name)
    for name in names:
        if not name.strip() or len(name) > NAME_LIMIT or any(sign in name for sign in ',"\n\r\t'):
            reading.fault("column_name", repr(name[:20]), limit=NAME_LIMIT)
    return len(reading.faults) == faults


def _check_present(names: list[str], reading: Reading) -> None:
    """Every column that the contract names for this side must be in the table, ignored ones included."""
    contract, side = reading.contract, reading.side
    spec = contract.side(side)
    roles: list[tuple[str, str | None]] = [("id", contract.id), ("as_of", contract.as_of)]
    if isinstance(spec, BankTable):
        roles += [("bank.label", spec.label), ("bank.split", spec.split), ("bank.party", spec.party)]
    roles += [(f"{side}.ignore", name) for name in spec.ignore]
    roles += [(f"{side}.categorical", name) for name in spec.categorical]
    for role, name in roles:
        if name is not None and name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            reading.fault(
                "column_missing",
                name,
                role=role,
                hint=f" (did you mean `{close[0]}`?)" if close else "",
                hint_zh=f"（是否为 `{close[0]}`？）" if close else "",
            )


def _named_columns(raw: pa.Table, reading: Reading) -> pa.Table:
    """Drop the label's column from the lab's table after noting it: it must not become a feature."""
    label = reading.contract.bank.label
    if reading.side == "lab" and label in raw.column_names:
        reading.fault("label_in_lab", label)
        raw = raw.drop_columns([label])
    return raw


def _of_party(raw: pa.Table, reading: Reading, party: str) -> pa.Table | None:
    spec = reading.contract.side(reading.side)
    column = spec.party if isinstance(spec, BankTable) else None
    if column is None:
        reading.fault("party_absent", "bank.party", party=party)
        return None
    if column not in raw.column_names:
        return None
    owner, _ = _as_text(raw.column(column))
    keep = pc.fill_null(pc.equal(owner, party), False)
    mask = keep.to_numpy(zero_copy_only=False)
    if not mask.any():
        reading.fault("party_absent", column, party=party)
        return None
    reading.rows = reading.rows[mask]
    return raw.filter(keep)


def _type_columns(raw: pa.Table, reading: Reading) -> None:
    contract, side = reading.contract, reading.side
    spec = contract.side(side)
    typed: dict[str, pa.Array] = {}
    texts = {contract.id}
    if isinstance(spec, BankTable):
        texts |= {name for name in (spec.split, spec.party) if name}
    for name in texts & set(raw.column_names):
        values, usable = _as_text(raw.column(name))
        if usable:
            typed[name] = values
        else:
            reading.fault("column_type", name, type=str(raw.column(name).type), side=side)
    if contract.as_of and contract.as_of in raw.column_names:
        values = _as_date(raw.column(contract.as_of), reading, contract.as_of)
        if values is not None:
            typed[contract.as_of] = values
    if isinstance(spec, BankTable) and spec.label in raw.column_names:
        before = len(reading.faults)
        values = _as_number(raw.column(spec.label), reading, spec.label)
        if values is not None:
            typed[spec.label] = values
        # whatever cannot be read as a number is, in this column, a label that is neither 0 nor 1
        noted = reading.faults[before:]
        reading.faults[before:] = [replace(fault, code="label_not_binary") for fault in noted]
    columns: list[Column] = []
    as_of = typed.get(contract.as_of or "")
    excluded = contract.excluded(side)
    for name in raw.column_names:
        if name in excluded:
            continue
        cells = raw.column(name)
        if cells.null_count == len(cells) or pa.types.is_null(cells.type):
            reading.fault("column_empty", name, side=side)
            continue
        kind: Kind = "categorical" if name in spec.categorical or _is_plainly_categorical(cells) else "numeric"
        column = Column(name=name, kind=kind)
        if pa.types.is_date(cells.type) or pa.types.is_timestamp(cells.type):
            values = _as_days(cells, as_of)
            if as_of is not None:
                column["unit"] = "days_after_as_of"
        elif kind == "categorical":
            values, usable = _as_text(cells)
            if not usable:
                reading.fault("column_type", name, type=str(cells.type), side=side)
                continue
        else:
            values = _as_number(cells, reading, name)
            if values is None:
                continue
            if values.null_count == len(values):
                reading.fault("column_empty", name, side=side)
                continue
        typed[name] = values
        columns.append(column)
    if not columns and not any(fault.code != "label_in_lab" for fault in reading.faults):
        reading.fault("no_columns", side=side)
    reading.columns = tuple(columns)
    reading.data = pa.table(typed)


# A text column nobody declared counts as categorical when it plainly is one: its levels are few and most cells are
# words. A few words among numbers stay an error, because then one of the two is a mistake.
_FEW_LEVELS, _ROWS_A_LEVEL = 100, 10


def _is_plainly_categorical(cells: pa.ChunkedArray) -> bool:
    values = _plain(cells)
    if not _is_text(values.type):
        return False
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    known = text.filter(pc.invert(pc.is_in(pc.utf8_lower(text), value_set=_NOT_WORDS)))
    levels = pc.count_distinct(known).as_py()
    if levels < 2 or levels > min(_FEW_LEVELS, len(known) // _ROWS_A_LEVEL):
        return False
    number = pc.or_(pc.match_substring_regex(known, _NUMBER), pc.match_substring_regex(known, _INFINITE))
    return bool(pc.sum(number).as_py() * 2 < len(known))


def _as_days(cells: pa.ChunkedArray, as_of: pa.Array | None) -> pa.Array:
    """Dates as days after the row's as_of date, or after 1970-01-01 where the contract names none; null = missing."""
    days = pc.cast(pc.cast(_plain(cells), pa.date32(), safe=False), pa.int32())
    if as_of is not None:
        days = pc.subtract(days, pc.cast(as_of, pa.int32()))
    return pc.cast(days, pa.float64())


def _plain(cells: pa.ChunkedArray) -> pa.Array:
    """One contiguous array with dictionaries and views resolved."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    combined = cells.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _as_text(cells: pa.ChunkedArray) -> tuple[pa.Array, bool]:
    """Cells as strings; the empty text is a missing value; whole numbers are written without a fraction."""
    values = _plain(cells)
    kind = values.type
    if _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        text = values.cast(pa.string())
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = _nan_to_null(values.cast(pa.float64()))
        known = numbers.drop_null()
        whole = pc.all(pc.equal(known, pc.floor(known))).as_py() is not False
        small = pc.all(pc.less(pc.abs(known), 2.0**53)).as_py() is not False
        text = (numbers.cast(pa.int64()) if whole and small else numbers).cast(pa.string())
    elif pa.types.is_null(kind):
        text = values.cast(pa.string())
    else:
        return pa.nulls(len(values), pa.string()), False
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text), True


def _as_number(cells: pa.ChunkedArray, reading: Reading, name: str) -> pa.Array | None:
    """Cells as float64, missing = null; None after noting why it cannot be."""
    values = _plain(cells)
    kind = values.type
    if _is_text(kind):
        numbers = _parse_numbers(values.cast(pa.string()), reading, name)
        if numbers is None:
            return None
    elif pa.types.is_boolean(kind):
        numbers = values.cast(pa.int8()).cast(pa.float64())
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = _nan_to_null(pc.cast(values, pa.float64(), safe=False))
    else:
        reading.fault("column_type", name, type=str(kind), side=reading.side)
        return None
    infinite = _positions(pc.is_inf(numbers))
    if len(infinite):
        reading.fault("number_infinite", name, infinite)
        return None
    return numbers


def _parse_numbers(text: pa.Array, reading: Reading, name: str) -> pa.Array | None:
    trimmed = pc.utf8_trim_whitespace(text)
    lower = pc.utf8_lower(trimmed)
    trimmed = pc.if_else(pc.is_in(lower, value_set=_MISSING), pa.scalar(None, pa.string()), trimmed)
    lower = pc.if_else(pc.is_null(trimmed), pa.scalar(None, pa.string()), lower)
    if reading.file.lower().endswith(".csv"):
        words = lower.drop_null()
        if len(words) and pc.all(pc.is_in(words, pa.array(["true", "false"]))).as_py():
            return pc.equal(lower, "true").cast(pa.int8()).cast(pa.float64())
        strange = _positions(
            pc.invert(pc.or_(pc.match_substring_regex(trimmed, _NUMBER), pc.match_substring_regex(trimmed, _INFINITE)))
        )
    else:
        # a Parquet file says itself that the column is text
        strange = _positions(pc.is_valid(trimmed))
    if len(strange):
        value_class, value_class_zh = _class_of(trimmed[int(strange[0])].as_py())
        reading.fault(
            "text_in_numeric",
            name,
            strange,
            side=reading.side,
            value_class=value_class,
            value_class_zh=value_class_zh,
        )
        return None
    return _nan_to_null(trimmed.cast(pa.float64()))


def _class_of(cell: str) -> tuple[str, str]:
    one = pa.array([cell])
    if pc.match_substring_regex(one, _NUMBER)[0].as_py():
        return "digits stored as text", "以文本存储的数字"
    for pattern, name, name_zh in _CLASSES:
        if pc.match_substring_regex(one, pattern)[0].as_py():
            return name, name_zh
    return "text", "文本"


def _as_date(cells: pa.ChunkedArray, reading: Reading, name: str) -> pa.Array | None:
    """Cells as date32; the time of day is dropped; malformed cells are noted and become null."""
    values = _plain(cells)
    kind = values.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return pc.cast(values, pa.date32(), safe=False)
    if not _is_text(kind):
        reading.fault("as_of_malformed", name, np.arange(len(values))[:1])
        return None
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    shaped = pc.match_substring_regex(text, r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?$")
    day = pc.utf8_slice_codeunits(pc.if_else(shaped, text, pa.scalar(None, pa.string())), 0, 10)
    dates = pc.strptime(day, format="%Y-%m-%d", unit="s", error_is_null=True).cast(pa.date32())
    # strptime rolls 30 February over to March: a date that does not print back as written is none
    printed = pc.equal(pc.strftime(dates, format="%Y-%m-%d"), day)
    dates = pc.if_else(pc.fill_null(printed, False), dates, pa.scalar(None, pa.date32()))
    malformed = _positions(pc.and_(pc.is_valid(text), pc.is_null(dates)))
    if len(malformed):
        reading.fault("as_of_malformed", name, malformed)
        return None
    return dates


def _nan_to_null(numbers: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)


def _positions(mask: pa.Array) -> np.ndarray:
    """Positions where the mask is true (null counts as false)."""
    return np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))
