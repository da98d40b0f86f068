"""/v1/clocks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Action, Caller, permits
from api.clocks import service
from api.clocks.schemas import ClockOut, OverdueCounts, Periods
from api.control import ControlDep
from api.fields import Limit, Text
from api.paging import CursorParam, Page

router = APIRouter(prefix="/v1/clocks", tags=["clocks"])

Reader = Annotated[Caller, Depends(permits(Action.CLOCK_READ))]


@router.get("")
def running(
    control: ControlDep,
    caller: Reader,
    holder: Text | None = None,
    overdue: bool = False,
    cursor: CursorParam = None,
    limit: Limit = 100,
) -> Page[ClockOut]:
    """Deadlines that run, the next due first; with `overdue`, those that have passed. An institution sees its own."""
    return service.running(control, caller, holder, overdue, cursor, limit)


@router.get("/overdue")
def overdue(control: ControlDep, caller: Reader) -> OverdueCounts:
    """How many deadlines have passed, by who must act and kind."""
    return service.overdue_counts(control, caller)


@router.get("/periods")
def configured(control: ControlDep, caller: Reader) -> Periods:
    """How long each period is, and when reminders come."""
    return service.configured(control)
