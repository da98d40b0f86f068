"""Templates: for each purpose the most that may be asked for, and the terms proposed when nothing else is said.

A request or consent beyond a bound is refused with the field, the bound and what was found (PIPL §6, R51: minimal and
necessary). An operator may publish tighter templates; all functions take them. Owns bounds, never documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consent.errors import Refused
from consent.form import covers, frequency_within, no_more
from consent.purposes import CATEGORIES, PERSONAL_CATEGORIES, PURPOSE_MODES, Mode, Purpose
from consent.times import parse

VERSION = 1


class ExceedsTemplate(Refused):
    """Terms go beyond what their purpose may be asked for: `field`, `bound` and `found` say where."""

    code = "exceeds_template"

    def __init__(self, field: str, bound: object, found: object) -> None:
        super().__init__(
            f"{field}: at most {bound} for this purpose, found {found}",
            f"{field}：该用途的上限为 {bound}，实为 {found}",
        )
        self.field, self.bound, self.found = field, bound, found


@dataclass(frozen=True, slots=True)
class Template:
    """Upper bounds for one purpose. None means that no bound is set.

    `window_months`, `life_days` and `validity_days` are lengths, `limits` are {total, count, period_days} of the
    artefact. `onward` names who may be given the data on at most ("*": whoever the enterprise agrees to), and
    `default_onward` those that a proposal already lists.
    """

    purpose: Purpose
    modes: tuple[Mode, ...]
    data: Mapping[str, Any]
    window_months: int
    life_days: int
    validity_days: int
    limits: Mapping[str, int | None]
    onward: tuple[str, ...] = ()
    default_onward: tuple[str, ...] = ()

    def terms(self) -> dict[str, Any]:
        """Terms to propose: this template's own bounds, without data about persons and without raw detail."""
        return {
            "purpose": self.purpose,
            "modes": [self.modes[0]],
            "data": {category: items for category, items in self.data.items() if category not in PERSONAL_CATEGORIES},
            "window_months": self.window_months,
            "life_days": self.life_days,
            "limits": dict(self.limits),
            "onward": list(self.default_onward),
        }


_EVERYTHING: Mapping[str, Any] = dict.fromkeys(CATEGORIES, "*")
_UNLIMITED: Mapping[str, int | None] = {"total": None, "count": None, "period_days": None}

PUBLISHED: Mapping[Purpose, Template] = {
    Purpose.JOINT_TRAINING: Template(
        Purpose.JOINT_TRAINING,
        PURPOSE_MODES[Purpose.JOINT_TRAINING],
        _EVERYTHING,
        window_months=60,
        life_days=30,
        validity_days=366,
        limits=_UNLIMITED,
    ),
    Purpose.UNDERWRITING_SCORE: Template(
        Purpose.UNDERWRITING_SCORE,
        PURPOSE_MODES[Purpose.UNDERWRITING_SCORE],
        _EVERYTHING,
        window_months=60,
        life_days=180,
        validity_days=366,
        limits={"total": None, "count": 100, "period_days": 30},
    ),
    Purpose.POST_LOAN_MONITORING: Template(
        Purpose.POST_LOAN_MONITORING,
        PURPOSE_MODES[Purpose.POST_LOAN_MONITORING],
        _EVERYTHING,
        window_months=36,
        life_days=180,
        validity_days=3 * 366,
        limits={"total": None, "count": 31, "period_days": 30},
    ),
    Purpose.REPORT_QUERY: Template(
        Purpose.REPORT_QUERY,
        PURPOSE_MODES[Purpose.REPORT_QUERY],
        _EVERYTHING,
        window_months=60,
        life_days=90,
        validity_days=183,
        limits={"total": 24, "count": 10, "period_days": 30},
        onward=("*",),
    ),
}


def terms(purpose: Purpose | str, templates: Mapping[Purpose, Template] = PUBLISHED) -> dict[str, Any]:
    """The terms that a purpose's template proposes, as keyword arguments of `artefact.request` and `.consent`."""
    return templates[Purpose(purpose)].terms()


def check(body: Mapping[str, Any], templates: Mapping[Purpose, Template] = PUBLISHED) -> None:
    """Raises ExceedsTemplate when a well-formed request or consent goes beyond its purpose's template."""
    template = templates.get(Purpose(body["purpose"]))
    if template is None:
        raise ExceedsTemplate("purpose", ", ".join(templates), body["purpose"])
    if extra := [mode for mode in body["modes"] if mode not in template.modes]:
        raise ExceedsTemplate("modes", ", ".join(template.modes), extra[0])
    if (outside := covers(template.data, body["data"])) is not None:
        raise ExceedsTemplate("data", ", ".join(template.data), outside)
    for name, bound in (("window_months", template.window_months), ("life_days", template.life_days)):
        if body[name] > bound:
            raise ExceedsTemplate(name, bound, body[name])
    days = (parse(body["valid_until"]) - parse(body["valid_from"])).total_seconds() / 86_400
    if days > template.validity_days:
        raise ExceedsTemplate("valid_until", f"{template.validity_days} days", f"{days:g} days")
    if not no_more(template.limits["total"], body["limits"]["total"]):
        raise ExceedsTemplate("limits.total", template.limits["total"], body["limits"]["total"])
    if not frequency_within(template.limits, body["limits"]):
        bound_text, found_text = (
            f"{one['count']} in {one['period_days']} days" for one in (template.limits, body["limits"])
        )
        raise ExceedsTemplate("limits.count", bound_text, found_text)
    if "*" not in template.onward and (further := [one for one in body["onward"] if one not in template.onward]):
        raise ExceedsTemplate("onward", ", ".join(template.onward) or "nobody", further[0])
