"""Shapes of durable flows."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, Field

from api.fields import Body, Prose


class WorkOut(BaseModel):
    name: str
    title: str
    title_zh: str
    cron: str = Field(description="six fields, seconds first, in Chinese time")


class FlowOut(BaseModel):
    """One run: `parts` are those done and what each said, once all are."""

    id: str
    name: str
    status: str
    worker: str | None
    started_at: int | None = Field(description="milliseconds since 1970")
    parts: dict[str, Any] | None
    fault: str | None


class Flows(BaseModel):
    works: list[WorkOut]
    items: list[FlowOut]


class StartIn(Body):
    """Run a work now. `at` is the moment it is run as of, the present by default; the same moment runs once."""

    reason: Prose
    at: AwareDatetime | None = None


class Started(BaseModel):
    id: str
