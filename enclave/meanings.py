"""What a lab's columns mean, for those who browse them: the words of the catalogue beside the names, never a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from features.catalogue import load
from features.catalogue.model import Catalogue


def explained(dataset: Mapping[str, Any], catalogue: Catalogue | None = None) -> dict[str, Any]:
    """The description of a table with title, meaning and category at each column that is a feature of the catalogue.

    `dataset` holds `columns`, a list of {name, kind, …}; other columns stay as they are.
    """
    catalogue = load() if catalogue is None else catalogue
    by_name = {feature.name: feature for feature in catalogue.features}
    columns: Sequence[Mapping[str, Any]] = dataset["columns"]
    return {**dataset, "columns": [_column(column, by_name) for column in columns]}


def _column(column: Mapping[str, Any], by_name: Mapping[str, Any]) -> dict[str, Any]:
    feature = by_name.get(column["name"])
    if feature is None:
        return dict(column)
    return {
        **column,
        "title": feature.en[:128],
        "title_zh": feature.zh[:128],
        "meaning": feature.why_en[:2000],
        "meaning_zh": feature.why_zh[:2000],
        "category": feature.category,
    }
