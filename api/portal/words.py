"""Codes, times and records in plain words, Chinese first. Pure: takes values, gives texts, decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from api.enterprises.states import Right
from consent.purposes import CATEGORIES, MODE_DEFINITIONS, Mode, Purpose
from consent.times import parse

LANGUAGES = ("zh", "en")
BEIJING = timezone(timedelta(hours=8))
Pair = tuple[str, str]
Translate = Callable[[str, str], str]

PURPOSES: Mapping[Purpose, Pair] = {
    Purpose.JOINT_TRAINING: ("联合建模训练", "Joint model training"),
    Purpose.UNDERWRITING_SCORE: ("融资信用评分", "Credit score for financing"),
    Purpose.POST_LOAN_MONITORING: ("贷后监测", "Monitoring during a loan"),
    Purpose.REPORT_QUERY: ("信用报告查询", "Credit report query"),
}
STATES: Mapping[str, Pair] = {
    "requested": ("待答复", "Waiting for you"),
    "active": ("有效", "Active"),
    "paused": ("已暂停", "Paused"),
    "refused": ("已拒绝", "Refused"),
    "withdrawn": ("已撤回", "Withdrawn"),
    "expired": ("已到期", "Expired"),
}
STEPS: Mapping[str, Pair] = {
    "consent": ("同意授权", "Consent given"),
    "refusal": ("拒绝授权", "Consent refused"),
    "pause": ("暂停授权", "Consent paused"),
    "resume": ("恢复授权", "Consent resumed"),
    "withdraw": ("撤回授权", "Consent withdrawn"),
    "expire": ("授权到期", "Consent ran out"),
}
EVIDENCE: Mapping[str | None, Pair] = {
    "passkey": ("通行密钥签名", "signed with a passkey"),
    "session_code": ("登录会话与一次性验证码，由平台登记", "session and one-time code, registered by the platform"),
    "paper": ("纸质授权", "on paper"),
    "import": ("由其他渠道提交的企业签名文件", "signed document from another channel"),
    None: ("签名文件", "signed document"),
}
OUTCOMES: Mapping[str | None, Pair] = {
    "answered": ("已完成", "done"),
    "failed": ("未成功", "failed"),
    "expired": ("未在时限内完成", "not done in time"),
    None: ("进行中", "under way"),
}
RIGHTS: Mapping[Right, Pair] = {
    Right.VIEW: ("查看", "see everything"),
    Right.DECIDE: ("同意或拒绝", "consent or refuse"),
    Right.WITHDRAW: ("暂停与撤回", "pause and withdraw"),
    Right.MANAGE: ("管理人员", "manage people"),
}


def translator(language: str) -> Translate:
    column = LANGUAGES.index(language)
    return lambda zh, en: (zh, en)[column]


def moment(value: datetime | str, language: str) -> str:
    """A time in Beijing, to the minute."""
    at = (parse(value) if isinstance(value, str) else value).astimezone(BEIJING)
    if language == "zh":
        return f"{at.year}年{at.month}月{at.day}日 {at:%H:%M}"
    return f"{at.day} {at:%B %Y, %H:%M} (Beijing)"


def day(value: datetime | str, language: str) -> str:
    at = (parse(value) if isinstance(value, str) else value).astimezone(BEIJING)
    return f"{at.year}年{at.month}月{at.day}日" if language == "zh" else f"{at.day} {at:%B %Y}"


def data_names(data: Mapping[str, Any], language: str) -> str:
    """The categories of data, in the catalogue's order; “all” when none is missing but those about persons."""
    column = LANGUAGES.index(language)
    names = [CATEGORIES[category][column] for category in CATEGORIES if category in data]
    return ("、", ", ")[column].join(names)


def modes(codes: list[str], language: str) -> list[str]:
    column = LANGUAGES.index(language)
    return [MODE_DEFINITIONS[Mode(code)][column] for code in codes]


def limits(found: Mapping[str, int | None], t: Translate) -> str:
    parts = []
    if found["total"] is not None:
        parts.append(t(f"共 {found['total']} 次", f"{found['total']} times in all"))
    if found["count"] is not None:
        count, days = found["count"], found["period_days"]
        parts.append(t(f"每 {days} 天不超过 {count} 次", f"at most {count} in any {days} days"))
    return t("，", "; ").join(parts) or t("有效期内不限", "not limited within the term")


_BROWSERS = (
    ("Edg/", "Edge"),
    ("MicroMessenger/", "微信 WeChat"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


def device(agent: str, t: Translate) -> str:
    """A browser's own word for itself, shortened to what its owner knows it by."""
    browser = next((name for mark, name in _BROWSERS if mark in agent), t("未知浏览器", "unknown browser"))
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return f"{browser} · {system}" if system else browser


def used(body: Mapping[str, Any], institution: str, language: str) -> str:
    """One usage record (`consent.usage`) as a sentence for the enterprise (R46)."""
    column = LANGUAGES.index(language)
    at, title = moment(body["at"], language), PURPOSES[Purpose(body["purpose"])][column]
    named = dict.fromkeys(code.partition("/")[0] for code in body["content"]["data"])
    data = data_names(named, language)
    way = MODE_DEFINITIONS[Mode(body["content"]["use"])][column]
    if language == "zh":
        return (
            f"{at}，{institution}的 {body['user']} 因“{body['reason']}”使用了贵企业的数据（{data}）。"
            f"用途：{title}。方式：{way}。"
        )
    return (
        f"At {at}, {body['user']} of {institution} used your data ({data}), giving as reason “{body['reason']}”. "
        f"Purpose: {title}. Way of use: {way}."
    )
