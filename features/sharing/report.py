"""The credit report of one enterprise (R60): features, records in brief and the composite evaluation, as one document.

Owns the document's content and order; `pdf` draws it. The same permit, store and date give the same document. Never
tells a record that is repaired, deleted or disputed, or an item that may not be told.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa

from features.catalogue.model import MISSING, Catalogue, Category, Feature, Item
from features.derive import build
from features.sharing import evaluation
from features.sharing.permit import Permit, SharingRefused, tellable
from features.sharing.query import records
from features.sharing.wording import feature_words, item_words
from features.store.manifest import Snapshot

FORMAT = "creditlab.credit-report/1"
#: Records of a category that are listed, the latest first; all of them are counted.
_LISTED = 20
NOTICE_ZH = "本报告依据截至所列日期已知的公共信用信息生成；已修复、已删除和异议中的记录不列示。仅限许可所载目的使用。"
NOTICE = (
    "Made of public credit information known by the date given; records that are repaired, deleted or disputed are not "
    "shown. For the purpose named in the permit only."
)


def credit_report(
    snapshot: Snapshot, catalogue: Catalogue, permit: Permit, uscc: str, as_of: dt.date, today: dt.date
) -> dict[str, Any]:
    """The document as plain JSON. Raises SharingRefused, EvaluationRefused."""
    permit.check(uscc, "report", today)
    wanted = [one for one in catalogue if one.id in permit.categories]
    for one in wanted:
        permit.covers(one, "report")
    if not wanted:
        raise SharingRefused(
            "sharing_category", "the permit covers no category; ask the gate again", "许可不包含任何类别，请重新申请"
        )
    rules = evaluation.load(catalogue)
    told = {one.id: [each for each in one.features if _shown(permit, one, each)] for one in wanted}
    scored_of = {
        one.id: [name for name in rules.features if catalogue.feature(name).category == one.id] for one in wanted
    }
    # a category that may be told in part only is passed over: points for what was not seen would be no evaluation
    covered = {
        one.id
        for one in wanted
        if one.id not in permit.items and all(_reaches(permit, catalogue.feature(name)) for name in scored_of[one.id])
    }
    scored = [name for category in covered for name in scored_of[category]]
    names = list(dict.fromkeys([*(each.name for group in told.values() for each in group), *scored]))
    spine = pa.table({"uscc": [uscc], "as_of": pa.array([as_of], pa.date32())})
    [values] = build(snapshot, catalogue, spine, names, threads=1).to_pylist()
    return {
        "format": FORMAT,
        "uscc": uscc,
        "as_of": as_of.isoformat(),
        "made_on": today.isoformat(),
        "recipient": permit.recipient,
        "purpose": permit.purpose,
        "usage": permit.usage,
        "catalogue": catalogue.version,
        "notice_zh": NOTICE_ZH,
        "notice": NOTICE,
        "evaluation": evaluation.evaluate(rules, catalogue, values, covered),
        "categories": [_section(snapshot, permit, one, told[one.id], values, as_of) for one in wanted],
    }


def _reaches(permit: Permit, feature: Feature) -> bool:
    """Whether a feature looks no further back than the permit. What stands at the date has no window."""
    return permit.months is None or feature.window <= permit.months


def _shown(permit: Permit, category: Category, feature: Feature) -> bool:
    reads = [name for name in feature.reads if name != "event_date"]
    named = permit.tells(category.id, feature.name) or (
        bool(reads) and all(permit.tells(category.id, name) for name in reads)
    )
    return named and _reaches(permit, feature) and all(tellable(category.item(name), "report") for name in reads)


def _section(
    snapshot: Snapshot, permit: Permit, category: Category, told: list[Feature], values: dict[str, Any], as_of: dt.date
) -> dict[str, Any]:
    items = [item for item in category.items if tellable(item, "report") and permit.tells(category.id, item.name)]
    found = records(snapshot, category, permit.uscc, as_of, [item.name for item in items], permit.since(category))
    listed = found[::-1][:_LISTED]
    return {
        "id": category.id,
        "zh": category.zh,
        "en": category.en,
        "source_zh": category.source_zh,
        "source_en": category.source_en,
        "features": [
            {
                "name": one.name,
                "zh": one.zh,
                "en": one.en,
                "value": values[one.name],
                **dict(zip(("shown_zh", "shown_en"), feature_words(category, one, values[one.name]), strict=True)),
                "missing": None if values[one.name] is not None else one.missing,
                "missing_zh": None if values[one.name] is not None else MISSING[one.missing][0],
            }
            for one in told
        ],
        "records": len(found),
        "items": [{"name": item.name, "zh": item.zh, "en": item.en} for item in items],
        "latest": [{name: _plain(value) for name, value in row.items() if value is not None} for row in listed],
        "shown": [_words(items, row) for row in listed],
    }


def _words(items: list[Item], row: dict[str, Any]) -> dict[str, str]:
    """A record in one line, as a person reads it."""
    told = [(item, *item_words(item, _plain(row[item.name]))) for item in items if row.get(item.name) is not None]
    return {
        "event_date": str(row["event_date"]),
        "zh": "；".join(f"{item.zh}：{zh}" for item, zh, _ in told),
        "en": "; ".join(f"{item.en}: {en}" for item, _, en in told),
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
