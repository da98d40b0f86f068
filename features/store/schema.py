"""Columns of an event, from the catalogue, and the checks of a table that is to be written.

Owns the types and the rules that need no look at the store. Never fills in a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue.model import Category

#: What an event says of its record. `correct` carries the whole record anew.
OPS = ("assert", "correct", "dispute_open", "dispute_close", "repair", "delete")
#: The columns before the items. `known_at` is civil time of the province, without zone; `revision` is the source's
#: own number of the statement (a correction's, a dispute's, a repair decision's).
RECORD: Mapping[str, pa.DataType] = {
    "uscc": pa.string(),
    "record_id": pa.string(),
    "event_date": pa.date32(),
    "known_at": pa.timestamp("us"),
    "source": pa.string(),
    "batch": pa.string(),
    "op": pa.string(),
    "revision": pa.string(),
}
_ITEM: Mapping[str, tuple[pa.DataType, str]] = {
    "text": (pa.string(), "VARCHAR"),
    "code": (pa.string(), "VARCHAR"),
    "integer": (pa.int64(), "BIGINT"),
    "decimal": (pa.decimal128(18, 2), "DECIMAL(18,2)"),
    "ratio": (pa.float64(), "DOUBLE"),
    "date": (pa.date32(), "DATE"),
    "boolean": (pa.bool_(), "BOOLEAN"),
}


class StoreRefused(ValueError):
    """A table cannot be written, or a file of the store cannot be trusted. `code` names the rule."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        self.code = code
        self.message = message
        self.message_zh = message_zh
        super().__init__(message)


def columns(category: Category) -> dict[str, pa.DataType]:
    """Every column that a table for the category may have, in order."""
    return {**RECORD, **{item.name: _ITEM[item.type][0] for item in category.items}}


def sql_types(category: Category) -> dict[str, str]:
    """The category's items with their DuckDB types."""
    return {item.name: _ITEM[item.type][1] for item in category.items}


def conform(category: Category, table: pa.Table, defaults: Mapping[str, Any]) -> pa.Table:
    """The table with all columns of the category in their types. Missing items are null.

    `defaults` fills in record columns that the table does not have. Raises StoreRefused.
    """
    wanted = columns(category)
    unknown = [name for name in table.column_names if name not in wanted]
    if unknown:
        raise _refused(
            "store_unknown_column",
            category,
            f"column `{unknown[0]}` is not in the catalogue; remove it or register the item",
            f"列 `{unknown[0]}` 不在目录中，请删除或先登记该数据项",
        )
    made = []
    for name, kind in wanted.items():
        if name in table.column_names:
            try:
                made.append(_cast(table.column(name), kind))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise _refused(
                    "store_column_type",
                    category,
                    f"column `{name}` cannot be read as {kind}; correct its type",
                    f"列 `{name}` 不能读作 {kind}，请改正类型",
                ) from None
        else:
            default = {"op": "assert", "revision": "", **defaults}.get(name)
            made.append(pa.chunked_array([pa.repeat(pa.scalar(default, kind), len(table))]))
    conformed = pa.table(dict(zip(wanted, made, strict=True)))
    _check(category, conformed)
    return conformed


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_decimal(kind) and pa.types.is_integer(column.type):
        column = column.cast(pa.decimal128(38, kind.scale))  # any whole number fits on the way
    return column.cast(kind)


def _check(category: Category, table: pa.Table) -> None:
    for name in RECORD:
        empty = pc.sum(pc.is_null(table.column(name))).as_py() or 0
        if name in ("uscc", "record_id", "source", "batch"):
            empty += pc.sum(pc.equal(table.column(name), "")).as_py() or 0
        if empty:
            raise _refused(
                "store_empty",
                category,
                f"column `{name}` is empty in {empty} row(s); fill it in",
                f"列 `{name}` 有 {empty} 行为空，请补充",
            )
    if pc.any(pc.match_substring(table.column("uscc"), "\0")).as_py():
        raise _refused(
            "store_code_nul", category, "column `uscc` has a NUL byte; correct it", "列 `uscc` 含有 NUL 字节，请改正"
        )
    op = table.column("op")
    strange = pc.sum(pc.invert(pc.is_in(op, value_set=pa.array(OPS)))).as_py() or 0
    if strange:
        known = ", ".join(OPS)
        raise _refused(
            "store_unknown_op",
            category,
            f"{strange} row(s) have another `op` than {known}; correct it",
            f"有 {strange} 行的 `op` 不属于 {known}，请改正",
        )
    unnamed = pc.sum(pc.and_(pc.not_equal(op, "assert"), pc.equal(table.column("revision"), ""))).as_py() or 0
    if unnamed:
        raise _refused(
            "store_no_revision",
            category,
            f"{unnamed} row(s) change a record without `revision`; give the source's number of the correction, "
            "deletion, dispute or repair",
            f"有 {unnamed} 行变更记录但缺少 `revision`，请填写更正、删除、异议或修复的文号",
        )
    if category.repair == "none" and (pc.sum(pc.equal(op, "repair")).as_py() or 0):
        raise _refused(
            "store_no_repair",
            category,
            "records of this category cannot be repaired; correct or delete them",
            "该类记录不适用信用修复，请使用更正或删除",
        )


def _refused(code: str, category: Category, message: str, message_zh: str) -> StoreRefused:
    return StoreRefused(code, f"{category.id}: {message}", f"{category.zh}：{message_zh}")
