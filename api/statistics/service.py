"""Statistics for institutions and the platform, with what would tell of a single enterprise of others withheld.

An institution sees its own groups whole. Of everybody's it sees a group when none or at least `statistics_least`
distinct enterprises in it are others': its own part is known to it, so what it could take off must not leave fewer.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from api.auth import Caller
from api.control import Control
from api.db import SYSTEM
from api.errors import Invalid
from api.statistics import repository
from api.statistics.schemas import Dimension, Group, Stage, Statistics
from api.workdays import ZONE


def _month(text: str, following: bool = False) -> datetime:
    year, month = (int(part) for part in text.split("-"))
    if following:
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return datetime(year, month, 1, tzinfo=ZONE)


def _figure(value: Any) -> int | str | None:
    return f"{value:f}" if isinstance(value, Decimal) else value


def withheld(others: int, least: int, own_data: bool) -> bool:
    """Whether a group would tell of too few enterprises of others: a pure decision."""
    return not own_data and 0 < others < least


def statistics(
    control: Control,
    caller: Caller,
    stage: Stage,
    by: Sequence[Dimension],
    *,
    everybody: bool,
    first: str | None,
    last: str | None,
) -> Statistics:
    """Groups by up to three dimensions. `first` and `last` are months, both included. Raises Invalid."""
    platform = caller.institution == SYSTEM.institution
    own = None if platform else caller.institution
    only = own if not everybody else None
    least = control.settings.statistics_least
    # what others' data is asked for is counted over all of it and withheld below: the caller's tenant sees its own
    actor = SYSTEM if everybody else caller
    keys = list(dict.fromkeys(by))
    with control.db.read(actor) as session:
        rows = repository.groups(
            session,
            stage,
            keys,
            own=own,
            only=only,
            first=None if first is None else _month(first),
            last=None if last is None else _month(last, following=True),
        )
    if len(rows) > repository.MOST:
        raise Invalid(
            f"by: more than {repository.MOST} groups: bound the months or ask for fewer dimensions",
            f"by：分组超过 {repository.MOST} 个：请限定月份或减少维度",
            code="too_many_groups",
        )
    names = list(repository.FIGURES[stage])
    groups = []
    for row in rows:
        hidden = withheld(row["others"], least, platform)
        figures = {name: None if hidden else _figure(row[name]) for name in names}
        groups.append(Group(keys={name: row[f"key_{name}"] for name in keys}, figures=figures, withheld=hidden))
    return Statistics(stage=stage, by=keys, first=first, last=last, least=least, groups=groups)


def as_csv(found: Statistics) -> str:
    """One line for each group; a withheld figure is empty."""
    names = list(repository.FIGURES[found.stage])
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([*found.by, *names, "withheld"])
    for group in found.groups:
        keys = ["" if group.keys[name] is None else group.keys[name] for name in found.by]
        figures = ["" if group.figures[name] is None else group.figures[name] for name in names]
        writer.writerow([*keys, *figures, "true" if group.withheld else "false"])
    return out.getvalue()
