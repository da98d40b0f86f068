"""The rules of `rules.toml` as values: what a record must satisfy beyond its types and code lists.

Owns their reading and the check that they speak of items that the catalogue has. Never sees a record.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from features.catalogue.model import Catalogue, Category
from features.ingest.refused import IngestRefused

FILE = Path(__file__).with_name("rules.toml")
_KEYS = ("required", "required_when", "future", "month_end", "order", "min", "max", "pattern")


@dataclass(frozen=True)
class Rules:
    """The rules of one category. `low` and `high`: limits by item, both inclusive. `late_days`: see `deadline`."""

    late_days: int
    required: tuple[str, ...] = ()
    required_when: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    future: frozenset[str] = frozenset()
    month_end: bool = False
    order: tuple[tuple[str, str], ...] = ()
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)
    pattern: Mapping[str, str] = field(default_factory=dict)

    def deadline(self, month: str) -> dt.datetime:
        """The first instant at which a record of the month (YYYY-MM) is late.

        The days run from the end of the month: within it, a source's own rhythm is finer than its statement.
        """
        year, number = (int(part) for part in month.split("-"))
        last = dt.date(year, number, calendar.monthrange(year, number)[1])
        return dt.datetime.combine(last + dt.timedelta(days=self.late_days + 1), dt.time())


def load(catalogue: Catalogue) -> Mapping[str, Rules]:
    """Rules by category. Raises IngestRefused when a rule names what the catalogue does not have."""
    return parse(FILE.read_text(encoding="utf-8"), catalogue)


def parse(text: str, catalogue: Catalogue) -> Mapping[str, Rules]:
    """The rules written in TOML, for every category of the catalogue. Raises IngestRefused."""
    document = tomllib.loads(text)
    said = document["category"]
    known = {category.id for category in catalogue}
    for name in said:
        if name not in known:
            raise _wrong(name, "no such category")
    return {
        category.id: _rules(category, said.get(category.id, {}), document["limits"], document["late_days"])
        for category in catalogue
    }


def _rules(category: Category, said: dict[str, Any], limits: dict[str, Any], late: dict[str, int]) -> Rules:
    types = {item.name: item.type for item in category.items}
    for key in said:
        if key not in _KEYS:
            raise _wrong(category.id, f"unknown key `{key}`")
    dates = {name for name, kind in types.items() if kind == "date"} | {"event_date"}
    numbers = {name for name, kind in types.items() if kind in ("integer", "decimal", "ratio")}
    texts = {name for name, kind in types.items() if kind == "text"}
    named = (
        (said.get("required", ()), set(types)),
        (said.get("required_when", {}), set(types)),
        ([one for condition in said.get("required_when", {}).values() for one in condition], set(types)),
        (said.get("future", ()), dates),
        ([one for pair in said.get("order", ()) for one in pair], dates),
        (said.get("min", {}), numbers),
        (said.get("max", {}), numbers),
        (said.get("pattern", {}), texts),
    )
    for names, fitting in named:
        for name in names:
            if name not in fitting:
                raise _wrong(category.id, f"`{name}` is no item of the kind that the rule is for")
    for other, codes in (pair for one in said.get("required_when", {}).values() for pair in one.items()):
        if not set(codes) <= set(category.item(other).codes):
            raise _wrong(category.id, f"`{other}` has no such code")
    for pattern in said.get("pattern", {}).values():
        re.compile(pattern)
    return Rules(
        late_days=late[category.update],
        required=tuple(said.get("required", ())),
        required_when={
            name: {other: tuple(codes) for other, codes in one.items()}
            for name, one in said.get("required_when", {}).items()
        },
        future=frozenset(said.get("future", ())),
        month_end=bool(said.get("month_end", False)),
        order=tuple((first, second) for first, second in said.get("order", ())),
        low=_limits("min", said, types, limits),
        high=_limits("max", said, types, limits),
        pattern=dict(said.get("pattern", {})),
    )


def _limits(key: str, said: dict[str, Any], types: dict[str, str], limits: dict[str, Any]) -> dict[str, float]:
    general = {name: limits[kind][key] for name, kind in types.items() if key in limits.get(kind, {})}
    return {**general, **said.get(key, {})}


def _wrong(category: str, what: str) -> IngestRefused:
    return IngestRefused(
        "ingest_rules",
        f"rules.toml, {category}: {what}; correct the rule or the catalogue",
        f"rules.toml，{category}：规则与目录不一致（{what}），请改正",
    )
