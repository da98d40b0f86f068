"""What the gate has allowed: one enterprise, one recipient, one purpose, some categories, some modes, until a day.

Owns the checks of a request against it. Never makes a permit: whoever calls has asked the gate and written the usage
record that `usage` names, and takes the moment of asking as `today`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from features.catalogue.model import Category, Item

#: Ways of sharing (R43, R60) that answer about one enterprise. Joint modelling is the enclave's.
MODES: Mapping[str, tuple[str, str]] = {
    "query": ("授权查询", "authorised query"),
    "verify": ("核验比对", "verification"),
    "report": ("信用报告", "credit report"),
}
#: Of a category's sharing mode: the ways in which its records may be told.
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "held": ("query", "verify", "report"),
    "on_authorisation": ("query", "verify", "report"),
    "verify_only": ("verify",),
    "lender": (),
}


class SharingRefused(PermissionError):
    """A request that is not covered. `code` names the rule."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        self.code = code
        self.message = message
        self.message_zh = message_zh
        super().__init__(message)


@dataclass(frozen=True)
class Permit:
    """The gate's decision. `usage`: the usage record under which it is used; `until`: last day, inclusive.

    `items`: of these categories only the items or features named; of the others all that may be told. `months`: how far
    back records of events are told (None: as far as they go); a standing state, such as a registration, has no end.
    """

    uscc: str
    recipient: str
    purpose: str
    categories: frozenset[str]
    modes: frozenset[str]
    until: dt.date
    usage: str
    items: Mapping[str, frozenset[str]] = field(default_factory=dict)
    months: int | None = None

    def check(self, uscc: str, mode: str, today: dt.date) -> None:
        """Raises SharingRefused."""
        if not (self.recipient and self.purpose and self.usage):
            raise SharingRefused(
                "sharing_permit_incomplete",
                "the permit names no recipient, purpose or usage record; ask the gate again",
                "许可缺少使用方、目的或使用记录，请重新申请",
            )
        if uscc != self.uscc:
            raise SharingRefused(
                "sharing_other_enterprise",
                "the permit is for another enterprise; ask the gate for this one",
                "许可针对其他企业，请就本企业重新申请",
            )
        if mode not in self.modes:
            raise SharingRefused(
                "sharing_mode",
                f"the permit does not cover the mode `{mode}`; ask the enterprise for it",
                f"许可不包含“{MODES[mode][0]}”方式，请向企业申请",
            )
        if today > self.until:
            raise SharingRefused("sharing_expired", f"the permit ended on {self.until}; ask the gate again",
                                 f"许可已于 {self.until} 到期，请重新申请")  # fmt: skip

    def tells(self, category: str, name: str) -> bool:
        """Whether an item or feature of a category is in the permit."""
        return category not in self.items or name in self.items[category]

    def since(self, category: Category) -> int | None:
        """How many months of a category's records may be told; None: all, as of what is kept for good."""
        return self.months if category.retention_months else None

    def covers(self, category: Category, mode: str) -> None:
        """Raises SharingRefused where the category is not in the permit, or may not be told in that way at all."""
        if mode not in _ALLOWED[category.sharing]:
            raise SharingRefused(
                "sharing_never",
                f"category `{category.id}` is never shared in the mode `{mode}`",
                f"类别“{category.zh}”不得以“{MODES[mode][0]}”方式共享",
            )
        if category.id not in self.categories:
            raise SharingRefused(
                "sharing_category",
                f"the permit does not cover category `{category.id}`; ask the enterprise for it",
                f"许可不包含类别“{category.zh}”，请向企业申请",
            )


def tellable(item: Item, mode: str) -> bool:
    """Whether an item may be told in that way: never C3, and items of mode `verify_only` only as yes or no."""
    return item.shareable and mode in _ALLOWED[item.sharing]
