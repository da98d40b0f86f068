"""The one path from the store to a feature: the catalogue's expressions over the view of what was known.

All features of a category share one pass over its view: one GROUP BY whose aggregates carry their own filters. A
feature is computed in two steps, the same for training and serving: the aggregate per enterprise (the *state*), then
the value, which knows enterprises without a record too and turns a date into months up to the as-of date. So a state
stays good as time passes until a record is learned or a window moves over one. Owns this SQL. Never runs it.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from features.catalogue.model import Catalogue, Category, Feature
from features.derive.expression import Expression, compile_feature, read_ahead
from features.derive.view import Moment, Spine, known
from features.store.manifest import Snapshot


@dataclass(frozen=True)
class Clock:
    """A record whose `column` lies in (first, last] changes a state by time passing alone."""

    column: str
    first: dt.date
    last: dt.date

    @property
    def sql(self) -> str:
        return f"({self.column} > DATE '{self.first}' AND {self.column} <= DATE '{self.last}')"


@dataclass(frozen=True)
class Plan:
    """Some features of one category."""

    category: Category
    features: tuple[Feature, ...]
    #: Expressions compiled before; those of the features among them.
    compiled: Mapping[str, Expression] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def expressions(self) -> dict[str, Expression]:
        """Raises ExpressionRefused."""
        if self.compiled is not None:
            return {feature.name: self.compiled[feature.name] for feature in self.features}
        return {feature.name: compile_feature(self.category, feature) for feature in self.features}

    def state(self, snapshot: Snapshot, at: Moment | Spine) -> str:
        """A query: `uscc` (and `as_of` for a spine) and one column per feature, for enterprises with records.

        Numbers are DOUBLE, text VARCHAR, and what becomes months since a date is that DATE.
        """
        keys = "uscc, as_of" if isinstance(at, Spine) else "uscc"
        compiled = self.expressions
        made = ", ".join(f"{_settled(one, compiled[one.name].sql)} AS {one.name}" for one in self.features)
        return f"SELECT {keys}, {made} FROM ({known(snapshot, self.category, at)}) GROUP BY {keys}"

    def values(self, as_of: str | None) -> str:
        """The features' values as a select list over a state, or over nulls where an enterprise has none.

        Zero where the catalogue says that no record means zero. `as_of` is SQL; without it, dates stay dates.
        """
        return ", ".join(f"{_value(feature, as_of)} AS {feature.name}" for feature in self.features)

    def nothing(self) -> str:
        """A query for the state of an enterprise without a record: one row of nulls."""
        kinds = {"text": "VARCHAR", "months_since": "DATE"}
        nulls = ", ".join(f"NULL::{kinds.get(one.kind, 'DOUBLE')} AS {one.name}" for one in self.features)
        return f"SELECT {nulls}"

    def clocks(self, first: dt.date, last: dt.date) -> list[Clock]:
        """What makes a state of the day `first` stale on the day `last`, apart from events learned in between."""
        found = {Clock("event_date", first, last)}
        for one in self.expressions.values():
            found |= {Clock("event_date", _back(first, months), _back(last, months)) for months in one.windows}
            found |= {Clock(item, first, last) for item in one.live}
            for item, days in one.ahead:
                later = dt.timedelta(days=days)
                found |= {Clock(item, first, last), Clock(item, first + later, last + later)}
        return sorted(found, key=lambda clock: (clock.column, clock.first))


def plans(
    catalogue: Catalogue, names: Collection[str] | None = None, compiled: Mapping[str, Expression] | None = None
) -> list[Plan]:
    """The plans for these features, or for all; one per category. Raises UnknownName.

    `compiled`: the expressions of all of them, when they are at hand (`features.derive.kept`).
    """
    wanted = catalogue.features if names is None else [catalogue.feature(name) for name in names]
    chosen = {feature.name for feature in wanted}
    if compiled is None:
        read_ahead(wanted)
    made = [
        Plan(category, tuple(feature for feature in category.features if feature.name in chosen), compiled)
        for category in catalogue
    ]
    return [plan for plan in made if plan.features]


def months_since(day: str, as_of: str) -> str:
    """Whole months from one date to a later one, as DOUBLE; both are SQL."""
    return (
        f"((year({as_of}) - year({day})) * 12 + month({as_of}) - month({day}) "
        f"- (day({day}) > day({as_of}))::INTEGER)::DOUBLE"
    )


def _settled(feature: Feature, aggregate: str) -> str:
    if feature.kind == "text":
        return f"({aggregate})::VARCHAR"
    if feature.kind == "months_since":
        return f"({aggregate})::DATE"
    if feature.kind == "flag":
        return f"({aggregate})::INTEGER::DOUBLE"
    # sums of binary fractions depend on their order in the last digits: rounded away
    return f"round(({aggregate})::DOUBLE, {2 if feature.kind == 'amount' else 6})"


def _value(feature: Feature, as_of: str | None) -> str:
    name = feature.name
    if feature.kind == "months_since" and as_of:
        return months_since(name, as_of)
    return f"coalesce({name}, 0)" if feature.missing == "none" else name


def _back(day: dt.date, months: int) -> dt.date:
    """`day` some months earlier, at the latest the last day of that month, as DuckDB counts."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
