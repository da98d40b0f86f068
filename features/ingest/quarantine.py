"""Rows that were delivered and not accepted, kept as they came, until they are corrected, confirmed or redelivered.

Owns their form, which of them are open, and the table that a person corrects. A held row is never changed: what became
of it is told by resolutions of later batches, which link it to the record that came of it.
"""

# ruff: noqa: S608 - the SQL names files of our own, never what a user types

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from features.catalogue.model import Category
from features.ingest.checking import HEADINGS
from features.ingest.log import Log, decisions
from features.ingest.wording import WORDINGS
from features.store.engine import connect, parquet

#: Kinds: a cell is wrong; one enterprise found by name; none; several; identifiers that contradict each other.
KINDS = ("invalid", "proposed", "unmatched", "ambiguous", "conflict")
KIND_OF_CODE = {
    "match_proposed": "proposed",
    "match_none": "unmatched",
    "match_several": "ambiguous",
    "identifier_conflict": "conflict",
}
HELD = pa.schema(
    [
        ("id", pa.string()),
        ("seq", pa.int64()),
        ("batch", pa.string()),
        ("source", pa.string()),
        ("category", pa.string()),
        ("received_at", pa.string()),
        ("backfill", pa.bool_()),
        ("row", pa.int64()),
        ("kind", pa.string()),
        ("codes", pa.list_(pa.string())),
        ("columns", pa.list_(pa.string())),
        ("name", pa.string()),
        ("candidate", pa.string()),
        ("record_id", pa.string()),
        ("op", pa.string()),
        ("revision", pa.string()),
        ("content", pa.string()),
    ]
)
RESOLUTIONS = pa.schema(
    [
        ("id", pa.string()),
        ("how", pa.string()),
        ("record_id", pa.string()),
        ("op", pa.string()),
        ("revision", pa.string()),
    ]
)
#: Columns of the table for correction that are not the record's own.
BOOKKEEPING = ("quarantine_id", "batch", "row", "kind", "reason_zh", "reason", "as_delivered")
#: Key of the content of a row that could not be cut into columns.
BROKEN = "as_delivered"
_FORMULA = ("=", "+", "-", "@", "\t")


@dataclass(frozen=True)
class Held:
    """One row in quarantine. `content`: column → text as delivered, empty cells left out."""

    id: str
    seq: int
    batch: str
    source: str
    category: str
    received_at: str
    backfill: bool
    row: int
    kind: str
    codes: tuple[str, ...]
    columns: tuple[str, ...]
    name: str | None
    candidate: str | None
    record_id: str | None
    op: str
    revision: str
    content: dict[str, str]

    def to_row(self) -> dict[str, Any]:
        return {**self.__dict__, "content": json.dumps(self.content, ensure_ascii=False, sort_keys=True)}


def identify(source: str, category: str, content: dict[str, str]) -> str:
    """The same row delivered again has the same id."""
    text = json.dumps([source, category, content], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def every(log: Log, *, source: str | None = None, category: str | None = None) -> tuple[dict[str, Held], set[str]]:
    """The last version of every row that was ever held, by id, and the ids of those that are settled."""
    files, settled = log.files("quarantine"), log.files("resolutions")
    if not files:
        return {}, set()
    with connect() as db:
        resolved = {one for (one,) in db.sql(f"SELECT id FROM {parquet(settled)}").fetchall()} if settled else set()
        rows = db.execute(
            f"""
            SELECT {", ".join(HELD.names)} FROM {parquet(files)}
            WHERE ($source IS NULL OR source = $source) AND ($category IS NULL OR category = $category)
            QUALIFY row_number() OVER (PARTITION BY id ORDER BY seq DESC) = 1 ORDER BY seq, row
            """,
            {"source": source, "category": category},
        ).fetchall()
    held = {}
    for row in rows:
        said = dict(zip(HELD.names, row, strict=True))
        lists = {"codes": tuple(said["codes"]), "columns": tuple(said["columns"])}
        held[said["id"]] = Held(**{**said, **lists, "content": json.loads(said["content"])})
    return held, resolved


def opened(log: Log, *, source: str | None = None, category: str | None = None) -> list[Held]:
    """The rows that still wait. A proposal that a person rejected waits as unmatched."""
    held, settled = every(log, source=source, category=category)
    entries = log.entries("confirmation", "rejection")
    decided = {one.source: decisions(entries, one.source) for one in entries}
    found = []
    for one in held.values():
        if one.id in settled:
            continue
        word = decided.get(one.source, {}).get((one.name or "", one.candidate or ""))
        if one.kind == "proposed" and word == "rejected":
            one = Held(**{**one.__dict__, "kind": "unmatched", "codes": ("match_none",)})
        found.append(one)
    return found


def to_csv(category: Category, rows: Sequence[Held]) -> str:
    """The table that a person corrects: why each row is held, and its cells as delivered.

    A text that a spreadsheet would take for a formula has an apostrophe before it, which `unguarded` takes away.
    """
    own = [*HEADINGS, *(item.name for item in category.items)]
    if not any(one.backfill for one in rows):
        own.remove("known_at")
    sink = io.StringIO()
    sink.write("\ufeff")
    writer = csv.writer(sink)
    writer.writerow([*BOOKKEEPING, *own])
    for one in rows:
        reasons = [
            (f"{column}：{WORDINGS[code].what_zh}", f"{column}: {WORDINGS[code].what}")
            for code, column in zip(one.codes, one.columns, strict=True)
        ]
        told = ["；".join(zh for zh, _ in reasons), "; ".join(en for _, en in reasons)]
        told = [text.format_map(_Blank()) for text in told]
        cells = [one.content.get(name, "") for name in own]
        if not one.content.get("source"):
            cells[own.index("source")] = one.source
        kept = [one.id, one.batch, str(one.row), one.kind, *told, one.content.get(BROKEN, "")]
        writer.writerow([_guarded(cell) for cell in (*kept, *cells)])
    return sink.getvalue()


def unguarded(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text


def _guarded(text: str) -> str:
    number = text[1:].replace(".", "", 1).isdigit()
    return f"'{text}" if text.startswith(_FORMULA) and not (text[0] == "-" and number) else text


class _Blank(dict[str, str]):
    """Parameters of a wording are not kept with a held row."""

    def __missing__(self, key: str) -> str:
        return "…"
