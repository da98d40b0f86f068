"""How a value of a credit report reads for a person, in two languages.

Owns the words. Never changes a value: the document carries it beside its words.
"""

from __future__ import annotations

from typing import Any

from features.catalogue.model import Category, Feature, Item

_MISSING = {
    "unknown": ("未知", "unknown"),
    "not_applicable": ("不适用", "not applicable"),
    "never": ("从未发生", "never"),
    "none": ("无记录", "no record"),
}
_YES_NO = (("否", "no"), ("是", "yes"))
_UNITS = {
    "CNY": ("元", "CNY"),
    "days": ("天", "days"),
    "m2": ("平方米", "m²"),
    "mu": ("亩", "mu"),
    "persons": ("人", "persons"),
    "declarations": ("票", "declarations"),
    "enterprises": ("家", "enterprises"),
    "lenders": ("家", "lenders"),
    "m3_or_kWh": ("立方米或千瓦时", "m³ or kWh"),
}


def feature_words(category: Category, feature: Feature, value: float | str | None) -> tuple[str, str]:
    """A feature's value as a person reads it, zh and en."""
    if value is None:
        return _MISSING[feature.missing]
    if isinstance(value, str):
        read = (category.item(name) for name in feature.reads if name != "event_date")
        return next((item.codes[value] for item in read if value in item.codes), (value, value))
    if feature.kind == "flag":
        return _YES_NO[bool(value)]
    if feature.kind == "amount":
        return _united(f"{value:,.2f}", "CNY")
    if feature.kind == "months_since":
        return f"{value:,.0f} 个月", f"{value:,.0f} months"
    if feature.kind == "ratio":
        return f"{value:.1%}", f"{value:.1%}"
    plain = f"{value:,.2f}".rstrip("0").rstrip(".")
    return plain, plain


def item_words(item: Item, value: Any) -> tuple[str, str]:
    """A record's value as a person reads it, zh and en. `value`: as `credit_report` lists it."""
    if isinstance(value, bool):
        return _YES_NO[value]
    text = str(value)
    return item.codes.get(text) or _united(text, item.unit)


def _united(text: str, unit: str) -> tuple[str, str]:
    zh, en = _UNITS.get(unit, ("", ""))
    return f"{text} {zh}".rstrip(), f"{text} {en}".rstrip()
