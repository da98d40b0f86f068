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
    "cancelled": ("已由机构取消", "Taken back by the institution"),
}
STEPS: Mapping[str, Pair] = {
    "consent": ("同意授权", "Consent given"),
    "refusal": ("拒绝授权", "Consent refused"),
    "pause": ("暂停授权", "Consent paused"),
    "resume": ("恢复授权", "Consent resumed"),
    "withdraw": ("撤回授权", "Consent withdrawn"),
    "expire": ("授权到期", "Consent ran out"),
    "person_consent": ("本人同意", "Your own consent given"),
    "person_refusal": ("本人不同意", "Your own consent refused"),
    "person_withdrawal": ("本人撤回同意", "Your own consent withdrawn"),
    "person_expiry": ("本人同意到期", "Your own consent ran out"),
}
EVIDENCE: Mapping[str | None, Pair] = {
    "passkey": ("通行密钥签名", "signed with a passkey"),
    "session_code": ("登录会话与一次性验证码，由平台登记", "session and one-time code, registered by the platform"),
    "paper": ("纸质授权", "on paper"),
    "import": ("由其他渠道提交的企业签名文件", "signed document from another channel"),
    None: ("签名文件", "signed document"),
}
ROLES: Mapping[str, Pair] = {
    "sole_trader": ("个体工商户经营者", "Sole trader"),
    "legal_representative": ("法定代表人", "Legal representative"),
    "controller": ("实际控制人", "Actual controller"),
    "key_person": ("主要人员", "Key person"),
}
OUTCOMES: Mapping[str | None, Pair] = {
    "answered": ("已完成", "done"),
    "failed": ("未成功", "failed"),
    "expired": ("未在时限内完成", "not done in time"),
    None: ("进行中", "under way"),
}
DISPUTES: Mapping[str, Pair] = {
    "open": ("等待答复", "Waiting for an answer"),
    "answered": ("已答复，请确认", "Answered: please decide"),
    "closed": ("已了结", "Settled"),
    "withdrawn": ("已撤销", "Taken back"),
}
KINDS: Mapping[str, Pair] = {
    "dispute": ("异议", "Dispute"),
    "complaint": ("投诉", "Complaint"),
}
# what became of a model that rests on a withdrawn consent, by the state of its newest release
MODELS: Mapping[str | None, Pair] = {
    "released": (
        "仍在使用。撤回的企业达到一定比例时通知银行剔除后重新训练，超过上限即召回。",
        "Still in use. Once enough have withdrawn the bank is told to train it anew; beyond a limit it is recalled.",
    ),
    "recalled": ("已召回，不再使用。", "Recalled: it is used no more."),
    None: ("未投入使用。", "Never put to use."),
}
# what an enterprise is told, by the exact kind or by the word it begins with
NOTICES: Mapping[str, Pair] = {
    "request": (
        "有机构请求使用贵企业的数据，等待您答复。",
        "An institution asks to use your data and waits for your answer.",
    ),
    "request_expired": (
        "一项请求因未答复而到期，未产生任何授权。",
        "A request ran out unanswered. No consent came of it.",
    ),
    "request_cancelled": ("机构取消了一项尚未答复的请求。", "The institution took a request back before you answered."),
    "dispute": ("您的异议有新进展。", "There is news of your dispute."),
    "dispute_open": ("您的异议已受理，开始计时。", "Your dispute is on record; its clock runs."),
    "dispute_answered": ("您的异议已得到答复。", "Your dispute was answered."),
    "complaint": ("您的投诉有新进展。", "There is news of your complaint."),
    "complaint_open": ("您的投诉已受理，开始计时。", "Your complaint is on record; its clock runs."),
    "complaint_answered": ("您的投诉已得到答复。", "Your complaint was answered."),
    "application": ("您的融资申请有新进展。", "There is news of your application for financing."),
    "referral": ("银行对您的融资申请有新的处理。", "A bank has dealt with your application."),
    "need": ("有机构申领了您公开的融资需求。", "An institution has asked for your open need."),
    "mediation": ("授信争议的调解有新进展。", "There is news of the mediation over your credit."),
    "credit": ("您的授信有新进展。", "There is news of your credit."),
    "guarantee": ("您的担保申请有新进展。", "There is news of your application for a guarantee."),
    "question": ("您的提问已得到答复。", "Your question was answered."),
    "policy": ("有一项政策可能适用于贵企业。", "A policy may be meant for you."),
    "correction": ("平台请您核对并更正信息。", "You are asked to check your information and correct it."),
    "message": ("您有一条新消息。", "You have a new message."),
    "person": ("相关个人对单独同意作出了答复。", "A person answered a request for the own consent."),
    "person_withdrawn": (
        "相关个人撤回了单独同意，贵企业的相应授权不再可用。",
        "A person withdrew the own consent; the enterprise's consent is of no more use for it.",
    ),
    "person_expired": (
        "相关个人的单独同意已到期，须由本人重新同意，贵企业的相应授权方可再用。",
        "A person's own consent has run out; until it is given anew the enterprise's is of no use for it.",
    ),
    "clock": ("一项办理事项的时限临近或已过。", "The time for something under way is nearly or wholly over."),
    "": ("平台有新的消息，请联系平台运营方了解详情。", "There is news for you: ask the operator."),
}
RIGHTS: Mapping[Right, Pair] = {
    Right.VIEW: ("查看", "see everything"),
    Right.DECIDE: ("同意或拒绝", "consent or refuse"),
    Right.WITHDRAW: ("暂停与撤回", "pause and withdraw"),
    Right.MANAGE: ("管理人员", "manage people"),
}


def notice(kind: str) -> Pair:
    """What a notice says."""
    return NOTICES.get(kind) or NOTICES.get(kind.partition("_")[0]) or NOTICES[""]


# by what an object's number begins with
_PAGES = {"d-": "disputes", "ec-": "corrections", "ap-": "financing", "rf-": "financing/referrals"}


def notice_link(kind: str, object_id: str) -> str | None:
    """The page that a notice is about, where the portal has one."""
    if kind == "request":
        return f"/portal/requests/{object_id}"
    folder = next((found for mark, found in _PAGES.items() if object_id.startswith(mark)), None)
    return None if folder is None else f"/portal/{folder}/{object_id}"


def model_state(release_state: str | None, language: str) -> str:
    """What became of a model, in one sentence; a release that is neither in service nor recalled put it to no use."""
    known = release_state if release_state in MODELS else None
    return MODELS[known][LANGUAGES.index(language)]


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
