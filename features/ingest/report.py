"""The error report of a batch, by row and column, with remedies in two languages.

Owns its two forms: CSV with every fault, JSON with one entry per kind of fault. Never quotes the value of a cell.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from features.catalogue.model import Category
from features.ingest.checking import HEADINGS, Fault
from features.ingest.reading import Broken
from features.ingest.wording import WORDINGS

#: Row numbers named per kind of fault in the JSON form; the CSV form has all.
ROWS_NAMED = 100


def as_csv(category: Category, faults: Sequence[Fault], rows: np.ndarray, broken: Sequence[Broken]) -> bytes:
    """One line per fault, in the order of rows. `rows`: row numbers by position."""
    parts = []
    for fault, numbers in _numbered(faults, rows, broken):
        told = _told(category, fault)
        columns = {"row": pa.array(numbers, pa.int64())}
        columns |= {name: pa.repeat(pa.scalar(text, pa.string()), len(numbers)) for name, text in told.items()}
        parts.append(pa.table(columns))
    sink = io.BytesIO()
    table = pa.concat_tables(parts)
    order = pc.sort_indices(table, [("row", "ascending"), ("column", "ascending"), ("code", "ascending")])
    # spreadsheets take a file for UTF-8 only by this mark
    sink.write("\ufeff".encode())
    pyarrow.csv.write_csv(table.take(order), sink)
    return sink.getvalue()


def as_json(category: Category, faults: Sequence[Fault], rows: np.ndarray, broken: Sequence[Broken]) -> str:
    """One entry per column and kind of fault: how many rows, the first of them, what is wrong, what to do."""
    entries: list[dict[str, Any]] = [
        {**_told(category, fault), "count": len(numbers), "rows": numbers[:ROWS_NAMED].tolist()}
        for fault, numbers in _numbered(faults, rows, broken)
    ]
    return json.dumps({"category": category.id, "faults": entries}, ensure_ascii=False, indent=1) + "\n"


def _numbered(faults: Sequence[Fault], rows: np.ndarray, broken: Sequence[Broken]) -> list[tuple[Fault, np.ndarray]]:
    found = [(fault, rows[fault.at]) for fault in faults]
    if broken:
        numbers = np.array([one.row for one in broken], np.int64)
        found.append((Fault("", "row_broken", np.arange(len(numbers))), numbers))
    return found


def _told(category: Category, fault: Fault) -> Mapping[str, str]:
    wording = WORDINGS[fault.code]
    names = {**HEADINGS, **{item.name: item.zh for item in category.items}}
    return {
        "column": fault.column,
        "column_zh": names.get(fault.column, ""),
        "code": fault.code,
        "what_zh": wording.what_zh.format_map(fault.params),
        "remedy_zh": wording.remedy_zh.format_map(fault.params),
        "what": wording.what.format_map(fault.params),
        "remedy": wording.remedy.format_map(fault.params),
    }
