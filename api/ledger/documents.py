"""The documents behind the entries: which row keeps each, and whether it is still the one that was entered.

Owns the map from a kind of object to its row. It reads only; a document that differs, or a row that the ledger does
not know, is named with the entry and the object, never shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from consent.ledger import decode, matches
from consent.ledger.errors import LedgerError

# kind of object → (table, its key as the ledger writes it, how keys are looked up by the index, the document's column)
ROWS: dict[str, tuple[str, str, str, str]] = {
    "feed": ("feed", "seq::text", "seq = ANY(CAST(:names AS bigint[]))", "document"),
    "ticket": ("jobs", "id", "id = ANY(:names)", "ticket"),
    "release": ("releases", "id || '/approved'", "id || '/approved' = ANY(:names)", "release_order"),
    "score_permit": ("permits", "id", "id = ANY(:names)", "permit"),
    "data_permit": ("permits", "id", "id = ANY(:names)", "permit"),
    "usage": ("usage", "id", "id = ANY(:names)", "document"),
    "node_head": ("node_heads", "job_id || '/' || node", "job_id || '/' || node = ANY(:names)", "document"),
}
# rows that must have an entry: (kind of object, table, key, condition)
_NEEDED = (
    ("feed", "feed", "seq::text", "true"),
    ("ticket", "jobs", "id", "ticket IS NOT NULL"),
    ("release", "releases", "id || '/approved'", "approved_at IS NOT NULL"),
    ("release", "releases", "id || '/released'", "released_at IS NOT NULL"),
    ("release", "releases", "id || '/recalled'", "state = 'recalled'"),
    ("score_permit", "permits", "id", "kind = 'score'"),
    ("data_permit", "permits", "id", "kind = 'data'"),
    ("usage", "usage", "id", "true"),
    ("node_head", "node_heads", "job_id || '/' || node", "true"),
)
_BATCH = 1000


class DocumentDamaged(LedgerError):
    """A document is no longer the one that was entered, or a row was written without an entry.

    `index` is the entry's position; None for a row that the ledger does not know.
    """

    code = "ledger_document_damaged"

    def __init__(self, index: int | None, kind: str, name: str, why: str, why_zh: str) -> None:
        where = f"entry {index}" if index is not None else "no entry"
        where_zh = f"第 {index} 条记录" if index is not None else "无对应记录"
        super().__init__(f"{where}, {kind} {name}: {why}", f"{where_zh}，{kind} {name}：{why_zh}")
        self.index, self.kind, self.name = index, kind, name


def _texts(connection: sa.Connection, object_kind: str, names: list[str]) -> dict[str, str]:
    """The documents' texts as the objects' own rows keep them."""
    if not names or object_kind not in ROWS:
        return {}
    table, key, found_by, column = ROWS[object_kind]
    query = sa.text(f"SELECT {key} AS name, {column} AS text FROM {table} WHERE {found_by}")  # noqa: S608 (own names)
    return {row.name: row.text for row in connection.execute(query, {"names": names}) if row.text is not None}


def check(connection: sa.Connection, log_id: str) -> int:
    """Compares every entry with its document, in order, and looks for rows without an entry.

    Returns how many documents fit. Raises DocumentDamaged for the first one that does not.
    """
    checked = 0
    for batch in _subjects(connection, log_id):
        texts: dict[tuple[str, str], str] = {}
        for kind in ROWS:
            names = [row.object_id for row in batch if row.object_kind == kind and row.document is None]
            texts |= {(kind, name): text for name, text in _texts(connection, kind, names).items()}
        for row in batch:
            _compare(row, texts)
        checked += len(batch)
    _unknown(connection)
    return checked


def _subjects(connection: sa.Connection, log_id: str) -> Iterator[list[sa.Row[Any]]]:
    """A batch at a time and without a cursor on the server, which would need a transaction around it."""
    query = sa.text(
        "SELECT e.position, e.entry, s.object_kind, s.object_id, s.salt, s.document FROM ledger_entry e "
        "LEFT JOIN ledger_subject s ON s.log_id = e.log_id AND s.position = e.position "
        "WHERE e.log_id = :log AND e.position > :after ORDER BY e.position LIMIT :most"
    )
    after = -1
    while rows := connection.execute(query, {"log": log_id, "after": after, "most": _BATCH}).all():
        yield list(rows)
        after = rows[-1].position


def _compare(row: sa.Row[Any], texts: dict[tuple[str, str], str]) -> None:
    if row.salt is None:
        raise DocumentDamaged(
            row.position, "subject", str(row.position), "its salt was removed: nobody can check its document any more",
            "盐值被删除：其文件已无法核对",
        )  # fmt: skip
    text = texts.get((row.object_kind, row.object_id)) if row.document is None else row.document
    if text is None:
        raise DocumentDamaged(row.position, row.object_kind, row.object_id, "its document was removed", "其文件被删除")
    try:
        matches(decode(bytes(row.entry)).entry, json.loads(text), bytes(row.salt))
    except (LedgerError, ValueError) as error:
        raise DocumentDamaged(
            row.position, row.object_kind, row.object_id,
            "its document or salt was changed after it was entered: restore it from a backup",
            "其文件或盐值在登记之后被改动：请从备份恢复",
        ) from error  # fmt: skip


def _unknown(connection: sa.Connection) -> None:
    for kind, table, key, condition in _NEEDED:
        query = sa.text(
            f"SELECT {key} FROM {table} WHERE ({condition}) AND NOT EXISTS (SELECT FROM ledger_subject "  # noqa: S608
            f"WHERE object_kind = :kind AND object_id = {key}) ORDER BY {key} LIMIT 1"
        )
        found = connection.execute(query, {"kind": kind}).scalar_one_or_none()
        if found is not None:
            raise DocumentDamaged(
                None, kind, str(found), "it was written past the ledger, by somebody who switched the triggers off",
                "该行绕过日志写入：有人停用了触发器",
            )  # fmt: skip
