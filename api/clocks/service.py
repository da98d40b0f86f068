"""Clocks: started and stopped within the transaction of the act they belong to; `sweep` says what is due to be said.

`start` and `stop` take the caller's `Unit`. An enterprise sees the clocks that run for it, a holder its own, the
platform all. Owns no consequence: a clock that runs out is told and listed, and nothing else happens by itself.
"""

from __future__ import annotations

import secrets
from datetime import datetime

from api.clocks import periods, repository
from api.clocks.periods import OVERDUE, PERIODS
from api.clocks.repository import Clock
from api.clocks.schemas import ClockOut, OverdueCount, OverdueCounts, PeriodOut, Periods
from api.consent_events import service as consent_events
from api.consents.requests import inform
from api.control import Control
from api.db import SYSTEM, Actor, Unit
from api.enterprises import repository as enterprises
from api.paging import Order, Page, page

BATCH = 200
_BY_DUE = Order("due", (Clock.due_at, Clock.id))


def start(
    unit: Unit,
    control: Control,
    kind: str,
    about: tuple[str, str],
    holder: str,
    *,
    enterprise: str | None = None,
    since: datetime | None = None,
) -> Clock:
    """Starts the clock `kind` of an object (its kind and id); `since` when the period began before now."""
    began = since or unit.now
    due_at = PERIODS[kind].due_at(control.settings, began)
    row = Clock(
        id=f"k-{secrets.token_hex(6)}",
        kind=kind,
        object_kind=about[0],
        object_id=about[1],
        holder=holder,
        enterprise=enterprise,
        started_at=began,
        due_at=due_at,
        next_at=periods.marks(control.settings, began, due_at)[0][0],
        stopped_at=None,
    )
    return unit.create(row, "clock.start", kind)


def stop(unit: Unit, object_id: str, kind: str | None = None, reason: str = "done") -> bool:
    """Stops the object's running clocks, or the one of `kind`. Returns whether one of them was overdue."""
    late = False
    for row in repository.running(unit.session, kind, object_id):
        row.stopped_at, row.next_at = unit.now, None
        late = late or row.due_at <= unit.now
        unit.session.flush()
        unit.record("clock.stop", row, reason, detail={"late": row.due_at <= unit.now})
    return late


def sweep(control: Control, limit: int = BATCH) -> int:
    """Says what is due to be said of running clocks: reminders, then that they are overdue. Returns how many.

    Each mark is said once, whoever sweeps and however often; after a silence only the newest one is. Two processes
    may sweep at once: each takes clocks that the other has not in hand.
    """
    told = 0
    with control.db.unit(SYSTEM) as unit:
        events = []
        for row in repository.speaking(unit.session, unit.now, limit):
            ahead = periods.marks(control.settings, row.started_at, row.due_at)
            _, mark = [one for one in ahead if one[0] <= unit.now][-1]
            row.next_at = next((at for at, _ in ahead if at > unit.now), None)
            unit.session.flush()
            unit.record(f"clock.{OVERDUE if mark == OVERDUE else 'remind'}", row, mark)
            if not repository.say(unit.session, row, mark, unit.now):
                continue
            told += 1
            if enterprises.enterprise(unit.session, row.holder) is not None:
                inform(unit, row.holder, f"clock_{row.kind}_{mark}", row.object_id)
            else:
                events.append((row.holder, "clock", _event(row, mark)))
        consent_events.tell(unit, sorted(events, key=lambda event: event[0]))
    return told


def _event(row: Clock, mark: str) -> dict[str, str | None]:
    return {
        "clock_id": row.id,
        "kind": row.kind,
        "mark": mark,
        "object_kind": row.object_kind,
        "object_id": row.object_id,
        "enterprise": row.enterprise,
        "due_at": row.due_at.isoformat(),
    }


# ---- reading


def view(row: Clock, now: datetime) -> ClockOut:
    period = PERIODS[row.kind]
    values = {name: getattr(row, name) for name in ClockOut.model_fields if hasattr(row, name)}
    return ClockOut(**values, kind_zh=period.zh, kind_en=period.en, overdue=row.due_at <= (row.stopped_at or now))


def running(
    control: Control, actor: Actor, holder: str | None, overdue: bool, cursor: str | None, limit: int
) -> Page[ClockOut]:
    """Running clocks, the next due first. Only the platform may name another holder."""
    now = control.db.clock()
    if actor.institution != SYSTEM.institution:
        holder = actor.institution
    with control.db.read(actor) as session:
        query = repository.query(holder, now if overdue else None)
        return page(session, query, _BY_DUE, cursor, limit, lambda row: view(row, now))


def overdue_counts(control: Control, actor: Actor) -> OverdueCounts:
    """What is overdue, by who must act: all for the platform, its own for an institution."""
    with control.db.read(actor) as session:
        rows = repository.overdue_counts(session, control.db.clock())
    own = None if actor.institution == SYSTEM.institution else actor.institution
    items = [OverdueCount(holder=r.holder, kind=r.kind, count=r.n, since=r.since) for r in rows]
    return OverdueCounts(items=[item for item in items if own in (None, item.holder)])


def configured(control: Control) -> Periods:
    """The periods as they are configured (R11, R31)."""
    settings = control.settings
    reminders = sorted(settings.reminder_days, reverse=True)
    return Periods(
        items=[
            PeriodOut(
                kind=kind,
                zh=one.zh,
                en=one.en,
                setting=one.setting,
                length=getattr(settings, one.setting),
                reminders=reminders,
            )
            for kind, one in PERIODS.items()
        ]
    )
