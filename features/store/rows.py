"""A table in a file, row by row and mapped into memory: to read a few rows costs a few pages, however many columns.

Owns the form: `NAME.rows` has one record of fixed width for each row, `NAME.json` says what its bytes mean and has the
words of the columns with few different texts. Every value comes back as it was given. Files are written once.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: Endings of the files of one table.
ENDINGS = (".rows", ".json")
#: Bytes of a text up to which it lies in the row itself, if the column has more different texts than `_WORDS`.
_LONGEST = 48
_WORDS = 1_000
#: One bit of it for each column: the row has no value there.
_NULLS = "<nulls>"
_PLAIN = {
    pa.int64(): "i8",
    pa.uint64(): "u8",
    pa.float64(): "f8",
    pa.date32(): "i4",
    pa.timestamp("us"): "i8",
    pa.bool_(): "u1",
    pa.decimal128(18, 2): "i8",  # 18 digits fit
}


@dataclass(frozen=True)
class _Column:
    """`width` of a text in the row, or None: the row has the number of a word."""

    name: str
    type: pa.DataType
    width: int | None = None

    @property
    def kind(self) -> str | tuple[str, tuple[int]]:
        if self.type != pa.string():
            return _PLAIN[self.type]
        # of a text its length too, so that zero bytes at its end are not lost
        return "u4" if self.width is None else ("u1", (self.width + 2,))


class Rows:
    """The table that `write` made at `path` (without ending)."""

    def __init__(self, path: Path) -> None:
        said = json.loads(_meta(path).read_text(encoding="utf-8"))
        self.count: int = said["count"]
        self._columns = [_Column(name, _type(kind), width) for name, kind, width in said["columns"]]
        self._words: list[list[str]] = said["words"]
        kind = _kind(self._columns)
        self._map: mmap.mmap | None = None
        self._mapped = np.empty(0, kind)
        if self.count:
            with _data(path).open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            # a few rows of many are asked for: reading ahead would read the whole file in the end
            self._map.madvise(mmap.MADV_RANDOM)
            self._mapped = np.frombuffer(self._map, kind)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self._columns]

    def row(self, place: int) -> dict[str, Any]:
        """One row as plain values."""
        found = self._mapped[place]
        nulls = int(found[_NULLS])
        return {
            one.name: None if nulls >> bit & 1 else self._value(one, words, found[one.name])
            for bit, (one, words) in enumerate(zip(self._columns, self._words, strict=True))
        }

    def take(self, places: np.ndarray | slice) -> pa.Table:
        """The rows at these places, in their order."""
        if not isinstance(places, slice):
            self._announce(places)
        found = self._mapped[places]
        nulls = found[_NULLS]
        columns = {}
        for bit, one in enumerate(self._columns):
            missing = (nulls >> np.uint64(bit) & np.uint64(1)).astype(bool)
            columns[one.name] = self._array(bit, np.ascontiguousarray(found[one.name]), missing)
        return pa.table(columns)

    def _announce(self, places: np.ndarray) -> None:
        """Has the system fetch the pages of these rows side by side, not one after the other."""
        if self._map is None or not len(places):
            return
        size = self._mapped.itemsize
        pages = np.unique(np.concatenate((places * size, (places + 1) * size - 1)) // mmap.PAGESIZE)
        breaks = np.flatnonzero(np.diff(pages) > 1)
        first, last = pages[np.concatenate(([0], breaks + 1))], pages[np.concatenate((breaks, [len(pages) - 1]))]
        for start, length in zip(first * mmap.PAGESIZE, (last - first + 1) * mmap.PAGESIZE, strict=True):
            self._map.madvise(mmap.MADV_WILLNEED, int(start), int(length))

    @cached_property
    def _dictionaries(self) -> list[pa.Array]:
        return [pa.array(words, pa.string()) for words in self._words]

    def _array(self, place: int, values: np.ndarray, missing: np.ndarray) -> pa.Array:
        kind, width = self._columns[place].type, self._columns[place].width
        if kind == pa.string() and width is None:
            return self._dictionaries[place].take(pa.array(values, mask=missing))
        valid = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
        if width is not None:
            lengths = np.ascontiguousarray(values[:, width:]).view("u2").reshape(-1)
            ends = np.zeros(len(values) + 1, np.int32)
            np.cumsum(lengths, out=ends[1:])
            text = values[:, :width][np.arange(width) < lengths[:, None]]
            return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(ends), pa.py_buffer(text)])
        if pa.types.is_decimal(kind):
            both = np.empty((len(values), 2), np.int64)
            both[:, 0], both[:, 1] = values, values >> 63
            values = both
        elif pa.types.is_boolean(kind):
            values = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(kind, len(missing), [valid, pa.py_buffer(values)])

    def _value(self, column: _Column, words: list[str], value: Any) -> Any:
        kind = column.type
        if kind == pa.string() and column.width is None:
            return words[int(value)]
        if kind == pa.float64():
            return float(value)
        one = np.asarray(value)[None]
        return self._array(self._columns.index(column), one, np.zeros(1, bool))[0].as_py()


def write(
    path: Path,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    texts: Mapping[str, tuple[int, int]],
) -> int:
    """Writes a table; returns its number of rows.

    `texts`: of a text column, about how many different texts it has, and the bytes of the longest; a column that is
    left out has few.
    """
    columns = []
    for one in schema:
        many, longest = texts.get(one.name, (0, 0))
        columns.append(_Column(one.name, one.type, longest if many > _WORDS and longest <= _LONGEST else None))
    kind = _kind(columns)
    words: list[dict[str, int]] = [{} for _ in columns]
    count = 0
    with _data(path).open("wb") as file:
        for batch in batches:
            made = np.zeros(batch.num_rows, kind)
            for bit, one in enumerate(columns):
                column = batch.column(bit)
                if column.null_count:
                    made[_NULLS] |= column.is_null().to_numpy(zero_copy_only=False).astype(np.uint64) << np.uint64(bit)
                if column.null_count < len(column):
                    made[one.name] = _bytes(one, column, words[bit])
            file.write(made.tobytes())
            count += batch.num_rows
    said = {
        "count": count,
        "columns": [(one.name, str(one.type), one.width) for one in columns],
        "words": [list(one) for one in words],
    }
    _meta(path).write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
    return count


def padded(names: pa.Array) -> np.ndarray:
    """Texts as bytes of one width, to be searched by halving; one that ends in zero bytes loses them."""
    width = max(1, pc.max(pc.binary_length(names)).as_py() or 0)
    whole = pc.ascii_rpad(names, width, padding="\0")  # counts bytes, not letters
    return np.frombuffer(whole.buffers()[2] or b"", f"S{width}", len(names), whole.offset * width)


def remove(path: Path) -> None:
    for file in (_data(path), _meta(path)):
        file.unlink(missing_ok=True)  # who has it mapped keeps it


def _bytes(column: _Column, values: pa.Array, words: dict[str, int]) -> np.ndarray:
    """The values in the form that they have in a row; where there is none, anything."""
    kind = column.type
    if kind == pa.string() and column.width is None:
        coded = values.dictionary_encode()
        known = np.array([words.setdefault(text, len(words)) for text in coded.dictionary.to_pylist()], np.uint32)
        return known[coded.indices.fill_null(0).to_numpy(zero_copy_only=False)]
    if column.width is not None:
        whole = pa.concat_arrays([values.fill_null("")])  # from offset zero
        lengths = pc.binary_length(whole).to_numpy(zero_copy_only=False)
        made = np.zeros((len(whole), column.width + 2), np.uint8)
        text = np.frombuffer(whole.buffers()[2] or b"", np.uint8)[: lengths.sum()]
        made[:, : column.width][np.arange(column.width) < lengths[:, None]] = text
        made[:, column.width :] = lengths.astype("u2")[:, None].view(np.uint8)
        return made
    if pa.types.is_decimal(kind):
        halves = np.frombuffer(values.buffers()[1], np.int64)
        return halves[2 * values.offset : 2 * (values.offset + len(values)) : 2]
    if pa.types.is_boolean(kind):
        return values.fill_null(False).to_numpy(zero_copy_only=False)
    whole_number = {pa.date32(): pa.int32(), pa.timestamp("us"): pa.int64()}.get(kind)
    plain = values.cast(whole_number) if whole_number else values
    return plain.fill_null(0).to_numpy(zero_copy_only=False)


def _kind(columns: Sequence[_Column]) -> np.dtype:
    if len(columns) > 64:
        raise ValueError("a row tells of 64 columns whether it has a value")
    return np.dtype([(_NULLS, "u8"), *((one.name, *_pair(one.kind)) for one in columns)])


def _pair(kind: str | tuple[str, tuple[int]]) -> tuple[Any, ...]:
    return (kind,) if isinstance(kind, str) else kind


def _type(name: str) -> pa.DataType:
    return next(kind for kind in (pa.string(), *_PLAIN) if str(kind) == name)


def _data(path: Path) -> Path:
    return path.with_name(f"{path.name}.rows")


def _meta(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
