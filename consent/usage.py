"""The usage record: the body that answers, for every use of credit data, the seven questions of R46.

Who (user and institution), when, why (reason), what (content), on whom (object), what for (purpose); and under which
consent, job, release and permit. Content is told by codes and digests, so a record never carries business data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from consent.errors import MalformedDocument
from consent.purposes import CATEGORIES, DEFINITIONS, MODE_DEFINITIONS, PURPOSE_MODES, Mode, Purpose
from consent.times import BadTime, parse

VERSION = 1
Body = dict[str, Any]
OBJECTS = ("enterprise", "job")

_FIELDS = frozenset(
    [
        "type", "version", "usage_id", "at", "user", "institution", "reason", "content", "object", "purpose",
        "consent_id", "job_id", "release_id", "permit_id",
    ]
)  # fmt: skip
_CONTENT = frozenset({"use", "data", "sha256"})
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}")
_CODE = re.compile(r"([a-z][a-z0-9_]{0,63})/(\*|[a-z][a-z0-9_]{0,63})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def usage(
    *,
    usage_id: str,
    at: str,
    user: str,
    institution: str,
    reason: str,
    use: Mode | str,
    purpose: Purpose | str,
    object_kind: str,
    object_id: str,
    data: Mapping[str, Any],
    sha256: str | None = None,
    consent_id: str | None = None,
    job_id: str | None = None,
    release_id: str | None = None,
    permit_id: str | None = None,
) -> Body:
    """Body of a usage record. `data` as in the artefact; `sha256` of the model or report that was used or given out.

    Raises MalformedDocument naming the field.
    """
    body = {
        "type": "usage",
        "version": VERSION,
        "usage_id": usage_id,
        "at": at,
        "user": user,
        "institution": institution,
        "reason": reason,
        "content": {"use": str(use), "data": codes(data), "sha256": sha256},
        "object": {"kind": object_kind, "id": object_id},
        "purpose": str(purpose),
        "consent_id": consent_id,
        "job_id": job_id,
        "release_id": release_id,
        "permit_id": permit_id,
    }
    check(body)
    return body


def codes(data: Mapping[str, Any]) -> list[str]:
    """Categories and items (the artefact's field `data`) as a record has them: sorted category/item or category/*."""
    return sorted(
        f"{category}/{item}" for category, items in data.items() for item in (["*"] if items == "*" else items)
    )


def _wrong(field: str, needed: str, needed_zh: str) -> MalformedDocument:
    # what was found is not repeated: it may be the very data that do not belong here
    return MalformedDocument(f"{field}: {needed}", f"{field}：{needed_zh}")


def _text(value: Any, field: str) -> None:
    if not isinstance(value, str) or not _TEXT.fullmatch(value):
        raise _wrong(field, "1 to 200 printable characters on one line are needed", "应为 1 至 200 个可见字符")


def _keys(value: Any, expected: frozenset[str], field: str) -> None:
    if not isinstance(value, dict) or value.keys() != expected:
        listed = ", ".join(sorted(expected))
        raise _wrong(field, f"exactly the fields {listed} are needed", f"应恰好含字段 {listed}")


def check(body: Any) -> None:
    """Raises MalformedDocument unless `body` is a well-formed usage record."""
    _keys(body, _FIELDS, "usage")
    if body["type"] != "usage" or body["version"] != VERSION:
        raise _wrong("type/version", f"a usage record of version {VERSION} is needed", f"应为第 {VERSION} 版使用记录")
    for name in ("usage_id", "user", "institution", "reason"):
        _text(body[name], name)
    for name in ("consent_id", "job_id", "release_id", "permit_id"):
        if body[name] is not None:
            _text(body[name], name)
    try:
        parse(body["at"])
    except BadTime as error:
        raise _wrong("at", "a time like 2026-01-31T08:00:00Z is needed", "应形如 2026-01-31T08:00:00Z") from error
    if body["purpose"] not in tuple(Purpose):
        raise _wrong("purpose", f"one of {', '.join(Purpose)} is needed", f"应为 {'、'.join(Purpose)} 之一")
    _check_content(body)
    _keys(body["object"], frozenset({"kind", "id"}), "object")
    if body["object"]["kind"] not in OBJECTS:
        raise _wrong("object.kind", f"one of {', '.join(OBJECTS)} is needed", f"应为 {'、'.join(OBJECTS)} 之一")
    _text(body["object"]["id"], "object.id")
    if body["object"]["kind"] == "enterprise" and body["consent_id"] is None:
        raise _wrong("consent_id", "a use of an enterprise's data names its consent", "使用企业数据须注明授权编号")
    if body["object"]["kind"] == "job" and body["job_id"] != body["object"]["id"]:
        raise _wrong("job_id", "the job that is the object is needed", "应为所涉作业的编号")


def _check_content(body: Body) -> None:
    content = body["content"]
    _keys(content, _CONTENT, "content")
    allowed = PURPOSE_MODES[Purpose(body["purpose"])]
    if content["use"] not in tuple(allowed):
        raise _wrong("content.use", f"one of {', '.join(allowed)} is needed", f"应为 {'、'.join(allowed)} 之一")
    data = content["data"]
    if not isinstance(data, list) or not data or data != sorted({str(one) for one in data}):
        raise _wrong("content.data", "a sorted list of category/item codes is needed", "应为排序的数据项代码")
    for code in data:
        found = _CODE.fullmatch(code)
        if found is None or found[1] not in CATEGORIES:
            raise _wrong("content.data", "codes are category/item or category/*", "代码应为 类别/数据项 或 类别/*")
    if content["sha256"] is not None and not (
        isinstance(content["sha256"], str) and _SHA256.fullmatch(content["sha256"])
    ):
        raise _wrong("content.sha256", "64 hex digits are needed", "应为 64 位十六进制")


def sentence(body: Body) -> tuple[str, str]:
    """The record in plain words for the enterprise, (Chinese, English)."""
    purpose, use = Purpose(body["purpose"]), Mode(body["content"]["use"])
    names = list(dict.fromkeys(code.partition("/")[0] for code in body["content"]["data"]))
    zh = "、".join(CATEGORIES[name][0] for name in names)
    en = ", ".join(CATEGORIES[name][1] for name in names)
    return (
        f"{body['at']}，{body['institution']} 的 {body['user']} 因“{body['reason']}”使用了贵企业的数据（{zh}）。"
        f"方式：{MODE_DEFINITIONS[use][0]}。用途：{DEFINITIONS[purpose][0]}。",
        f"At {body['at']}, {body['user']} of {body['institution']} used your data ({en}), giving as reason "
        f"“{body['reason']}”. Way of use: {MODE_DEFINITIONS[use][1]}. Purpose: {DEFINITIONS[purpose][1]}.",
    )
