"""Scoring one enterprise with a released model, across owners or in one place.

Owns the arithmetic from a row to score, PD and reasons. Each owner computes a `partial` from its own row; `finish`
combines the two without seeing a value of either. It never reads a file, never checks consent (the gate does), and
needs nothing beyond the standard library.

Formulas: PD = 1 / (1 + exp(−(a·margin + b))). Score = offset − factor · ln(odds of bad), factor = pdo / ln 2,
offset = score − factor · ln(odds); with 600 points at odds 19 and 50 points to double them, factor is 72.1348 and
offset 387.6036. Reasons are the characteristics that cost the most points against the average enterprise: in trees
by path attribution (Saabas), the change of the expected margin at each split on the way to the leaf, expectations
weighted by training rows; in a scorecard coefficient · WOE, where WOE 0 is the average enterprise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from models.formats import PARTIES

__all__ = ["ScoringError", "expected_margins", "finish", "importance", "partial", "pd_of", "score_of"]

Document = dict[str, Any]
PARTY_TEXT = {"bank": ("the bank's data", "银行数据"), "lab": ("public credit data", "公共信用数据")}


class ScoringError(ValueError):
    """A row or partial that cannot be scored. `code` is stable; no value of the row is repeated."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        super().__init__(message)
        self.code, self.message, self.message_zh = code, message, message_zh


def partial(model: Document, party: str, row: Mapping[str, Any], k: int = 4) -> Document:
    """What one owner says about one enterprise: JSON, without any value of the row.

    `model` is the whole model or this party's part; `row` maps input names to values (None or NaN = missing) and must
    have every input of the party. Trees: per tree the leaves still reachable, as a hex bit mask (bit i = i-th leaf in
    node order). Scorecard: the party's margin and its `k` costliest characteristics. Raises ScoringError.
    """
    out: Document = {"kind": model["kind"], "party": party, "job_id": model["job_id"]}
    if model["kind"] == "tree_ensemble":
        values = {column["name"]: _value(row, column, party) for column in model["inputs"][party]}
        return out | {"leaves": [f"{_reachable(tree['nodes'], party, values):x}" for tree in model["trees"]]}
    margin, costs = 0.0, []
    for feature in model["features"]:
        if feature["party"] == party:
            contribution = feature["coefficient"] * _woe(feature, _value(row, feature, party))
            margin += contribution
            costs.append((feature["input"], contribution))
    worst = sorted((cost for cost in costs if cost[1] > 0), key=lambda cost: (-cost[1], cost[0]))[:k]
    return out | {"margin": margin, "reasons": [{"feature": name, "margin": cost} for name, cost in worst]}


def finish(model: Document, partials: Mapping[str, Document], k: int = 4) -> Document:
    """Score from both owners' partials: {"score", "pd", "margin", "reasons"}.

    `model` is the whole model or the bank's part with calibration and scale (reasons then name no lab feature).
    `score` is a whole number of points; each reason has party, feature, points (negative: lost), text and text_zh.
    Raises ScoringError when a partial is absent or belongs to another model.
    """
    for party in PARTIES:
        given = partials.get(party)
        if given is None or given.get("kind") != model["kind"] or given.get("job_id") != model["job_id"]:
            raise ScoringError(
                "partial_mismatch",
                f"the {party}'s partial is absent or was made with another model; ask it again for this model",
                f"{PARTY_TEXT[party][1]}方的部分结果缺失或来自另一模型；请用本模型重新获取",
            )
    margin, costs = (
        _finish_trees(model, partials) if model["kind"] == "tree_ensemble" else _finish_card(model, partials)
    )
    a, factor = model["calibration"]["a"], model["scale"]["pdo"] / math.log(2)
    worst = sorted(((cost * a * factor, key) for key, cost in costs.items()), key=lambda item: (-item[0], str(item[1])))
    return {
        "score": round(score_of(margin, model["calibration"], model["scale"])),
        "pd": pd_of(margin, model["calibration"]),
        "margin": margin,
        "reasons": [_reason(party, feature, round(lost, 1)) for lost, (party, feature) in worst[:k] if lost >= 0.05],
    }


def pd_of(margin: float, calibration: Mapping[str, float]) -> float:
    """Probability of default of a margin (uncalibrated log odds of bad)."""
    log_odds = calibration["a"] * margin + calibration["b"]
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    return math.exp(log_odds) / (1 + math.exp(log_odds))


def score_of(margin: float, calibration: Mapping[str, float], scale: Mapping[str, float]) -> float:
    """Points of a margin, PDO scaling: higher is better."""
    factor = scale["pdo"] / math.log(2)
    offset = scale["score"] - factor * math.log(scale["odds"])
    return offset - factor * (calibration["a"] * margin + calibration["b"])


def expected_margins(nodes: list[Document]) -> list[float]:
    """Expected margin at each node of one tree, weighted by cover (equally where a tree carries no covers)."""
    values, weights = [0.0] * len(nodes), [1.0] * len(nodes)
    for index in range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        if "leaf" in node:
            values[index], weights[index] = node["leaf"], float(node.get("cover") or 1.0)
            continue
        left, right = node["left"], node["right"]
        weights[index] = weights[left] + weights[right]
        values[index] = (values[left] * weights[left] + values[right] * weights[right]) / weights[index]
    return values


def importance(model: Document) -> dict[tuple[str, str | None], float]:
    """(party, input) → share of the trees' explained margin variance, summing to 1; trees only.

    Works on the bank's part as well, where the lab's inputs are unknown: they gather under ("lab", None). Empty when
    no tree splits.
    """
    out: dict[tuple[str, str | None], float] = {}
    for tree in model["trees"]:
        nodes = tree["nodes"]
        values = expected_margins(nodes)
        covers = _covers(nodes)
        for index, node in enumerate(nodes):
            if "leaf" in node:
                continue
            key = node["party"], node.get("input")
            spread = sum(
                covers[child] * (values[child] - values[index]) ** 2 for child in (node["left"], node["right"])
            )
            out[key] = out.get(key, 0.0) + spread
    total = sum(out.values())
    return {key: value / total for key, value in out.items()} if total > 0 else {}


def _covers(nodes: list[Document]) -> list[float]:
    covers = [0.0] * len(nodes)
    for index in range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        leaf = "leaf" in node
        covers[index] = float(node.get("cover") or 1.0) if leaf else covers[node["left"]] + covers[node["right"]]
    return covers


def _value(row: Mapping[str, Any], column: Mapping[str, Any], party: str) -> float | str | None:
    """The value as the model reads it: float, text, or None when missing."""
    name = column.get("name", column.get("input"))
    if name not in row:
        raise ScoringError(
            "input_absent",
            f"{party}.{name}: the row has no such column; give it, with null where the value is unknown",
            f"{party}.{name}：缺少该列；请提供该列，未知值填 null",
        )
    value = row[name]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if column["kind"] == "categorical":
        from models.binning import level_text  # numpy: only where categories are scored

        return level_text(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ScoringError(
            "input_not_numeric",
            f"{party}.{name}: expected a number",
            f"{party}.{name}：应为数值",
        ) from None
    return number if math.isfinite(number) else None


def _goes_left(node: Document, value: float | str | None) -> bool:
    if value is None:
        return bool(node["missing"] == "left")
    return value < node["value"] if node["op"] == "lt" else value in node["values"]


def _reachable(nodes: list[Document], party: str, values: Mapping[str, float | str | None]) -> int:
    masks = [0] * len(nodes)
    leaf = sum("leaf" in node for node in nodes)
    for index in range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        if "leaf" in node:
            leaf -= 1
            masks[index] = 1 << leaf
        elif node["party"] != party:
            masks[index] = masks[node["left"]] | masks[node["right"]]
        else:
            masks[index] = masks[node["left" if _goes_left(node, values[node["input"]]) else "right"]]
    return masks[0]


def _woe(feature: Document, value: float | str | None) -> float:
    bins = feature["bins"]
    if value is None:
        return float(bins["missing_woe"])
    if feature["kind"] == "categorical":
        return float(bins["levels"].get(value, bins["other_woe"]))
    position = 0
    for edge in bins["edges"]:
        if value < edge:
            break
        position += 1
    return float(bins["woe"][position])


def _path(nodes: list[Document], mask: int) -> Iterator[int]:
    """Indices from the root to the one leaf in the mask."""
    parents = {child: index for index, node in enumerate(nodes) if "leaf" not in node for child in _children(node)}
    leaves = [index for index, node in enumerate(nodes) if "leaf" in node]
    index = leaves[mask.bit_length() - 1]
    path = [index]
    while index:
        index = parents[index]
        path.append(index)
    return reversed(path)


def _children(node: Document) -> tuple[int, int]:
    return node["left"], node["right"]


def _masks(model: Document, given: Document) -> list[int]:
    """A partial's bit masks; it came from another node, so its form is checked."""
    leaves = given.get("leaves")
    if isinstance(leaves, list) and len(leaves) == len(model["trees"]):
        try:
            return [int(mask, 16) for mask in leaves]
        except (TypeError, ValueError):
            leaves = None
    raise ScoringError(
        "partial_malformed",
        f"the {given.get('party')}'s partial is not one hex mask for each tree",
        "部分结果格式错误：每棵树应有一个十六进制掩码",
    )


def _finish_trees(
    model: Document, partials: Mapping[str, Document]
) -> tuple[float, dict[tuple[str, str | None], float]]:
    margin = float(model["base_margin"])
    costs: dict[tuple[str, str | None], float] = {}
    bank, lab = _masks(model, partials["bank"]), _masks(model, partials["lab"])
    for tree, own, theirs in zip(model["trees"], bank, lab, strict=True):
        nodes, mask = tree["nodes"], own & theirs
        leaves = sum("leaf" in node for node in nodes)
        if mask == 0 or mask & (mask - 1) or mask >> leaves:
            raise ScoringError(
                "partial_mismatch",
                "the two partials do not meet in one leaf: they were made with different models",
                "两方的部分结果不对应同一叶节点：所用模型不一致",
            )
        values, path = expected_margins(nodes), list(_path(nodes, mask))
        margin += nodes[path[-1]]["leaf"]
        for index, child in itertools.pairwise(path):
            key = nodes[index]["party"], nodes[index].get("input")
            costs[key] = costs.get(key, 0.0) + values[child] - values[index]
    return margin, costs


def _finish_card(
    model: Document, partials: Mapping[str, Document]
) -> tuple[float, dict[tuple[str, str | None], float]]:
    margin = float(model["intercept"])
    costs: dict[tuple[str, str | None], float] = {}
    for party in PARTIES:
        given = partials[party]
        try:
            own = float(given["margin"])
            named: dict[tuple[str, str | None], float] = {
                (party, str(reason["feature"])): float(reason["margin"]) for reason in given["reasons"]
            }
        except (KeyError, TypeError, ValueError):
            own, named = math.nan, {}
        if not math.isfinite(own) or not all(map(math.isfinite, named.values())):
            raise ScoringError(
                "partial_malformed",
                f"the {party}'s partial lacks a margin and reasons",
                "部分结果格式错误：缺少得分或原因",
            )
        margin += own
        costs |= named
    return margin, costs


def _reason(party: str, feature: str | None, lost: float) -> Document:
    whose, whose_zh = PARTY_TEXT[party]
    named, named_zh = (feature, feature) if feature else ("a characteristic", "一项特征")
    return {
        "party": party,
        "feature": feature,
        "points": -lost,
        "text": f"{named} ({whose}) lowers the score by {lost:g} points against the average enterprise",
        "text_zh": f"{named_zh}（{whose_zh}）使评分较平均企业低 {lost:g} 分",
    }
