"""Shapes of clocks."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class ClockOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: str
    kind_zh: str
    kind_en: str
    object_kind: str
    object_id: str
    holder: str = Field(description="who must act: an institution, an enterprise's USCC, or `platform`")
    enterprise: str | None
    started_at: datetime
    due_at: datetime
    stopped_at: datetime | None
    overdue: bool = Field(description="past its day while it runs, or stopped late")


class OverdueCount(BaseModel):
    holder: str
    kind: str
    count: int
    since: datetime


class OverdueCounts(BaseModel):
    items: list[OverdueCount]


class PeriodOut(BaseModel):
    kind: str
    zh: str
    en: str
    setting: str
    length: int
    reminders: list[int] = Field(description="working days before the day it is due")


class Periods(BaseModel):
    items: list[PeriodOut]
