"""Reads what was delivered, cell by cell as it stands: CSV, JSON lines, Parquet, a query.

Owns the formats. A row that cannot be cut into columns is set aside with its number; a file that is no table of its
format is refused. Never gives a cell a meaning: that is `checking`'s business.
"""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from features.ingest.refused import IngestRefused

FORMATS = ("csv", "jsonl", "parquet")
_BATCH = 50_000


@dataclass(frozen=True)
class Broken:
    """A row that is not one: its number and the text as delivered."""

    row: int
    text: str


@dataclass(frozen=True)
class Raw:
    """A table as delivered. `rows`: the number of each row in the file, the first after the heading being 1.

    CSV, JSON lines and queries give text columns; Parquet keeps its types. `sha256` is of the file's bytes, or, of a
    query, of its rows as canonical JSON lines.
    """

    name: str
    sha256: str
    table: pa.Table
    rows: np.ndarray
    broken: tuple[Broken, ...] = ()

    @property
    def delivered(self) -> int:
        return len(self.rows) + len(self.broken)


def read_file(path: Path, encoding: str = "utf-8") -> Raw:
    """A CSV, JSON lines or Parquet file, told by the ending of its name. Raises IngestRefused."""
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise _refused(path.name, "format", f"ending must be one of {', '.join(FORMATS)}; export it again",
                       f"扩展名应为 {', '.join(FORMATS)} 之一，请重新导出")  # fmt: skip
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _refused(path.name, "unreadable", f"cannot be read ({error.strerror}); check name and rights",
                       f"无法读取（{error.strerror}），请检查文件名和权限") from None  # fmt: skip
    sha256 = hashlib.sha256(content).hexdigest()
    readers = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
    table, rows, broken = readers[kind](path.name, content, encoding)
    _headings(path.name, table.column_names)
    return Raw(path.name, sha256, table, rows, tuple(broken))


def read_rows(name: str, rows: Iterable[Mapping[str, Any]]) -> Raw:
    """Rows of plain values, such as a query's. Raises IngestRefused."""
    digest = hashlib.sha256()
    texts: list[dict[str, str | None]] = []
    for row in rows:
        cells = {str(key): _text(name, str(key), value) for key, value in row.items()}
        digest.update(json.dumps(cells, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        texts.append(cells)
    table = _table(texts)
    _headings(name, table.column_names)
    return Raw(name, digest.hexdigest(), table, np.arange(1, len(texts) + 1))


def read_query(url: str, query: str) -> Raw:
    """The rows of an SQL query on any database that SQLAlchemy knows. Raises IngestRefused, naming no part of `url`."""
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        engine = sqlalchemy.create_engine(url)
        try:
            with engine.connect().execution_options(yield_per=_BATCH) as connection:
                result = connection.execute(sqlalchemy.text(query))
                _headings("query", list(result.keys()))
                return read_rows("query", result.mappings())
        finally:
            engine.dispose()
    # an error's own text may carry the address with its password, or values of rows
    except (ArgumentError, SQLAlchemyError, ImportError) as error:
        raise _refused("query", "database", f"the database does not answer ({type(error).__name__}); check address, "
                       "driver, rights and query", f"数据库查询失败（{type(error).__name__}），请检查地址、"
                       "驱动、权限和查询语句") from None  # fmt: skip


# ---- formats ---------------------------------------------------------------------------------------------------------


def _csv(name: str, content: bytes, encoding: str) -> tuple[pa.Table, np.ndarray, list[Broken]]:
    broken: list[Broken] = []

    def set_aside(row: pa.csv.InvalidRow) -> str:
        broken.append(Broken(row.number - 1, row.text))
        return "skip"

    try:
        stream = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig" if encoding == "utf-8" else encoding, newline="")
        headings = next(csv.reader(stream), [])
        _headings(name, headings)
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            # one thread: only then has a row that is set aside its number
            read_options=pyarrow.csv.ReadOptions(use_threads=False, encoding=encoding),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=set_aside),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(headings, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except UnicodeDecodeError:
        raise _encoding(name, encoding) from None
    except (pa.ArrowInvalid, csv.Error) as error:
        if "invalid UTF8" in str(error):
            raise _encoding(name, encoding) from None
        raise _refused(name, "unreadable", "not a CSV table with a heading; export it again",
                       "不是带表头的 CSV 表，请重新导出") from None  # fmt: skip
    gone = np.array([one.row for one in broken], np.int64)
    rows = np.setdiff1d(np.arange(1, len(table) + len(gone) + 1), gone)
    return table, rows, broken


def _jsonl(name: str, content: bytes, encoding: str) -> tuple[pa.Table, np.ndarray, list[Broken]]:
    try:
        lines = content.decode("utf-8-sig" if encoding == "utf-8" else encoding).split("\n")
    except UnicodeDecodeError:
        raise _encoding(name, encoding) from None
    texts: list[dict[str, str | None]] = []
    rows: list[int] = []
    broken: list[Broken] = []
    number = 0
    for line in lines:
        if not line.strip():
            continue
        number += 1
        try:
            # numbers stay as written: no digit is lost on the way to a decimal
            said = json.loads(line, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object)
        except ValueError:
            said = None
        if isinstance(said, dict) and all(value is None or isinstance(value, str | bool) for value in said.values()):
            texts.append({key: _text(name, key, value) for key, value in said.items()})
            rows.append(number)
        else:
            broken.append(Broken(number, line))
    return _table(texts), np.array(rows, np.int64), broken


def _parquet(name: str, content: bytes, encoding: str) -> tuple[pa.Table, np.ndarray, list[Broken]]:
    try:
        table = pyarrow.parquet.read_table(pa.BufferReader(content))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
        raise _refused(name, "unreadable", "not a Parquet file; export it again",
                       "不是 Parquet 文件，请重新导出") from None  # fmt: skip
    return table, np.arange(1, len(table) + 1), []


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice")
    return made


def _table(rows: list[dict[str, str | None]]) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})


def _text(name: str, column: str, value: Any) -> str | None:
    match value:
        case None | "":
            return None
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            # an unmeant exponent would be refused later
            return format(decimal.Decimal(repr(value)), "f")
        case decimal.Decimal():
            return format(value, "f")
        case dt.datetime() | dt.date():
            return value.isoformat()
    raise _refused(name, "column_type", f"column `{column}` has values of type {type(value).__name__}; cast it in the "
                   "query", f"列 `{column}` 的值为 {type(value).__name__} 类型，请在查询中转换")  # fmt: skip


def _headings(name: str, headings: Sequence[str]) -> None:
    for heading in headings:
        if not heading.strip() or headings.count(heading) > 1:
            raise _refused(name, "heading", f"heading `{heading}` is empty or stands twice; rename the column",
                           f"表头“{heading}”为空或重复，请重命名该列")  # fmt: skip


def _encoding(name: str, encoding: str) -> IngestRefused:
    return _refused(name, "encoding", f"not {encoding} text; name the right encoding (utf-8 or gb18030)",
                    f"不是 {encoding} 文本，请注明正确的编码（utf-8 或 gb18030）")  # fmt: skip


def _refused(name: str, code: str, message: str, message_zh: str) -> IngestRefused:
    return IngestRefused(f"ingest_{code}", f"{name}: {message}", f"{name}：{message_zh}")
