"""LightGBM's native text model: read, make safe to release, write back, and turn into creditlab.model/1 trees.

Owns the meaning of that text format (version v4): decision types, missing-value rules, categorical bitsets. It never
trains. The text and the trees that leave here say the same, bit for bit: both are written from one parsed form.

Made safe means: no private minima and maxima (`feature_infos`), counts rounded, thresholds moved to the shortest
decimal that splits the training rows alike.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.binning import shortest_decimal

__all__ = ["COUNT_STEP", "NativeModel", "Node", "UnsupportedModel"]

COUNT_STEP = 5  # counts of rows leave rounded to a multiple of this


class UnsupportedModel(ValueError):
    """A native model that the document format cannot express exactly."""

    code = "model_unsupported"


@dataclass
class Node:
    """A split (feature ≥ 0) or a leaf (feature == -1). A numeric split sends x < value left."""

    feature: int = -1
    value: float = 0.0  # threshold of a split, output of a leaf
    levels: tuple[int, ...] | None = None  # codes that go left, for a categorical split
    missing_left: bool = False
    missing_type: int = 0  # 0 none seen in training, 2 NaN
    gain: float = 0.0
    count: int = 0
    output: float = 0.0  # what the node would answer as a leaf
    left: Node | None = None
    right: Node | None = None

    @property
    def is_leaf(self) -> bool:
        return self.feature < 0

    def walk(self) -> list[Node]:
        """All nodes below and including this one, parents first, left before right."""
        if self.left is None or self.right is None:
            return [self]
        return [self, *self.left.walk(), *self.right.walk()]


@dataclass
class NativeModel:
    """A parsed binary-objective model: header lines kept as they are, trees as nodes."""

    names: list[str]
    objective: str
    trees: list[Node] = field(default_factory=list)

    # ---- reading -------------------------------------------------------------------------------------------------

    @classmethod
    def parse(cls, text: str) -> NativeModel:
        """From `Booster.model_to_string()`. Raises UnsupportedModel: linear trees, random forest, zero-as-missing."""
        head, *blocks = text.split("end of trees")[0].split("\nTree=")
        header = _fields(head)
        if "average_output" in head.splitlines():
            raise UnsupportedModel("averaged output (random forest mode) is not supported: train with boosting=gbdt")
        if header.get("version") not in ("v3", "v4"):
            raise UnsupportedModel(f"native text version {header.get('version')!r} is not known")
        model = cls(header["feature_names"].split(" "), header.get("objective", ""))
        model.trees = [_parse_tree(_fields(block)) for block in blocks]
        return model

    # ---- making safe ---------------------------------------------------------------------------------------------

    def smallest_leaf(self) -> int:
        """Training rows in the smallest leaf of all trees (0 when the text carries no counts)."""
        return min(node.count for tree in self.trees for node in tree.walk() if node.is_leaf)

    def round_thresholds(self, matrix: np.ndarray) -> None:
        """Move each numeric threshold to the shortest decimal that sends every row of `matrix` the same way.

        `matrix` is the encoded training data (rows × features). The new threshold lies above the largest training
        value that goes left and at or below the smallest that goes right; where only missing values go one way, it
        stays.
        """
        splits: dict[int, list[Node]] = {}
        for tree in self.trees:
            for node in tree.walk():
                if not node.is_leaf and node.levels is None:
                    splits.setdefault(node.feature, []).append(node)
        for feature, nodes in splits.items():
            ordered = np.sort(matrix[:, feature])  # NaN sorts to the end
            present = len(ordered) - int(np.isnan(ordered[::-1]).sum() if np.isnan(ordered[-1]) else 0)
            known = sorted({node.value for node in nodes})
            places = np.searchsorted(ordered[:present], known, side="left").tolist()
            moved = {
                value: shortest_decimal(float(ordered[place - 1]), float(ordered[place]))
                for value, place in zip(known, places, strict=True)
                if 0 < place < present
            }
            for node in nodes:
                node.value = moved.get(node.value, node.value)

    def scale_outputs(self, factor: float) -> None:
        """Multiply every output by `factor` (averaging several models)."""
        for tree in self.trees:
            for node in tree.walk():
                node.output *= factor
                if node.is_leaf:
                    node.value *= factor

    # ---- writing -------------------------------------------------------------------------------------------------

    def to_text(self, levels: Mapping[int, Sequence[str]] | None = None) -> str:
        """Native text without private statistics. `levels`: per categorical feature, the level of each code.

        The levels are written the way LightGBM does for pandas categories, in feature order, so that
        `Booster.predict` accepts a DataFrame with category columns.
        """
        levels = levels or {}
        infos = ["none" if index in levels else "[-inf:inf]" for index in range(len(self.names))]
        lines = [
            "tree",
            "version=v4",
            "num_class=1",
            "num_tree_per_iteration=1",
            "label_index=0",
            f"max_feature_idx={len(self.names) - 1}",
            f"objective={self.objective}",
            f"feature_names={' '.join(self.names)}",
            f"feature_infos={' '.join(infos)}",
            "",
        ]
        blocks = [_tree_text(index, tree) for index, tree in enumerate(self.trees)]
        categories = "[" + ", ".join(_json_list(levels[index]) for index in sorted(levels)) + "]" if levels else "null"
        return "\n".join(lines) + "\n" + "".join(blocks) + f"end of trees\n\npandas_categorical:{categories}\n"

    def to_nodes(
        self, owner: Callable[[int], tuple[str, str]], levels: Mapping[int, Sequence[str]]
    ) -> list[dict[str, list[dict[str, Any]]]]:
        """The `trees` of a model document. `owner(feature)` gives (party, input name)."""
        return [{"nodes": _document_nodes(tree, owner, levels)} for tree in self.trees]


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _list(fields: dict[str, str], name: str, kind: type) -> list[Any]:
    text = fields.get(name, "")
    return list(map(kind, text.split(" "))) if text else []


def _parse_tree(fields: dict[str, str]) -> Node:
    if fields.get("is_linear", "0") != "0":
        raise UnsupportedModel("linear trees are not supported: train with linear_tree=false")
    values = _list(fields, "leaf_value", float)
    counts = _list(fields, "leaf_count", int) or [0] * len(values)
    leaves = [Node(value=value, output=value, count=count) for value, count in zip(values, counts, strict=True)]
    if len(leaves) == 1:
        return leaves[0]
    thresholds = _list(fields, "threshold", float)
    kinds = _list(fields, "decision_type", int)
    boundaries, bits = _list(fields, "cat_boundaries", int), _list(fields, "cat_threshold", int)
    splits = [
        Node(feature=feature, gain=gain, count=count, output=output)
        for feature, gain, count, output in zip(
            _list(fields, "split_feature", int),
            _list(fields, "split_gain", float),
            _list(fields, "internal_count", int),
            _list(fields, "internal_value", float),
            strict=True,
        )
    ]
    children = zip(_list(fields, "left_child", int), _list(fields, "right_child", int), strict=True)
    for node, kind, threshold, (left, right) in zip(splits, kinds, thresholds, children, strict=True):
        node.left = splits[left] if left >= 0 else leaves[~left]
        node.right = splits[right] if right >= 0 else leaves[~right]
        if kind & 1:
            position = int(threshold)
            words = bits[boundaries[position] : boundaries[position + 1]]
            node.levels = tuple(
                32 * index + bit for index, word in enumerate(words) for bit in range(32) if word >> bit & 1
            )
            continue  # missing and unseen levels always go right
        node.missing_type = kind >> 2 & 3
        if node.missing_type == 1:
            raise UnsupportedModel("zero-as-missing splits are not supported: train with zero_as_missing=false")
        # LightGBM: x <= threshold goes left. Here: x < value, with value the next double above.
        # Where only missing values go right the threshold is the largest double: that has to stay finite.
        node.value = min(math.nextafter(threshold, math.inf), sys.float_info.max)
        # Without missing values in training, LightGBM reads NaN as 0.
        node.missing_left = bool(kind & 2) if node.missing_type == 2 else threshold >= 0
    return splits[0]


def _rounded(count: int) -> int:
    return COUNT_STEP * round(count / COUNT_STEP)


def _json_list(levels: Sequence[str]) -> str:
    return json.dumps(list(levels))


def _tree_text(index: int, tree: Node) -> str:
    nodes = tree.walk()
    splits = [node for node in nodes if not node.is_leaf]
    leaves = [node for node in nodes if node.is_leaf]
    number = {id(node): position for position, node in enumerate(splits)}
    number.update({id(node): ~position for position, node in enumerate(leaves)})
    boundaries, bits, thresholds, kinds = [0], [], [], []
    for node in splits:
        if node.levels is None:
            kinds.append((2 if node.missing_left else 0) | 2 << 2)  # NaN is missing; its side is explicit
            thresholds.append(math.nextafter(node.value, -math.inf))
            continue
        words = [0] * (max(node.levels) // 32 + 1)
        for level in node.levels:
            words[level // 32] |= 1 << level % 32
        thresholds.append(len(boundaries) - 1)
        kinds.append(1)
        bits += words
        boundaries.append(len(bits))

    def line(name: str, values: Sequence[Any]) -> str:
        return f"{name}={' '.join(repr(value) if isinstance(value, float) else str(value) for value in values)}"

    out = [f"Tree={index}", f"num_leaves={len(leaves)}", f"num_cat={len(boundaries) - 1}"]
    if splits:
        out += [
            line("split_feature", [node.feature for node in splits]),
            line("split_gain", [node.gain for node in splits]),
            line("threshold", thresholds),
            line("decision_type", kinds),
            line("left_child", [number[id(node.left)] for node in splits]),
            line("right_child", [number[id(node.right)] for node in splits]),
        ]
    out.append(line("leaf_value", [node.value for node in leaves]))
    if splits:
        out += [
            line("leaf_count", [_rounded(node.count) for node in leaves]),
            line("internal_value", [node.output for node in splits]),
            line("internal_count", [_rounded(node.count) for node in splits]),
        ]
        if bits:
            out += [line("cat_boundaries", boundaries), line("cat_threshold", bits)]
    return "\n".join([*out, "is_linear=0", "shrinkage=1", "", "", ""])


def _document_nodes(
    tree: Node, owner: Callable[[int], tuple[str, str]], levels: Mapping[int, Sequence[str]]
) -> list[dict[str, Any]]:
    nodes = tree.walk()
    number = {id(node): position for position, node in enumerate(nodes)}
    out: list[dict[str, Any]] = []
    for node in nodes:
        if node.is_leaf:
            out.append({"leaf": node.value, "cover": _rounded(node.count)})
            continue
        party, name = owner(node.feature)
        entry: dict[str, Any] = {"party": party, "input": name}
        if node.levels is None:
            entry |= {"op": "lt", "value": node.value, "missing": "left" if node.missing_left else "right"}
        else:
            known = levels[node.feature]
            values = [known[code] for code in node.levels if code < len(known)]
            entry |= {"op": "in", "values": values, "missing": "right"}
        entry |= {"left": number[id(node.left)], "right": number[id(node.right)]}
        out.append(entry | {"gain": float(f"{node.gain:.6g}"), "cover": _rounded(node.count)})
    return out
