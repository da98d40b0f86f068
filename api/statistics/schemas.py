"""Shapes of statistics."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Stage = Literal["before", "during", "after"]
Dimension = Literal["institution", "region", "product", "month"]


class Group(BaseModel):
    """One group: its keys in the order asked for, and its figures, null where they are withheld."""

    keys: dict[str, str | None]
    figures: dict[str, int | str | None] = Field(description="counts as numbers, amounts in yuan and rates as texts")
    withheld: bool = Field(description="too few enterprises of others to be shown")


class Statistics(BaseModel):
    stage: Stage
    by: list[Dimension]
    first: str | None
    last: str | None
    least: int = Field(description="fewest enterprises of others in a group that is shown")
    groups: list[Group]
