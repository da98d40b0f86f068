"""A trained model as the owners keep it: one part each of the released document (models.formats).

Owns the writing of parts. A party writes only what it knows: its own conditions, and at the bank the leaf values.
"""

from __future__ import annotations

import hashlib
from typing import Any

from models.formats import FORMAT, canonical

from .boosting import Ensemble
from .logistic import Half


def header(
    ticket: dict[str, Any], recipe: dict[str, Any], party: str, kinds: dict[str, str], kind: str
) -> dict[str, Any]:
    """What both kinds of part begin with."""
    inputs: dict[str, list[dict[str, str]]] = {"bank": [], "lab": []}
    inputs[party] = [{"name": name, "kind": column} for name, column in kinds.items()]
    return {
        "format": FORMAT,
        "part": party,
        "kind": kind,
        "job_id": ticket["job_id"],
        "ticket_sha256": hashlib.sha256(canonical(ticket)).hexdigest(),
        "mode": ticket["mode"],
        "recipe": recipe,
        "inputs": inputs,
        "calibration": None,
        "scale": None,
    }


def tree_part(head: dict[str, Any], model: Ensemble) -> dict[str, Any]:
    """This party's part of a tree ensemble."""
    party = head["part"]
    trees = []
    for index, shape in enumerate(model.shapes):
        finished = (
            iter(zip(model.grower.trees[index].leaves, model.grower.trees[index].covers)) if model.grower else None
        )
        nodes: list[dict[str, Any]] = []
        for node, owner, left, right in shape:
            if owner == "leaf":
                value = next(finished) if finished else None
                nodes.append({"leaf": value[0], "cover": value[1]} if value else {"leaf": None})
            elif owner == party:
                nodes.append({**model.owner.node(index, node), "left": left, "right": right})
            else:
                nodes.append({"party": owner, "left": left, "right": right})
        trees.append({"nodes": nodes})
    return {**head, "base_margin": model.grower.base_margin if model.grower else None, "trees": trees}


def card_part(head: dict[str, Any], half: Half) -> dict[str, Any]:
    """This party's part of a scorecard."""
    party = head["part"]
    kinds = {column["name"]: column["kind"] for column in head["inputs"][party]}
    return {**head, "intercept": half.intercept, "features": half.features(party, kinds)}
