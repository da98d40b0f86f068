"""The queries of statistics: groups of referrals (before), of credits granted (during) and as they stand (after)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.applications.repository import Referral
from api.applications.states import TAKEN_UP
from api.credit.repository import Credit
from api.workdays import ZONE

Column = sa.ColumnElement[Any]
MOST = 5000  # groups; more is a question too wide to be read

_count = sa.func.count()


def _sum(column: Any, where: sa.ColumnElement[bool] | None = None) -> Column:
    found = sa.func.sum(column)
    return sa.func.coalesce(found if where is None else found.filter(where), 0)


_DECIDED = sa.func.extract("epoch", Referral.decided_at - Referral.received_at) / 86_400

FIGURES: dict[str, dict[str, Column]] = {
    "before": {
        "applications": _count,
        "amount": _sum(Referral.amount),
        "accepted": _count.filter(Referral.state.in_([*TAKEN_UP, "declined"])),
        "refused": _count.filter(Referral.state == "refused"),
        "withdrawn": _count.filter(Referral.state == "withdrawn"),
        "granted": _count.filter(Referral.state == "granted"),
        "late": _count.filter(Referral.late),
        "days_to_decide": sa.func.round(sa.cast(sa.func.avg(_DECIDED), sa.Numeric), 2),
    },
    "during": {
        "credits": _count,
        "amount": _sum(Credit.amount),
        "disbursed": _sum(Credit.disbursed),
        "rate": sa.func.round(sa.func.sum(Credit.rate * Credit.amount) / sa.func.sum(Credit.amount), 4),
        "reported_late": _count.filter(Credit.reported_late),
    },
    "after": {
        "credits": _count,
        "outstanding": _sum(Credit.outstanding),
        **{state: _count.filter(Credit.state == state) for state in (
            "normal", "special_mention", "overdue", "settled", "written_off",
        )},
        "overdue_amount": _sum(Credit.outstanding, Credit.state == "overdue"),
    },
}  # fmt: skip


def groups(
    session: Session,
    stage: str,
    by: Sequence[str],
    *,
    own: str | None,
    only: str | None,
    first: datetime | None,
    last: datetime | None,
) -> Sequence[sa.RowMapping]:
    """Each group's keys, figures, and `others`: its distinct enterprises of institutions other than `own`.

    `only` keeps one institution's rows; `first` and `last` bound when they were received or granted, `last` excluded.
    """
    table: Any = Referral if stage == "before" else Credit
    at = Referral.received_at if stage == "before" else Credit.granted_at
    local = sa.func.timezone(ZONE.key, at)
    columns: dict[str, Column] = {
        "institution": table.institution,
        "region": table.region,
        "product": table.product,
        "month": sa.func.to_char(local, "YYYY-MM"),
    }
    keys = [columns[name].label(f"key_{name}") for name in by]
    others = sa.func.count(table.enterprise.distinct())
    if own is not None:
        others = others.filter(table.institution != own)
    query = sa.select(
        *keys, *(column.label(name) for name, column in FIGURES[stage].items()), others.label("others")
    ).select_from(table)
    if stage == "after":
        query = query.where(Credit.disbursed > 0)
    if only is not None:
        query = query.where(table.institution == only)
    if first is not None:
        query = query.where(at >= first)
    if last is not None:
        query = query.where(at < last)
    query = query.group_by(*keys).order_by(*keys).limit(MOST + 1)
    return session.execute(query).mappings().all()
