"""The parts of the catalogue as values: category, item, feature, and the code lists that describe them.

Owns names, meanings and the version. Never reads a file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import rfc8785

#: Sharing modes (R43), loosest first: a feature is shared as strictly as the strictest item it reads.
SHARING: Mapping[str, tuple[str, str]] = {
    "held": ("留存于专区", "held in the zone"),
    "on_authorisation": ("授权后取得", "fetched on authorisation"),
    "verify_only": ("仅核验", "verified as yes or no"),
    "lender": ("留存于贷款机构", "stays with the lender"),
}
SENSITIVITY: Mapping[str, tuple[str, str]] = {
    "C1": ("可公开", "public"),
    "C2": ("经授权可用", "usable when authorised"),
    "C3": ("不共享", "never shared"),
}
#: What a repair or an open dispute does (R59): to the record (`drop`), to single items (`mask`), or nothing.
REPAIR: Mapping[str, tuple[str, str]] = {
    "drop": ("整条不再使用", "the record is no longer used"),
    "mask": ("屏蔽所列数据项", "the marked items are blanked"),
    "keep": ("不受影响", "not affected"),
    "none": ("不适用修复", "cannot be repaired"),
}
UPDATE: Mapping[str, tuple[str, str]] = {
    "daily": ("每日", "daily"),
    "weekly": ("每周", "weekly"),
    "monthly": ("每月", "monthly"),
    "quarterly": ("每季", "quarterly"),
}
TYPES: Mapping[str, tuple[str, str]] = {
    "text": ("文本", "text"),
    "code": ("代码", "code"),
    "integer": ("整数", "whole number"),
    "decimal": ("两位小数", "number with two decimals"),
    "ratio": ("比例", "ratio"),
    "date": ("日期", "date"),
    "boolean": ("是否", "yes or no"),
}
KINDS: Mapping[str, tuple[str, str]] = {
    "count": ("次数", "count"),
    "flag": ("标志（0 或 1）", "flag (0 or 1)"),
    "amount": ("金额（元）", "amount (CNY)"),
    "number": ("数值", "number"),
    "ratio": ("比例", "ratio"),
    "text": ("代码或文本", "code or text"),
    "months_since": ("距今月数", "months since"),
}
DIRECTIONS: Mapping[str, tuple[str, str]] = {
    "riskier": ("越大风险越高", "higher is riskier"),
    "safer": ("越大风险越低", "higher is safer"),
    "neutral": ("无固定方向", "no fixed direction"),
}
#: What it means that an enterprise has no value. Only `none` is a number: zero.
MISSING: Mapping[str, tuple[str, str]] = {
    "none": ("无记录即为零", "no record means zero"),
    "unknown": ("缺失表示未知", "missing means unknown"),
    "not_applicable": ("缺失表示不适用", "missing means not applicable"),
    "never": ("缺失表示从未发生", "missing means it never happened"),
}
#: How the as-of date enters a feature's value.
AS_OF: Mapping[str, tuple[str, str]] = {
    "window": ("截至时点的近 N 个月", "the last N months up to the date"),
    "latest": ("截至时点的最新值", "the latest value at the date"),
    "standing": ("截至时点的全部有效记录", "all records standing at the date"),
    "since": ("自发生至时点的月数", "months from the event to the date"),
}
#: Months back from the as-of date for which a feature may ask: `w12` is true of an event of the last 12 months.
WINDOWS = (1, 3, 6, 12, 24, 36, 60)

_LITERAL = re.compile(r"'(?:[^']|'')*'")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def words(sql: str) -> frozenset[str]:
    """The identifiers of an expression, literals left out."""
    return frozenset(_WORD.findall(_LITERAL.sub("", sql)))


@dataclass(frozen=True)
class Item:
    """One field of a category's records."""

    name: str
    zh: str
    en: str
    type: str
    unit: str
    codes: Mapping[str, tuple[str, str]]
    use_zh: str
    use_en: str
    sharing: str
    source: str
    update: str
    retention_months: int
    sensitivity: str
    repair: str

    @property
    def shareable(self) -> bool:
        """C3 never leaves the place where it is kept, in no mode."""
        return self.sensitivity != "C3"


@dataclass(frozen=True)
class Feature:
    """One derived feature: an aggregate over the records of one category that an enterprise has as of a date."""

    name: str
    category: str
    zh: str
    en: str
    sql: str
    kind: str
    direction: str
    missing: str
    why_zh: str
    why_en: str
    reads: tuple[str, ...]
    sharing: str

    @property
    def window(self) -> int:
        """Months that the feature looks back; 0: as far as the records go."""
        return max((months for months in WINDOWS if f"w{months}" in words(self.sql)), default=0)

    @property
    def as_of(self) -> str:
        if self.kind == "months_since":
            return "since"
        if self.window:
            return "window"
        return "latest" if "latest" in words(self.sql) else "standing"

    @property
    def is_text(self) -> bool:
        return self.kind == "text"


@dataclass(frozen=True)
class Category:
    """One of the categories of R36. `retention_months` 0: as long as the enterprise exists."""

    id: str
    zh: str
    en: str
    source: str
    source_zh: str
    source_en: str
    sharing: str
    update: str
    retention_months: int
    sensitivity: str
    repair: str
    event_zh: str
    event_en: str
    use_zh: str
    use_en: str
    items: tuple[Item, ...]
    features: tuple[Feature, ...]

    def item(self, name: str) -> Item:
        return next(item for item in self.items if item.name == name)


@dataclass(frozen=True)
class Catalogue:
    """All categories. Two catalogues with equal content have equal versions."""

    categories: tuple[Category, ...]

    def __iter__(self) -> Iterator[Category]:
        return iter(self.categories)

    @cached_property
    def version(self) -> str:
        """SHA-256 of the content in canonical JSON (RFC 8785), hexadecimal."""
        return hashlib.sha256(rfc8785.dumps(self.content())).hexdigest()

    def content(self) -> dict[str, Any]:
        """Everything the catalogue says, as plain JSON."""
        return {"categories": [_plain(asdict(category)) for category in self.categories]}

    @cached_property
    def _by_id(self) -> dict[str, Category]:
        return {category.id: category for category in self.categories}

    @cached_property
    def _features(self) -> dict[str, Feature]:
        return {feature.name: feature for category in self.categories for feature in category.features}

    def category(self, name: str) -> Category:
        """Raises UnknownName."""
        if name not in self._by_id:
            raise UnknownName("category", "类别", name, self._by_id)
        return self._by_id[name]

    def feature(self, name: str) -> Feature:
        """Raises UnknownName."""
        if name not in self._features:
            raise UnknownName("feature", "特征", name, self._features)
        return self._features[name]

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(self._features.values())


class UnknownName(KeyError):
    """The catalogue has no category or feature of that name."""

    code = "catalogue_unknown_name"

    def __init__(self, what: str, what_zh: str, name: str, known: Mapping[str, object]) -> None:
        import difflib

        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        hint_zh = f"是否为 `{close[0]}`？" if close else ""
        self.message = f"the catalogue has no {what} `{name}`.{hint} Remedy: use a name of the data dictionary."
        self.message_zh = f"目录中没有{what_zh} `{name}`。{hint_zh}处理：请使用数据字典中的名称。"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
