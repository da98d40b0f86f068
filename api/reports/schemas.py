"""Shapes of period reports."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

Month = Annotated[str, StringConstraints(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$")]
Form = Literal["json", "csv"]


class ReportRow(BaseModel):
    """`number` of `measure` of `subject` in `section`."""

    section: str
    subject: str
    measure: str
    number: int


class ReportBody(BaseModel):
    """One month. `start` and `end` bound it (end excluded), in Chinese time."""

    month: str
    audience: str
    start: datetime
    end: datetime
    rows: list[ReportRow]


class ReportOut(BaseModel):
    """A report with the SHA-256 of its canonical JSON."""

    model_config = ConfigDict(from_attributes=True)

    month: str
    audience: str
    sha256: str
    made_at: datetime
    body: ReportBody


class ReportLine(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    month: str
    audience: str
    sha256: str
    made_at: datetime


class ReportList(BaseModel):
    items: list[ReportLine]
