"""Proposals made from others, and jobs set side by side. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# of a report's models, in the order a reader compares them
MODELS = ("bank_only", "lab_only", "stacked", "joint")
MEASURES = ("auc", "ks", "gini", "brier")


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with `patch` laid over it: null removes, objects merge, all else replaces (RFC 7396)."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of a JSON value under its pointer (RFC 6901); a list is a leaf."""
    if isinstance(value, Mapping) and value:
        leaves: dict[str, Any] = {}
        for name, item in value.items():
            leaves |= flat(item, f"{path}/{str(name).replace('~', '~0').replace('/', '~1')}")
        return leaves
    return {path: value}


def differences(proposals: Sequence[Mapping[str, Any]], ignore: frozenset[str]) -> dict[str, list[Any]]:
    """Pointer → each proposal's value (None where it has none), of what is not the same in all."""
    leaves = [flat({name: item for name, item in one.items() if name not in ignore}) for one in proposals]
    found = {}
    for pointer in sorted(set().union(*leaves)):
        values = [one.get(pointer) for one in leaves]
        if any(value != values[0] for value in values):
            found[pointer] = values
    return found


def measures(report: Mapping[str, Any] | None) -> dict[str, dict[str, float | None]]:
    """Model → measure → value of a report; empty where there is none."""
    models = (report or {}).get("models", {})
    return {name: {measure: models[name].get(measure) for measure in MEASURES} for name in MODELS if name in models}


def gain(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What joining brought over the bank alone, and over stacking two separate models."""
    if not report or "uplift" not in report:
        return None
    over_bank, over_stacked = report["uplift"], report.get("uplift_over_stacked") or {}
    return {
        "auc": over_bank.get("auc"),
        "verdict": over_bank.get("verdict"),
        "statement": over_bank.get("statement"),
        "statement_zh": over_bank.get("statement_zh"),
        "auc_over_stacked": over_stacked.get("auc"),
    }
