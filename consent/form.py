"""The form of terms: what every kind of document checks alike, each fault named by its field, and terms within terms.

Owns the checks of single fields; never says which fields a document has (`artefact`, `person`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consent import notice
from consent.errors import MalformedDocument
from consent.purposes import CATEGORIES, PURPOSE_MODES, Mode, Purpose
from consent.times import BadTime, parse

Body = dict[str, Any]
MAX_DAYS = 36_500
MAX_MONTHS = 1200
MAX_COUNT = 1_000_000
MAX_ONWARD = 32
MAX_ITEMS = 256

# no control characters, line breaks or marks that turn the direction of writing: the notice must read as it is
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]{1,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ITEM = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a document: what it means, and its element in ISO/IEC TS 27560:2023."""

    name: str
    zh: str
    en: str
    iso27560: str


def wrong(field: str, needed: str, needed_zh: str, found: Any) -> MalformedDocument:
    shown = repr(found)[:80]
    return MalformedDocument(f"{field}: {needed}, found {shown}", f"{field}：{needed_zh}，实为 {shown}")


def fields_of(body: Any, kind: str, expected: frozenset[str], version: int) -> Body:
    if not isinstance(body, dict):
        raise MalformedDocument(f"{kind}: an object is needed", f"{kind}：应为对象")
    if missing := sorted(expected - body.keys()):
        raise MalformedDocument(f"{kind}: field {missing[0]} is missing", f"{kind}：缺少字段 {missing[0]}")
    if extra := sorted(str(name) for name in body.keys() - expected):
        raise MalformedDocument(f"{kind}: field {extra[0]} is not known", f"{kind}：未知字段 {extra[0]}")
    if body["type"] != kind:
        raise wrong("type", f"{kind} is needed", f"应为 {kind}", body["type"])
    if body["version"] != version or isinstance(body["version"], bool):
        raise wrong("version", f"{version} is needed", f"应为 {version}", body["version"])
    return body


def text(body: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(body[name], str) or not _TEXT.fullmatch(body[name]):
            raise wrong(name, "1 to 128 printable characters are needed", "应为 1 至 128 个可见字符", body[name])


def one_of(value: Any, choices: Sequence[str], field: str) -> None:
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(choices)
        raise wrong(field, f"one of {listed} is needed", f"应为 {listed} 之一", value)


def whole(value: Any, low: int, high: int, field: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise wrong(field, f"a whole number from {low} to {high} is needed", f"应为 {low} 至 {high} 的整数", value)


def list_of(value: Any, choices: Sequence[str], field: str) -> None:
    """A list without repetition, not empty, out of `choices`."""
    if not isinstance(value, list) or not value:
        raise wrong(field, "a list is needed", "应为非空列表", value)
    for one in value:
        one_of(one, choices, field)
    if len(set(value)) != len(value):
        raise wrong(field, "each may stand once", "不得重复", value)


def sha256(value: Any, field: str) -> None:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise wrong(field, "64 hex digits are needed", "应为 64 位十六进制", value)


def time(value: Any, field: str) -> None:
    try:
        parse(value)
    except BadTime as error:
        raise MalformedDocument(f"{field}: {error}", f"{field}：应形如 2026-01-31T08:00:00Z") from error


def object_of(value: Any, names: tuple[str, ...], field: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        listed = ", ".join(names)
        raise wrong(field, f"an object of {listed} is needed", f"应为含 {listed} 的对象", value)
    return value


def check_data(data: Any) -> None:
    if not isinstance(data, dict) or not data:
        raise wrong("data", "an object of categories is needed", "应为按类别列出的对象", data)
    for category, items in data.items():
        one_of(category, tuple(CATEGORIES), "data")
        if items == "*":
            continue
        if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS or items != sorted({str(i) for i in items}):
            raise wrong(f"data.{category}", "* or a sorted list of item codes is needed", "应为 * 或排序的代码", items)
        for item in items:
            if not _ITEM.fullmatch(item):
                raise wrong(f"data.{category}", "an item code is needed", "应为数据项代码", item)


def check_limits(limits: Any) -> None:
    object_of(limits, ("total", "count", "period_days"), "limits")
    for name in ("total", "count"):
        if limits[name] is not None:
            whole(limits[name], 1, MAX_COUNT, f"limits.{name}")
    if limits["period_days"] is not None:
        whole(limits["period_days"], 1, MAX_DAYS, "limits.period_days")
    if (limits["count"] is None) != (limits["period_days"] is None):
        raise wrong("limits", "count and period_days stand together", "count 与 period_days 须同时给出", limits)


def check_scope(body: Body) -> None:
    """Purpose, uses, data, bounds and term: what an enterprise and a person agree to alike."""
    one_of(body["purpose"], tuple(Purpose), "purpose")
    list_of(body["modes"], tuple(Mode), "modes")
    allowed = PURPOSE_MODES[Purpose(body["purpose"])]
    if foreign := [mode for mode in body["modes"] if mode not in allowed]:
        listed = ", ".join(allowed)
        raise wrong("modes", f"{body['purpose']} may carry {listed} only", f"该用途仅可含 {listed}", foreign[0])
    check_data(body["data"])
    whole(body["window_months"], 1, MAX_MONTHS, "window_months")
    whole(body["life_days"], 1, MAX_DAYS, "life_days")
    check_limits(body["limits"])
    onward = body["onward"]
    if not isinstance(onward, list) or len(onward) > MAX_ONWARD or onward != sorted({str(one) for one in onward}):
        raise wrong("onward", f"a sorted list of at most {MAX_ONWARD} recipients is needed", "应为排序的名单", onward)
    for name in onward:
        text({"onward": name}, "onward")
    time(body["valid_from"], "valid_from")
    time(body["valid_until"], "valid_until")
    if body["valid_from"] >= body["valid_until"]:
        raise MalformedDocument("valid_until: must be after valid_from", "valid_until：必须晚于 valid_from")
    one_of(body["storage"], tuple(notice.STORAGE), "storage")
    list_of(body["withdrawal"], tuple(notice.WITHDRAWAL_METHODS), "withdrawal")


def check_notice(body: Body) -> None:
    told = object_of(body["notice"], ("sha256", "language", "version"), "notice")
    sha256(told["sha256"], "notice.sha256")
    notice.check(body)


def check_evidence(evidence: Any, kinds: Sequence[str]) -> None:
    found = object_of(evidence, ("kind", "reference"), "evidence")
    one_of(found["kind"], kinds, "evidence.kind")
    sha256(found["reference"], "evidence.reference")


# ---- terms within terms --------------------------------------------------------------------------------------------


def covers(consented: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """None when `wanted` data lie within `consented` ones (both as the field `data`), else the first that does not."""
    for category in sorted(wanted):
        have, want = consented.get(category), wanted[category]
        if have == "*":
            continue
        if have is None or want == "*":
            return f"{category}/*" if want == "*" else f"{category}/{want[0]}"
        for item in want:
            if item not in have:
                return f"{category}/{item}"
    return None


def no_more(limit: int | None, wanted: int | None) -> bool:
    """Whether `wanted` is within `limit`; None means without limit."""
    return limit is None or (wanted is not None and wanted <= limit)


def frequency_within(limits: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether `wanted` count per period is no more often than `limits` allow.

    The same number in a longer period is less often; in a shorter one it is not, whatever the average says.
    """
    if limits["count"] is None:
        return True
    if wanted["count"] is None:
        return False
    return bool(wanted["count"] <= limits["count"] and wanted["period_days"] >= limits["period_days"])
