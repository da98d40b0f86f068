"""Verification: whether what is stated agrees with a record on file. The answer is one word; no value leaves.

Owns the comparison. A statement is of items of one record, so `yes` means that one standing record has all of them.
Numbers may be stated as a least value. How often one may ask is the gate's to limit: answers to many guesses would
give a value away.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from features.catalogue.model import Catalogue, Category, Item
from features.sharing.permit import Permit, SharingRefused, tellable
from features.sharing.query import records
from features.store.manifest import Snapshot

ANSWERS: Mapping[str, tuple[str, str]] = {
    "yes": ("一致", "agrees"),
    "no": ("不一致", "does not agree"),
    "no_record": ("无记录", "nothing on file"),
}
_MOST = 8
_WORDS = {"true": True, "false": False}


def verify(
    snapshot: Snapshot,
    catalogue: Catalogue,
    permit: Permit,
    uscc: str,
    category: str,
    stated: Mapping[str, str],
    as_of: dt.date,
    today: dt.date,
    *,
    at_least: Mapping[str, str] | None = None,
) -> str:
    """`yes`, `no` or `no_record`. `stated`: item → value as text; `at_least`: number item → least value.

    Raises SharingRefused naming the item, UnknownName.
    """
    wanted = catalogue.category(category)
    permit.check(uscc, "verify", today)
    permit.covers(wanted, "verify")
    least = at_least or {}
    if not 1 <= len(stated) + len(least) <= _MOST:
        raise SharingRefused(
            "verify_nothing", f"state 1 to {_MOST} items of a record", f"请填写 1 至 {_MOST} 个待核验的数据项"
        )
    equal = {name: _value(permit, wanted, name, text) for name, text in stated.items()}
    floor = {name: _value(permit, wanted, name, text, number=True) for name, text in least.items()}
    found = records(snapshot, wanted, uscc, as_of, [*{**equal, **floor}], permit.since(wanted))
    if not found:
        return "no_record"
    return "yes" if any(_agrees(record, equal, floor) for record in found) else "no"


def _agrees(record: Mapping[str, Any], equal: Mapping[str, Any], floor: Mapping[str, Any]) -> bool:
    return all(record[name] == value for name, value in equal.items()) and all(
        record[name] is not None and record[name] >= value for name, value in floor.items()
    )


def _value(permit: Permit, category: Category, name: str, text: str, *, number: bool = False) -> Any:
    item = next((one for one in category.items if one.name == name), None)
    if item is None or not tellable(item, "verify"):
        raise SharingRefused(
            "verify_item",
            f"`{name}` is no item of `{category.id}` that may be verified; use a name of the data dictionary",
            f"`{name}` 不是“{category.zh}”中可核验的数据项，请使用数据字典中的名称",
        )
    if not permit.tells(category.id, name):
        raise SharingRefused(
            "sharing_item",
            f"the permit does not cover item `{name}` of `{category.id}`; ask the enterprise for it",
            f"许可不包含“{category.zh}”的数据项 `{name}`，请向企业申请",
        )
    if number and item.type not in ("integer", "decimal", "ratio"):
        raise _unreadable(item)
    try:
        return _read(item, text)
    except (ValueError, KeyError, InvalidOperation):
        raise _unreadable(item) from None


def _read(item: Item, text: str) -> Any:
    match item.type:
        case "integer":
            return int(text)
        case "decimal":
            return Decimal(text)
        case "ratio":
            return float(text)
        case "date":
            return dt.date.fromisoformat(text)
        case "boolean":
            return _WORDS[text]
        case "code":
            if text not in item.codes:
                raise ValueError
    return text


def _unreadable(item: Item) -> SharingRefused:
    return SharingRefused(
        "verify_value",
        f"`{item.name}`: the stated value is no {item.type}; write it as in the data dictionary",
        f"`{item.name}`：所填值不符合类型 {item.type}，请按数据字典填写",
    )
