"""Reads the catalogue's files and refuses what they must not say.

Owns the rules of a catalogue: which keys exist, which codes they take, what is forbidden, what a feature may read by
its sensitivity. Never judges an expression beyond the names in it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.catalogue import forbidden, model
from features.catalogue.model import Catalogue, Category, Feature, Item

FOLDER = Path(__file__).with_name("data")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
#: Columns that every record has besides its items.
RECORD = ("uscc", "record_id", "event_date", "known_at", "source", "batch", "op", "revision", "content")
#: Names that expressions give another meaning.
_RESERVED = frozenset((*RECORD, "as_of", "stamp", "live", "ahead", "latest")) | {f"w{n}" for n in model.WINDOWS}
_CATEGORY_CODES = {
    "sharing": model.SHARING,
    "update": model.UPDATE,
    "sensitivity": model.SENSITIVITY,
    "repair": {key: model.REPAIR[key] for key in ("drop", "mask", "none")},
}
_ITEM_CODES = {
    "type": model.TYPES,
    "sharing": model.SHARING,
    "update": model.UPDATE,
    "sensitivity": model.SENSITIVITY,
    "repair": {key: model.REPAIR[key] for key in ("keep", "mask")},
}
_FEATURE_CODES = {"kind": model.KINDS, "direction": model.DIRECTIONS, "missing": model.MISSING}
_CATEGORY_KEYS = {
    **dict.fromkeys(("id", "zh", "en", "source", "source_zh", "source_en", "sharing", "update"), str),
    **dict.fromkeys(("sensitivity", "repair", "event_zh", "event_en", "use_zh", "use_en"), str),
    "retention_months": int,
    "items": list,
    "features": list,
}
_ITEM_KEYS = {
    **dict.fromkeys(("name", "zh", "en", "type", "unit", "sharing", "update", "sensitivity", "repair"), str),
    **dict.fromkeys(("use_zh", "use_en", "source"), str),
    "codes": dict,
    "retention_months": int,
}
_FEATURE_KEYS = dict.fromkeys(
    ("name", "zh", "en", "sql", "kind", "direction", "missing", "why_zh", "why_en"),
    str,
)


@dataclass(frozen=True)
class Problem:
    """One thing that the catalogue must not say. `where` is file and entry."""

    code: str
    where: str
    message: str
    message_zh: str


class CatalogueRefused(ValueError):
    """The catalogue cannot be used; carries every problem found."""

    code = "catalogue_refused"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        self.message = "\n".join(f"{one.where}: {one.message}" for one in self.problems)
        self.message_zh = "\n".join(f"{one.where}：{one.message_zh}" for one in self.problems)
        super().__init__(self.message)


def load(folder: Path | str | None = None) -> Catalogue:
    """The catalogue of a folder of TOML files, one per category; without a folder, the one that ships."""
    files = sorted(Path(folder or FOLDER).glob("*.toml"))
    return parse({path.name: path.read_text(encoding="utf-8") for path in files})


def parse(files: Mapping[str, str]) -> Catalogue:
    """The catalogue written in `files` (file name → TOML). Raises CatalogueRefused with every problem."""
    problems: list[Problem] = []
    documents: dict[str, dict[str, Any]] = {}
    for name, text in files.items():
        try:
            documents[name] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            problems.append(Problem("catalogue_syntax", name, f"not valid TOML: {error}", f"不是合法的 TOML：{error}"))
    for name, document in documents.items():
        problems += _shape(name, document)
    if not problems:
        problems += _rules(documents)
    if problems:
        raise CatalogueRefused(problems)
    built = [_category(document) for document in documents.values()]
    return Catalogue(tuple(sorted(built, key=lambda category: category.id)))


# ---- shape: keys, types, codes ---------------------------------------------------------------------------------------


def _shape(file: str, document: dict[str, Any]) -> list[Problem]:
    optional = {"items", "features"}
    problems = _keys(file, document, _CATEGORY_KEYS, set(_CATEGORY_KEYS) - optional, _CATEGORY_CODES)
    parts = (
        ("items", _ITEM_KEYS, {"name", "zh", "en", "type"}, _ITEM_CODES),
        ("features", _FEATURE_KEYS, set(_FEATURE_KEYS), _FEATURE_CODES),
    )
    for key, known, required, codes in parts:
        for number, entry in enumerate(document.get(key, ()), start=1):
            where = f"{file}, {key}[{number}]"
            if not isinstance(entry, dict):
                problems.append(Problem("catalogue_wrong_type", where, "must be a table", "应为一个表"))
                continue
            problems += _keys(f"{file}, {key} `{entry.get('name', number)}`", entry, known, required, codes)
    return problems


def _keys(
    where: str,
    entry: Mapping[str, Any],
    known: Mapping[str, type],
    required: set[str],
    codes: Mapping[str, Mapping[str, Any]],
) -> list[Problem]:
    problems = [
        Problem("catalogue_missing_key", where, f"`{key}` is missing; add it", f"缺少 `{key}`，请补充")
        for key in sorted(required - set(entry))
    ]
    for key, value in entry.items():
        if key not in known:
            allowed = ", ".join(known)
            text = f"unknown key `{key}`; use one of: {allowed}", f"未知的键 `{key}`；可用：{allowed}"
            problems.append(Problem("catalogue_unknown_key", where, *text))
        elif not isinstance(value, known[key]) or value == "":
            text = f"`{key}` must be a {known[key].__name__} and not empty", f"`{key}` 类型不符或为空"
            problems.append(Problem("catalogue_wrong_type", where, *text))
        elif key in codes and value not in codes[key]:
            allowed = ", ".join(codes[key])
            text = f"`{key}` must be one of: {allowed}", f"`{key}` 应为其中之一：{allowed}"
            problems.append(Problem("catalogue_bad_code", where, *text))
        elif key in ("name", "id") and not _NAME.fullmatch(value):
            text = f"`{value}` must be lower case letters, digits and _", f"`{value}` 应由小写字母、数字和 _ 组成"
            problems.append(Problem("catalogue_bad_name", where, *text))
    return problems


# ---- rules -----------------------------------------------------------------------------------------------------------


def _rules(documents: Mapping[str, dict[str, Any]]) -> list[Problem]:
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    ids: set[str] = set()
    for file, document in documents.items():
        problems += _prohibited(file, [document["id"], document["zh"], document["en"]])
        if document["id"] in ids:
            text = f"the category `{document['id']}` stands in two files", f"类别 `{document['id']}` 重复"
            problems.append(Problem("catalogue_duplicate", file, *text))
        ids.add(document["id"])
        problems += _item_rules(file, document)
        for feature in document.get("features", ()):
            where = f"{file}, features `{feature['name']}`"
            problems += _prohibited(where, [feature["name"], feature["zh"], feature["en"]])
            if feature["name"] in seen:
                text = f"the name stands in {seen[feature['name']]} already", f"与 {seen[feature['name']]} 重名"
                problems.append(Problem("catalogue_duplicate", where, *text))
            seen[feature["name"]] = file
            problems += _feature_rules(where, document, feature)
    return problems


def _item_rules(file: str, document: dict[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    items = document.get("items", [])
    names = [item["name"] for item in items]
    for item in items:
        where = f"{file}, items `{item['name']}`"
        labels = [text for pair in item.get("codes", {}).values() for text in pair]
        problems += _prohibited(where, [item["name"], item["zh"], item["en"], *item.get("codes", {}), *labels])
        if names.count(item["name"]) > 1 or item["name"] in _RESERVED:
            text = "the name is taken; choose another", "名称已被占用，请另选"
            problems.append(Problem("catalogue_duplicate", where, *text))
        if (item["type"] == "code") != bool(item.get("codes")):
            text = "a code list belongs to the type `code`, and only to it", "代码表仅用于类型 `code`，且必须提供"
            problems.append(Problem("catalogue_codes", where, *text))
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in item.get("codes", {}).values()):
            text = "a code needs its name in Chinese and English", "每个代码须有中英文名称"
            problems.append(Problem("catalogue_codes", where, *text))
        if "repair" in item and document["repair"] != "mask":
            text = "`repair` of an item is for categories with `repair = mask`", "仅当类别 `repair = mask` 时可逐项设置"
            problems.append(Problem("catalogue_repair", where, *text))
    if document["repair"] == "mask" and not any(item.get("repair") == "mask" for item in items):
        text = "a category that is masked needs an item to mask", "屏蔽类别须至少有一个被屏蔽的数据项"
        problems.append(Problem("catalogue_repair", file, *text))
    return problems


def _feature_rules(where: str, document: dict[str, Any], feature: dict[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    words = model.words(feature["sql"])
    for item in document.get("items", ()):
        if item["name"] in words and item.get("sensitivity", document["sensitivity"]) == "C3":
            text = (
                f"reads `{item['name']}`, which is C3: C3 never enters a feature",
                f"读取了 C3 级数据项 `{item['name']}`：C3 级不得进入特征",
            )
            problems.append(Problem("catalogue_sensitive", where, *text))
    if feature["missing"] == "none" and feature["kind"] in ("text", "months_since"):
        text = "zero means nothing for this kind; choose another `missing`", "该类特征不能以零表示缺失"
        problems.append(Problem("catalogue_missing", where, *text))
    return problems


def _prohibited(where: str, texts: Iterable[str]) -> list[Problem]:
    for text in texts:
        concept = forbidden.found(text)
        if concept:
            return [
                Problem(
                    "catalogue_forbidden",
                    where,
                    f"names something that may never be collected ({concept}); remove it",
                    f"涉及禁止采集的信息（{concept}），请删除",
                )
            ]
    return []


# ---- building --------------------------------------------------------------------------------------------------------


def _category(document: dict[str, Any]) -> Category:
    items = tuple(_item(document, entry) for entry in document.get("items", ()))
    features = tuple(_feature(document["id"], items, entry) for entry in document.get("features", ()))
    plain = {key: document[key] for key in _CATEGORY_KEYS if key not in ("items", "features")}
    return Category(**plain, items=items, features=features)


def _item(category: dict[str, Any], entry: dict[str, Any]) -> Item:
    def inherited(key: str) -> Any:
        return entry.get(key, category[key])

    whole = {"drop": "drop", "none": "none", "mask": "keep"}[category["repair"]]
    return Item(
        name=entry["name"],
        zh=entry["zh"],
        en=entry["en"],
        type=entry["type"],
        unit=entry.get("unit", ""),
        codes={code: (names[0], names[1]) for code, names in entry.get("codes", {}).items()},
        use_zh=inherited("use_zh"),
        use_en=inherited("use_en"),
        sharing=inherited("sharing"),
        source=inherited("source"),
        update=inherited("update"),
        retention_months=inherited("retention_months"),
        sensitivity=inherited("sensitivity"),
        repair=entry.get("repair", whole),
    )


def _feature(category: str, items: tuple[Item, ...], entry: dict[str, Any]) -> Feature:
    used = model.words(entry["sql"])
    read = tuple(item for item in items if item.name in used)
    order = list(model.SHARING)
    strictest = max((item.sharing for item in read or items), key=order.index)
    return Feature(
        **{key: entry[key] for key in _FEATURE_KEYS},
        category=category,
        reads=tuple(item.name for item in read),
        sharing=strictest,
    )
