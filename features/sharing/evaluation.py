"""Public-credit composite evaluation (R62): a score of 1000 by published rules, with every point explained.

Owns the reading of `evaluation.toml` and the counting. Never learns from data and never looks at anything but features
as of the date: a score can be worked out again by hand from the report.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from features.catalogue.model import Catalogue

FILE = Path(__file__).with_name("evaluation.toml")
TOTAL = 1000
_KEYS = {"feature", "least", "below", "points", "decisive"}


class EvaluationRefused(ValueError):
    """The rules are not sound. `code` names the fault."""

    code = "evaluation_rules"

    def __init__(self, message: str, message_zh: str) -> None:
        self.message = message
        self.message_zh = message_zh
        super().__init__(message)


@dataclass(frozen=True)
class Rule:
    """`points` are lost where the feature is at least `least` or less than `below`."""

    feature: str
    points: int
    least: float | None = None
    below: float | None = None
    decisive: bool = False

    def bites(self, value: Any) -> bool:
        if not isinstance(value, int | float):
            return False
        return (self.least is not None and value >= self.least) or (self.below is not None and value < self.below)


@dataclass(frozen=True)
class Dimension:
    id: str
    zh: str
    en: str
    weight: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Rules:
    """`grades`: name → least score, best first."""

    grades: Mapping[str, int]
    dimensions: tuple[Dimension, ...]

    @property
    def features(self) -> list[str]:
        return list(dict.fromkeys(rule.feature for one in self.dimensions for rule in one.rules))


def parse(text: str, catalogue: Catalogue) -> Rules:
    """Raises EvaluationRefused, UnknownName."""
    said = tomllib.loads(text)
    dimensions = tuple(
        Dimension(one["id"], one["zh"], one["en"], one["weight"], tuple(_rule(rule) for rule in one["rules"]))
        for one in said["dimensions"]
    )
    rules = Rules(said["grades"], dimensions)
    least = list(rules.grades.values())
    if sum(one.weight for one in dimensions) != TOTAL or least != sorted(least, reverse=True) or least[-1] != 0:
        raise EvaluationRefused(
            f"weights must add up to {TOTAL} and grades fall to 0; correct {FILE.name}",
            f"权重之和应为 {TOTAL}，等级最低分应递减至 0，请改正 {FILE.name}",
        )
    for name in rules.features:
        if catalogue.feature(name).is_text or catalogue.feature(name).sharing == "lender":
            raise EvaluationRefused(
                f"feature `{name}` is text or stays with the lender; use another in {FILE.name}",
                f"特征 `{name}` 为文本或留存于贷款机构，请在 {FILE.name} 中改用其他特征",
            )
    return rules


@cache
def _text() -> str:
    return FILE.read_text(encoding="utf-8")


def load(catalogue: Catalogue) -> Rules:
    """The rules in force. Raises EvaluationRefused."""
    return parse(_text(), catalogue)


def evaluate(rules: Rules, catalogue: Catalogue, values: Mapping[str, Any], covered: Collection[str]) -> dict[str, Any]:
    """Score, grade and each deduction with its reason. `covered`: categories that may be looked at.

    Rules on other categories are passed over and named, and the evaluation says that it is not complete.
    """
    parts = []
    passed_over: list[str] = []
    decisive = False
    for one in rules.dimensions:
        deductions = []
        for rule in one.rules:
            feature = catalogue.feature(rule.feature)
            if feature.category not in covered:
                passed_over.append(rule.feature)
            elif rule.bites(values.get(rule.feature)):
                decisive |= rule.decisive
                deductions.append(
                    {
                        "feature": rule.feature,
                        "zh": feature.zh,
                        "en": feature.en,
                        "value": values[rule.feature],
                        "points": rule.points,
                        "decisive": rule.decisive,
                        "why_zh": feature.why_zh,
                        "why_en": feature.why_en,
                    }
                )
        lost = min(one.weight, sum(int(str(each["points"])) for each in deductions))
        parts.append({"id": one.id, "zh": one.zh, "en": one.en, "weight": one.weight, "score": one.weight - lost,
                      "deductions": deductions})  # fmt: skip
    score = sum(int(str(part["score"])) for part in parts)
    lowest = list(rules.grades)[-1]
    grade = lowest if decisive else next(name for name, least in rules.grades.items() if score >= least)
    return {
        "score": score,
        "of": TOTAL,
        "grade": grade,
        "complete": not passed_over,
        "not_covered": sorted(set(passed_over)),
        "dimensions": parts,
    }


def _rule(said: Mapping[str, Any]) -> Rule:
    if not set(said) <= _KEYS or ("least" in said) == ("below" in said) or said.get("points", 0) <= 0:
        raise EvaluationRefused(
            f"a rule has `feature`, `points` above 0, and one of `least` and `below`: {dict(said)}",
            f"规则应含 feature、正的 points，以及 least 或 below 之一：{dict(said)}",
        )
    return Rule(**said)
