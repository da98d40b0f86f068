"""The released model document, `creditlab.model/1`: inert JSON that anybody can read.

Owns its validation, canonical bytes and content address, and the cut of a whole model into the two owners' parts
and back. It never trains, scores or opens a file. Standard library only (the Python 3.10 engine writes parts too).

A part carries `"part": "bank"` or `"part": "lab"`. In it, nodes and features of the other party are reduced to
`{"party", "left", "right"}` resp. `{"party"}`; `inputs` of the other party are empty. In the lab's part leaves read
`{"leaf": null}` (cover optional) and `base_margin`, `intercept`, `calibration` and `scale` are null: those numbers
speak about the label, which is the bank's.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from typing import Any

__all__ = [
    "FORMAT",
    "PARTIES",
    "SCALE",
    "InvalidModel",
    "canonical",
    "content_sha256",
    "join_parts",
    "split_part",
    "validate",
]

FORMAT = "creditlab.model/1"
PARTIES = ("bank", "lab")
SCALE = {"score": 600, "odds": 19, "pdo": 50}  # 600 points at bad:good 1:19, 50 points double the odds
MAX_TREES, MAX_NODES, MAX_FEATURES = 5_000, 4_096, 5_000

Document = dict[str, Any]


class InvalidModel(ValueError):
    """A document that is not a model of this format. The message starts with the place, e.g. trees[3].nodes[1]."""

    code = "model_invalid"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where, self.message = where, f"{where}: {problem}"
        self.message_zh = f"模型文件在 {where} 处不符合格式：{problem}"


# ---- canonical bytes ---------------------------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value: keys sorted by UTF-16 code units, numbers as ECMAScript writes them.

    Raises ValueError for NaN, infinity, or an integer beyond ±(2**53 − 1).
    """
    return "".join(_canonical(value)).encode()


def content_sha256(model: Document) -> str:
    """Content address of a model: sha256 hex of its canonical bytes."""
    return hashlib.sha256(canonical(model)).hexdigest()


def _canonical(value: Any) -> list[str]:
    if value is None:
        return ["null"]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, str):
        return [json.dumps(value, ensure_ascii=False)]
    if isinstance(value, int):
        if abs(value) > 2**53 - 1:
            raise ValueError(f"integer {value} cannot be written exactly by every JSON reader")
        return [str(value)]
    if isinstance(value, float):
        return [_number(value)]
    if isinstance(value, (list, tuple)):
        out = ["["]
        for position, item in enumerate(value):
            out += [","] if position else []
            out += _canonical(item)
        return [*out, "]"]
    if isinstance(value, dict):
        out = ["{"]
        for position, key in enumerate(sorted(value, key=lambda name: name.encode("utf-16-be"))):
            out += [","] if position else []
            out += [json.dumps(key, ensure_ascii=False), ":", *_canonical(value[key])]
        return [*out, "}"]
    raise ValueError(f"{type(value).__name__} has no JSON form")


def _number(value: float) -> str:
    """ECMAScript Number::toString (ECMA-262 §6.1.6.1.20) from Python's equally short repr."""
    if not math.isfinite(value):
        raise ValueError("NaN and infinity have no JSON form")
    if value == 0:
        return "0"
    sign, text = ("-", repr(-value)) if value < 0 else ("", repr(value))
    mantissa, _, exponent_text = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent_text or 0)  # value = 0.DIGITS × 10**point, before stripping zeros
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return sign + digits[0] + ("." + digits[1:] if count > 1 else "") + power


# ---- validation --------------------------------------------------------------------------------------------------


def validate(model: Any) -> Document:
    """The document itself when it is a whole model or a part of one. Raises InvalidModel at the first fault.

    After this, scoring needs no checks: children come after their parent (no cycles), every node but the root has
    exactly one parent, every number is finite, every input is declared.
    """
    _require(isinstance(model, dict), "model", "expected an object")
    _require(model.get("format") == FORMAT, "format", f"expected {FORMAT!r}")
    part = model.get("part")
    _require(part in (None, *PARTIES), "part", "expected bank, lab or nothing")
    for name in ("job_id", "ticket_sha256", "mode"):
        _require(isinstance(model.get(name), str), name, "expected text")
    recipe = model.get("recipe")
    _require(isinstance(recipe, dict) and isinstance(recipe.get("name"), str), "recipe", "expected {name, params}")
    inputs = _check_inputs(model, part)
    kind = model.get("kind")
    if kind == "tree_ensemble":
        _numbers(model, ("base_margin",), part)
        trees = model.get("trees")
        _require(isinstance(trees, list) and 0 < len(trees) <= MAX_TREES, "trees", f"expected 1 to {MAX_TREES} trees")
        for index, tree in enumerate(trees):
            _check_tree(tree, f"trees[{index}]", inputs, part)
    elif kind == "scorecard":
        _numbers(model, ("intercept",), part)
        features = model.get("features")
        _require(
            isinstance(features, list) and len(features) <= MAX_FEATURES, "features", f"at most {MAX_FEATURES} features"
        )
        for index, feature in enumerate(features):
            _check_feature(feature, f"features[{index}]", inputs, part)
    else:
        raise InvalidModel("kind", "expected tree_ensemble or scorecard")
    _check_output(model, part)
    return model


def _require(condition: Any, where: str, problem: str) -> None:
    if not condition:
        raise InvalidModel(where, problem)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(holder: Document, names: tuple[str, ...], part: str | None, where: str = "") -> None:
    for name in names:
        value, place = holder.get(name), where + name
        if part == "lab":
            _require(value is None, place, "the lab's part must not carry it (null)")
        else:
            _require(_is_number(value), place, "expected a finite number")


def _check_inputs(model: Document, part: str | None) -> dict[tuple[str, str], str]:
    inputs = model.get("inputs")
    _require(isinstance(inputs, dict) and set(inputs) == set(PARTIES), "inputs", "expected {bank: […], lab: […]}")
    known: dict[tuple[str, str], str] = {}
    for party in PARTIES:
        columns = inputs[party]
        _require(isinstance(columns, list), f"inputs.{party}", "expected a list")
        _require(part in (None, party) or not columns, f"inputs.{party}", f"the {part}'s part must not list them")
        for index, column in enumerate(columns):
            where = f"inputs.{party}[{index}]"
            _require(isinstance(column, dict) and isinstance(column.get("name"), str), where, "expected {name, kind}")
            _require(column.get("kind") in ("numeric", "categorical"), where, "kind is numeric or categorical")
            _require((party, column["name"]) not in known, where, f"{column['name']!r} is listed twice")
            known[party, column["name"]] = column["kind"]
    return known


def _check_tree(tree: Any, where: str, inputs: dict[tuple[str, str], str], part: str | None) -> None:
    nodes = tree.get("nodes") if isinstance(tree, dict) else None
    _require(isinstance(nodes, list) and 0 < len(nodes) <= MAX_NODES, where, f"expected 1 to {MAX_NODES} nodes")
    parents = [0] * len(nodes)
    for index, node in enumerate(nodes):
        place = f"{where}.nodes[{index}]"
        _require(isinstance(node, dict), place, "expected an object")
        for name in ("gain", "cover"):
            value = node.get(name)
            _require(value is None or (_is_number(value) and value >= 0), f"{place}.{name}", "expected a number ≥ 0")
        if "leaf" in node:
            _require(set(node) <= {"leaf", "cover"}, place, "a leaf has nothing but leaf and cover")
            _numbers(node, ("leaf",), part, f"{place}.")
            continue
        for side in ("left", "right"):
            child = node.get(side)
            in_range = isinstance(child, int) and not isinstance(child, bool) and index < child < len(nodes)
            _require(in_range, f"{place}.{side}", "a child comes after its parent, within the tree")
            parents[child] += 1
        _require(node.get("party") in PARTIES, f"{place}.party", "expected bank or lab")
        if part not in (None, node["party"]):
            _require(
                set(node) == {"party", "left", "right"}, place, f"says more of the {node['party']}'s split than due"
            )
            continue
        kind = inputs.get((node["party"], str(node.get("input"))))
        _require(kind is not None, f"{place}.input", f"{node.get('input')!r} is not among inputs.{node['party']}")
        _require(node.get("missing") in ("left", "right"), f"{place}.missing", "expected left or right")
        if node.get("op") == "lt":
            _require(kind == "numeric" and _is_number(node.get("value")), place, "lt needs a numeric input and value")
        elif node.get("op") == "in":
            _check_levels(node.get("values"), f"{place}.values")
            _require(kind == "categorical", place, "in needs a categorical input")
        else:
            raise InvalidModel(f"{place}.op", "expected lt or in")
    _require(
        parents[0] == 0 and all(count == 1 for count in parents[1:]), where, "every node but the first has one parent"
    )


def _check_levels(levels: Any, where: str) -> None:
    texts = isinstance(levels, list) and all(isinstance(level, str) and level for level in levels)
    _require(texts, where, "expected a list of non-empty texts")
    _require(len(set(levels)) == len(levels), where, "a level is listed twice")


def _check_feature(feature: Any, where: str, inputs: dict[tuple[str, str], str], part: str | None) -> None:
    _require(isinstance(feature, dict) and feature.get("party") in PARTIES, where, "expected an object with a party")
    if part not in (None, feature["party"]):
        _require(set(feature) == {"party"}, where, f"says more of the {feature['party']}'s feature than due")
        return
    kind = inputs.get((feature["party"], str(feature.get("input"))))
    _require(
        kind is not None and kind == feature.get("kind"), f"{where}.input", f"{feature.get('input')!r} is no such input"
    )
    _require(_is_number(feature.get("coefficient")), f"{where}.coefficient", "expected a finite number")
    bins = feature.get("bins")
    _require(isinstance(bins, dict) and _is_number(bins.get("missing_woe")), f"{where}.bins", "needs missing_woe")
    if kind == "numeric":
        edges, woe = bins.get("edges"), bins.get("woe")
        lists = isinstance(edges, list) and isinstance(woe, list) and all(map(_is_number, [*edges, *woe]))
        _require(lists and len(woe) == len(edges) + 1, f"{where}.bins", "needs k edges and k + 1 woe values")
        _require(all(a < b for a, b in itertools.pairwise(edges)), f"{where}.bins.edges", "must rise")
    else:
        levels = bins.get("levels")
        _require(
            isinstance(levels, dict) and all(map(_is_number, levels.values())), f"{where}.bins.levels", "text → woe"
        )
        _require(_is_number(bins.get("other_woe")), f"{where}.bins.other_woe", "expected a finite number")


def _check_output(model: Document, part: str | None) -> None:
    if part == "lab":
        for name in ("calibration", "scale"):
            _require(model.get(name) is None, name, "the lab's part must not carry it (null)")
        return
    calibration, scale = model.get("calibration"), model.get("scale")
    # The engine's bank part is written before the calibration is known; a whole model must have it.
    if part is None or calibration is not None:
        _require(isinstance(calibration, dict), "calibration", "expected {a, b}")
        _numbers(calibration, ("a", "b"), None, "calibration.")
        _require(calibration["a"] > 0, "calibration.a", "must be positive: a higher margin means a higher risk")
    if part is None or scale is not None:
        _require(isinstance(scale, dict), "scale", "expected {score, odds, pdo}")
        _numbers(scale, ("score", "odds", "pdo"), None, "scale.")
        _require(scale["odds"] > 0 and scale["pdo"] > 0, "scale", "odds and pdo must be positive")


# ---- parts -------------------------------------------------------------------------------------------------------


def split_part(model: Document, party: str) -> Document:
    """What one owner keeps of a whole model. Raises InvalidModel when `model` is itself a part."""
    validate(model)
    _require("part" not in model, "part", "only a whole model can be split")
    _require(party in PARTIES, "party", "expected bank or lab")
    out = copy.deepcopy(model)
    out["part"] = party
    for other in PARTIES:
        if other != party:
            out["inputs"][other] = []
    lab = party == "lab"
    if model["kind"] == "tree_ensemble":
        for tree in out["trees"]:
            tree["nodes"] = [_reduced_node(node, party) for node in tree["nodes"]]
        hidden = ["base_margin"]
    else:
        out["features"] = [
            feature if feature["party"] == party else {"party": feature["party"]} for feature in out["features"]
        ]
        hidden = ["intercept"]
    if lab:
        for name in (*hidden, "calibration", "scale"):
            out[name] = None
    return out


def _reduced_node(node: Document, party: str) -> Document:
    if "leaf" in node:
        return node if party == "bank" else {**node, "leaf": None}
    return node if node["party"] == party else {name: node[name] for name in ("party", "left", "right")}


def join_parts(
    bank_part: Document,
    lab_part: Document,
    calibration: dict[str, float] | None = None,
    scale: dict[str, float] | None = None,
) -> Document:
    """The whole model from both owners' parts. Raises InvalidModel when they do not belong together.

    `calibration` and `scale` fill in for a bank part written before they were known; a part's own values win.
    """
    for part, party in ((bank_part, "bank"), (lab_part, "lab")):
        validate(part)
        _require(part.get("part") == party, "part", f"expected the {party}'s part")
    for name in ("kind", "job_id", "ticket_sha256", "mode", "recipe"):
        _require(bank_part.get(name) == lab_part.get(name), name, "the two parts differ: they are not of one model")
    out = copy.deepcopy(bank_part)
    del out["part"]
    out["inputs"] = {
        "bank": copy.deepcopy(bank_part["inputs"]["bank"]),
        "lab": copy.deepcopy(lab_part["inputs"]["lab"]),
    }
    if bank_part["kind"] == "tree_ensemble":
        _require(len(bank_part["trees"]) == len(lab_part["trees"]), "trees", "the two parts differ in number")
        for index, (tree, other) in enumerate(zip(out["trees"], lab_part["trees"], strict=False)):
            tree["nodes"] = _joined_nodes(tree["nodes"], other["nodes"], f"trees[{index}]")
    else:
        ours, theirs = bank_part["features"], lab_part["features"]
        same = [feature["party"] for feature in ours] == [feature["party"] for feature in theirs]
        _require(same, "features", "the two parts differ in owners or number")
        out["features"] = [
            copy.deepcopy(own if own["party"] == "bank" else other) for own, other in zip(ours, theirs, strict=True)
        ]
    out["calibration"] = bank_part.get("calibration") or calibration
    out["scale"] = bank_part.get("scale") or scale or dict(SCALE)
    return validate(out)


def _joined_nodes(ours: list[Document], theirs: list[Document], where: str) -> list[Document]:
    _require(len(ours) == len(theirs), where, "the two parts differ in nodes")
    out = []
    for index, (bank, lab) in enumerate(zip(ours, theirs, strict=False)):
        place = f"{where}.nodes[{index}]"
        leaves = "leaf" in bank, "leaf" in lab
        _require(leaves[0] == leaves[1], place, "a leaf in one part and a split in the other")
        if leaves[0]:
            out.append(bank)
            continue
        same = all(bank[name] == lab[name] for name in ("party", "left", "right"))
        _require(same, place, "owner or children differ between the parts")
        out.append(bank if bank["party"] == "bank" else copy.deepcopy(lab))
    return out
