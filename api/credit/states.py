"""The lives of a granted credit and of a mediation over it, and the five classes of a loan's risk."""

from __future__ import annotations

from api.db import Machine

CREDIT = Machine(
    kind="credit",
    initial=frozenset({"granted"}),
    transitions={
        "granted": frozenset({"normal", "lapsed"}),
        "normal": frozenset({"special_mention", "overdue", "settled"}),
        "special_mention": frozenset({"normal", "overdue", "settled", "written_off"}),
        "overdue": frozenset({"normal", "special_mention", "settled", "written_off"}),
        "settled": frozenset(),
        "written_off": frozenset(),
        "lapsed": frozenset(),
    },
)
# a dispute over a lent credit, handed to a mediator when both sides want it
MEDIATION = Machine(
    kind="mediation",
    initial=frozenset({"proposed"}),
    transitions={
        "proposed": frozenset({"agreed", "refused"}),
        "agreed": frozenset({"settled", "failed"}),
        "refused": frozenset(),
        "settled": frozenset(),
        "failed": frozenset(),
    },
)
LENT = frozenset({"normal", "special_mention", "overdue"})
WARNING = frozenset({"special_mention", "overdue"})

# 商业银行金融资产风险分类办法 (2023) §4: worse to the right
CLASSES: dict[str, tuple[str, str]] = {
    "normal": ("正常", "normal"),
    "special_mention": ("关注", "special mention"),
    "substandard": ("次级", "substandard"),
    "doubtful": ("可疑", "doubtful"),
    "loss": ("损失", "loss"),
}
_WORSE = list(CLASSES)
# §8, §10, §11, §12: days overdue from which a loan is classed no better
_LEAST = ((361, "loss"), (271, "doubtful"), (91, "substandard"), (1, "special_mention"))


def best_class(days_overdue: int) -> str:
    """The best class that so many days overdue allow."""
    return next((name for days, name in _LEAST if days_overdue >= days), "normal")


def is_better(one: str, other: str) -> bool:
    return _WORSE.index(one) < _WORSE.index(other)
