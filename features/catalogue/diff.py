"""What changed between two catalogues, and which features and models that touches.

Owns the comparison. Never decides whether a change is allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from features.catalogue.model import Catalogue, Category, Feature, Item


@dataclass(frozen=True)
class Changes:
    """Names are `category`, `category.item` or `feature name`; `changed` maps a name to the keys that differ.

    `touched` are the features, of either catalogue, whose value may differ: changed themselves, gone, new, or
    reading something that changed. `models` are the given models that use a touched feature.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]
    touched: tuple[str, ...]
    models: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


#: Keys that change words only, never a value.
_WORDS = frozenset(f"{key}{language}" for key in ("", "why_", "use_", "event_", "source_") for language in ("zh", "en"))


def diff(old: Catalogue, new: Catalogue, models: Mapping[str, Collection[str]] | None = None) -> Changes:
    """Compare two catalogues. `models`: model → names of the features it uses."""
    before, after = _entries(old), _entries(new)
    added = tuple(sorted(set(after) - set(before)))
    removed = tuple(sorted(set(before) - set(after)))
    changed = {
        name: keys for name in sorted(set(before) & set(after)) if (keys := _differing(before[name], after[name]))
    }
    meant = {name for name, keys in changed.items() if set(keys) - _WORDS} | set(added) | set(removed)
    touched = {
        feature.name
        for catalogue in (old, new)
        for feature in catalogue.features
        if f"feature {feature.name}" in meant
        or feature.category in meant
        or any(f"{feature.category}.{item}" in meant for item in feature.reads)
    }
    affected = tuple(sorted(model for model, used in (models or {}).items() if touched & set(used)))
    return Changes(added, removed, changed, tuple(sorted(touched)), affected)


def _entries(catalogue: Catalogue) -> dict[str, Category | Item | Feature]:
    entries: dict[str, Category | Item | Feature] = {}
    for category in catalogue:
        entries[category.id] = category
        entries.update({f"{category.id}.{item.name}": item for item in category.items})
        entries.update({f"feature {feature.name}": feature for feature in category.features})
    return entries


def _differing(old: Category | Item | Feature, new: Category | Item | Feature) -> tuple[str, ...]:
    before, after = asdict(old), asdict(new)
    return tuple(key for key in before if key not in ("items", "features") and before[key] != after[key])
