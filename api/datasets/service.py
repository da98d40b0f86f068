"""Browsing what parties offer for joint modelling. A bank sees its own tables and the labs'; a lab its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from api.auth import Caller
from api.control import Control
from api.datasets.schemas import ColumnOut, DatasetOut, Datasets, DatasetSummary, FeatureOut, Features
from api.db import SYSTEM
from api.errors import NotFound
from api.nodes import repository as nodes
from api.nodes.repository import Node


def _visible(control: Control, caller: Caller) -> Iterator[tuple[Node, dict[str, Any]]]:
    """A lab's metadata are an offer to every bank, so they are read on the platform's behalf."""
    with control.db.read(SYSTEM) as session:
        rows = nodes.nodes(session)
    for row in rows:
        if caller.institution in ("platform", row.institution) or row.role == "lab":
            for dataset in row.datasets:
                yield row, dataset


def _summary(row: Node, dataset: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": dataset["name"],
        "title": dataset.get("title"),
        "institution": row.institution,
        "node": row.name,
        "role": row.role,
        "columns": len(dataset["columns"]),
        "rows": dataset.get("rows"),
        "label": dataset.get("label"),
        "as_of": dataset.get("as_of"),
        "registered_at": row.registered_at,
    }


def search(control: Control, caller: Caller) -> Datasets:
    return Datasets(items=[DatasetSummary(**_summary(row, dataset)) for row, dataset in _visible(control, caller)])


def get(control: Control, caller: Caller, node: str, name: str) -> DatasetOut:
    """Raises NotFound, also for another bank's."""
    for row, dataset in _visible(control, caller):
        if (row.name, dataset["name"]) == (node, name):
            columns = [ColumnOut(**column) for column in dataset["columns"]]
            return DatasetOut(**_summary(row, dataset), id=dataset["id"], split=dataset.get("split"), fields=columns)
    raise NotFound("dataset", "数据集", f"{node}/{name}")


def features(control: Control, caller: Caller, category: str | None, text: str | None, limit: int) -> Features:
    """Columns that labs offer, of a category and with `text` in a name, title or meaning; counts by category of all."""
    found = [
        FeatureOut(**column, dataset=dataset["name"], node=row.name, institution=row.institution)
        for row, dataset in _visible(control, caller)
        if row.role == "lab"
        for column in dataset["columns"]
    ]
    categories = Counter(one.category or "other" for one in found)
    if category is not None:
        found = [one for one in found if (one.category or "other") == category]
    if text is not None:
        needle = text.casefold()
        texts = ("name", "title", "title_zh", "meaning", "meaning_zh")
        found = [one for one in found if any(needle in (getattr(one, name) or "").casefold() for name in texts)]
    return Features(items=found[:limit], categories=dict(categories))
