"""The notice: the text that an enterprise or a person reads before deciding, made from the document to be signed.

One document and one language give one text, byte for byte, and the document carries the text's SHA-256: what was
shown and what was signed cannot differ. Owns the wording; never judges whether the terms are allowed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from consent.errors import MalformedDocument
from consent.purposes import CATEGORIES, DEFINITIONS, MODE_DEFINITIONS, Mode, Purpose

VERSION = 1
LANGUAGES = ("zh", "en")
STORAGE = {
    "lab_zone": ("信用数据实验室专区", "the credit-data lab's zone"),
    "recipient": ("被授权机构", "the receiving institution"),
}
WITHDRAWAL_METHODS = {
    "portal": ("登录平台", "on the platform's portal"),
    "signed_document": ("提交企业签名的撤回文件", "by a signed withdrawal"),
    "counter": ("服务窗口书面办理", "in writing at a service counter"),
}
_PERSON_ROLES = {
    "sole_trader": ("经营者本人", "the sole trader in person"),
    "legal_representative": ("法定代表人", "legal representative"),
    "controller": ("实际控制人", "actual controller"),
    "key_person": ("主要人员", "key person"),
}
PERSON_ROLES = tuple(_PERSON_ROLES)


class NoticeMismatch(MalformedDocument):
    """The text that the document says was shown is not the text that this document makes."""

    code = "notice_mismatch"


def _data(data: Mapping[str, Any], column: int) -> str:
    parts = []
    for category in CATEGORIES:  # the catalogue's order
        if category in data:
            items = ("全部", "all") if data[category] == "*" else ("、".join(data[category]), ", ".join(data[category]))
            parts.append(CATEGORIES[category][column] + ("（{}）", " ({})")[column].format(items[column]))
    return ("；", "; ")[column].join(parts)


def _limits(limits: Mapping[str, Any], column: int) -> str:
    parts = []
    if limits["total"] is not None:
        parts.append((f"共 {limits['total']} 次", f"{limits['total']} times in all")[column])
    if limits["count"] is not None:
        count, days = limits["count"], limits["period_days"]
        parts.append((f"每 {days} 天不超过 {count} 次", f"at most {count} in any {days} days")[column])
    return ("，", "; ")[column].join(parts) or ("有效期内不限", "not limited within the term")[column]


def _zh(body: Mapping[str, Any]) -> list[str]:
    purpose, modes = Purpose(body["purpose"]), [Mode(mode) for mode in body["modes"]]
    persons = "、".join(_PERSON_ROLES[one["role"]][0] for one in body["persons"])
    withdrawal = "、".join(WITHDRAWAL_METHODS[one][0] for one in body["withdrawal"])
    return [
        "数据使用授权告知书",
        f"授权编号：{body['consent_id']}",
        f"授权企业：{body['enterprise']}",
        f"被授权机构：{body['recipient']}",
        f"数据提供方：{body['provider']}",
        f"用途：{DEFINITIONS[purpose][0]}。仅限支持本企业融资，不得用于其他用途。",
        "使用方式：" + "；".join(MODE_DEFINITIONS[mode][0] for mode in modes),
        "数据范围：" + _data(body["data"], 0),
        f"数据时间范围：使用之时起向前 {body['window_months']} 个月",
        f"机构保存期限：取得之日起 {body['life_days']} 天，期满删除",
        "使用次数：" + _limits(body["limits"], 0),
        "向第三方提供：" + ("、".join(body["onward"]) or "不提供"),
        f"授权有效期：{body['valid_from']} 至 {body['valid_until']}（协调世界时）",
        f"数据存储地点：{STORAGE[body['storage']][0]}",
        "个人单独同意：" + (persons or "不涉及"),
        "替代的原授权：" + (body["supersedes"] or "无"),
        f"撤回方式：{withdrawal}。可随时撤回或暂停，即时生效，不影响此前已完成的使用。",
        "您可以拒绝。拒绝或撤回不影响您使用平台的其他服务；对使用结果可以查询、要求说明和提出异议。",
    ]


def _en(body: Mapping[str, Any]) -> list[str]:
    purpose, modes = Purpose(body["purpose"]), [Mode(mode) for mode in body["modes"]]
    persons = ", ".join(_PERSON_ROLES[one["role"]][1] for one in body["persons"])
    withdrawal = ", ".join(WITHDRAWAL_METHODS[one][1] for one in body["withdrawal"])
    return [
        "Notice on the use of your data",
        f"Consent number: {body['consent_id']}",
        f"Enterprise: {body['enterprise']}",
        f"Receiving institution: {body['recipient']}",
        f"Data provider: {body['provider']}",
        f"Purpose: {DEFINITIONS[purpose][1]}. Only to support the enterprise's financing, for nothing else.",
        "Ways of use: " + "; ".join(MODE_DEFINITIONS[mode][1] for mode in modes),
        "Data: " + _data(body["data"], 1),
        f"How far back: {body['window_months']} months before each use",
        f"Kept by the institution: {body['life_days']} days from receipt, then deleted",
        "Number of uses: " + _limits(body["limits"], 1),
        "Given on to: " + (", ".join(body["onward"]) or "nobody"),
        f"Valid from {body['valid_from']} to {body['valid_until']} (UTC)",
        f"Stored at: {STORAGE[body['storage']][1]}",
        "A person's own consent: " + (persons or "not needed"),
        "Replaces consent: " + (body["supersedes"] or "none"),
        f"How to withdraw: {withdrawal}. You may withdraw or pause at any time; it holds at once and leaves "
        "what was done before untouched.",
        "You may refuse. Refusing or withdrawing costs you no other service of the platform; you may see every use, "
        "have a result explained and contest it.",
    ]


def _person_zh(body: Mapping[str, Any]) -> list[str]:
    purpose, modes = Purpose(body["purpose"]), [Mode(mode) for mode in body["modes"]]
    withdrawal = "、".join(WITHDRAWAL_METHODS[one][0] for one in body["withdrawal"])
    return [
        "个人信息使用告知书（个人单独同意）",
        f"同意编号：{body['consent_id']}",
        f"您的代号：{body['person']}（文件与日志中不出现姓名）",
        f"您的身份：{_PERSON_ROLES[body['role']][0]}",
        f"相关企业：{body['enterprise']}",
        f"个人信息接收方：{body['recipient']}",
        f"数据提供方：{body['provider']}",
        f"用途：{DEFINITIONS[purpose][0]}。仅限支持该企业融资，不得用于其他用途。",
        "使用方式：" + "；".join(MODE_DEFINITIONS[mode][0] for mode in modes),
        "涉及您本人的数据：" + _data(body["data"], 0),
        "必要性与影响：以上数据用于判断该企业的信用状况，可能包含您的敏感个人信息；使用结果可能影响该企业的融资，"
        "不同意则不使用。",
        f"数据时间范围：使用之时起向前 {body['window_months']} 个月",
        f"机构保存期限：取得之日起 {body['life_days']} 天，期满删除",
        "使用次数：" + _limits(body["limits"], 0),
        "向第三方提供：" + ("、".join(body["onward"]) or "不提供"),
        f"同意有效期：{body['valid_from']} 至 {body['valid_until']}（协调世界时）",
        f"数据存储地点：{STORAGE[body['storage']][0]}",
        f"撤回方式：{withdrawal}。可随时撤回，即时生效，不影响此前已完成的使用。撤回后，企业的授权就此用途不再可用。",
        "这是您个人的决定，企业无权代您作出。您可以拒绝，拒绝或撤回不影响您使用平台的其他服务；"
        "您可以查询、复制、更正个人信息并提出异议。",
    ]


def _person_en(body: Mapping[str, Any]) -> list[str]:
    purpose, modes = Purpose(body["purpose"]), [Mode(mode) for mode in body["modes"]]
    withdrawal = ", ".join(WITHDRAWAL_METHODS[one][1] for one in body["withdrawal"])
    return [
        "Notice on the use of your personal information (your own, separate consent)",
        f"Consent number: {body['consent_id']}",
        f"You are named as: {body['person']} (your name stands in no document or log)",
        f"You are: {_PERSON_ROLES[body['role']][1]}",
        f"Enterprise: {body['enterprise']}",
        f"Recipient of the information: {body['recipient']}",
        f"Data provider: {body['provider']}",
        f"Purpose: {DEFINITIONS[purpose][1]}. Only to support the enterprise's financing, for nothing else.",
        "Ways of use: " + "; ".join(MODE_DEFINITIONS[mode][1] for mode in modes),
        "Data about you: " + _data(body["data"], 1),
        "Why, and what it may mean for you: these data help to judge the enterprise's credit and may hold sensitive "
        "personal information; the result may affect the enterprise's financing. Without your consent they are not "
        "used.",
        f"How far back: {body['window_months']} months before each use",
        f"Kept by the institution: {body['life_days']} days from receipt, then deleted",
        "Number of uses: " + _limits(body["limits"], 1),
        "Given on to: " + (", ".join(body["onward"]) or "nobody"),
        f"Valid from {body['valid_from']} to {body['valid_until']} (UTC)",
        f"Stored at: {STORAGE[body['storage']][1]}",
        f"How to withdraw: {withdrawal}. You may withdraw at any time; it holds at once and leaves what was done "
        "before untouched. The enterprise's consent is then of no more use for this purpose.",
        "This is your own decision; the enterprise may not take it for you. You may refuse; refusing or withdrawing "
        "costs you no other service of the platform. You may see, copy and correct your information and contest it.",
    ]


def render(body: Mapping[str, Any], language: str) -> str:
    """The notice of a request, consent or refusal, or a person's own, in `zh` or `en`; lines end in LF.

    Takes no field into the text that is settled only by signing (evidence, time of signing, the notice itself).
    Raises MalformedDocument for an unknown language.
    """
    if language not in LANGUAGES:
        raise MalformedDocument(
            f"notice.language: one of {', '.join(LANGUAGES)} is needed, found {language!r}",
            f"notice.language：应为 {'、'.join(LANGUAGES)} 之一，实为 {language!r}",
        )
    zh, en = (_person_zh, _person_en) if "person" in body else (_zh, _en)
    return "\n".join(zh(body) if language == "zh" else en(body)) + "\n"


def bind(body: Mapping[str, Any], language: str) -> dict[str, Any]:
    """What a document carries of its notice: `sha256` of the text, `language`, `version` of the wording."""
    text = render(body, language)
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "language": language, "version": VERSION}


def check(body: Mapping[str, Any]) -> None:
    """Raises NoticeMismatch unless the document's own terms make the notice whose hash it carries."""
    told = body["notice"]
    if told["version"] != VERSION:
        raise NoticeMismatch(
            f"notice.version: {VERSION} is the wording in use, found {told['version']!r}: show the notice again",
            f"notice.version：现行版本为 {VERSION}，实为 {told['version']!r}，请重新展示告知书",
        )
    if bind(body, told["language"])["sha256"] != told["sha256"]:
        raise NoticeMismatch(
            "notice.sha256: is not that of the notice these terms make: show the notice again and sign anew",
            "notice.sha256：与按本授权条款生成的告知书不符，请重新展示告知书并重新签署",
        )
