"""What runs by the clock: one table of works, each a plan of parts and how one part is done.

A part is done once and remembered; a part that was interrupted is done again, so each must be idempotent. Owns no
engine (`api.flows.runtime` runs the table) and no business: every part calls the noun it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from api.backups import archive
from api.backups import service as backups
from api.backups.archive import SUFFIX
from api.clocks import service as clocks
from api.control import Control
from api.db import SYSTEM
from api.reports import service as reports
from api.web import idempotency

WHOLE = ("all",)


@dataclass(frozen=True)
class Work:
    """`cron` has six fields, seconds first, in Chinese time. `plan` names the parts, `do` does one of them."""

    name: str
    title: str
    title_zh: str
    cron: str
    do: Callable[[Control, datetime, str], str]
    plan: Callable[[Control, datetime], list[str]] = lambda _control, _at: list(WHOLE)
    # whether moments that passed while nobody ran are made up for, one by one
    backfill: bool = False


def _backup_plan(control: Control, _at: datetime) -> list[str]:
    settings = control.settings
    if settings.backup_dir is None:
        return []
    return ["make", *(["copy"] if settings.backup_copy_dir is not None else []), "prune"]


def _backup(control: Control, at: datetime, part: str) -> str:
    settings = control.settings
    assert settings.backup_dir is not None
    assert settings.backup_recipient is not None
    made = settings.backup_dir / f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"
    if part == "make":
        if not made.exists():
            backups.make(settings, settings.backup_dir, settings.backup_recipient, now=at)
        return made.name
    if part == "copy":
        assert settings.backup_copy_dir is not None
        return str(archive.copy(made, settings.backup_copy_dir))
    return f"{len(backups.prune(settings.backup_dir, settings.backup_keep))} removed"


def _clocks(control: Control, _at: datetime, _part: str) -> str:
    told = 0
    while (more := clocks.sweep(control)) > 0:
        told += more
    return f"{told} told"


def _forget_claims(control: Control, _at: datetime, _part: str) -> str:
    with control.db.unit(SYSTEM) as unit:
        return f"{idempotency.forget(unit.session, unit.now)} forgotten"


WORKS: dict[str, Work] = {
    work.name: work
    for work in (
        Work(
            "monthly_reports", "Reports of the month that has ended", "上月报表", "0 0 2 1 * *",
            reports.make_part, reports.plan, backfill=True,
        ),
        Work("clocks", "Reminders and overdue deadlines", "期限提醒与逾期", "0 * * * * *", _clocks),
        Work("backup", "Nightly backup", "每日备份", "0 30 1 * * *", _backup, _backup_plan),
        Work("forget_requests", "Old Idempotency-Keys are forgotten", "清理过期幂等键", "0 17 * * * *", _forget_claims),
    )
}  # fmt: skip
