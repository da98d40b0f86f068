"""Shapes of datasets and of their columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel


class ColumnOut(BaseModel):
    """`title`, `meaning` and `category` come from the catalogue where the owner's column is one of its features."""

    name: str
    kind: str
    unit: str | None = None
    title: str | None = None
    title_zh: str | None = None
    meaning: str | None = None
    meaning_zh: str | None = None
    category: str | None = None


class DatasetSummary(BaseModel):
    name: str
    title: str | None
    institution: str
    node: str
    role: str
    columns: int
    rows: int | None
    label: str | None
    as_of: str | None
    registered_at: datetime


class DatasetOut(DatasetSummary):
    id: str
    split: dict[str, Any] | None
    fields: list[ColumnOut]


class Datasets(BaseModel):
    items: list[DatasetSummary]


class FeatureOut(ColumnOut):
    """One column that a lab offers, and where."""

    dataset: str
    node: str
    institution: str


class Features(BaseModel):
    items: list[FeatureOut]
    categories: dict[str, int]
