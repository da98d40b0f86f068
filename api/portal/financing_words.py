"""Financing in plain words, Chinese first: states, deadlines, amounts, places, and what a field wants. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from api.clocks.schemas import ClockOut
from api.financing import CLASSES, GUARANTEES, MODULES, SIZES
from api.portal.words import LANGUAGES, Pair, day
from api.workdays import workdays_between

__all__ = ["CLASSES", "GUARANTEES", "MODULES", "SIZES"]

STATES: Mapping[str, Pair] = {
    "draft": ("草稿，尚未提交", "Draft, not sent yet"),
    "submitted": ("平台审核中", "With the platform for review"),
    "returned": ("退回修改", "Returned to you"),
    "pushed": ("机构办理中", "With institutions"),
    "closed": ("已办结", "Finished"),
    "withdrawn": ("已撤回", "Taken back"),
}
REFERRALS: Mapping[str, Pair] = {
    "received": ("等待机构受理", "Waiting for the institution"),
    "accepted": ("已受理", "Taken up"),
    "refused": ("未受理", "Not taken up"),
    "followed_up": ("已对接，审批中", "Met; being decided"),
    "approved": ("已批准", "Approved"),
    "declined": ("未获批准", "Declined"),
    "granted": ("已授信", "Credit granted"),
    "withdrawn": ("已撤回", "Taken back"),
}
CREDITS: Mapping[str, Pair] = {
    "granted": ("已授信，未放款", "Granted, not paid out"),
    "normal": ("正常", "Normal"),
    "special_mention": ("关注", "Special mention"),
    "overdue": ("逾期", "Overdue"),
    "settled": ("已结清", "Settled"),
    "written_off": ("已核销", "Written off"),
    "lapsed": ("已终止", "Lapsed"),
}
# how a state looks: needs the enterprise, goes on elsewhere, went well, ended otherwise
LOOKS: Mapping[str, str] = {
    **dict.fromkeys(("draft", "returned", "special_mention"), "open"),
    **dict.fromkeys(("submitted", "pushed", "received", "accepted", "followed_up"), "going"),
    **dict.fromkeys(("approved", "granted", "closed", "normal", "settled"), "active"),
    **dict.fromkeys(("refused", "declined", "overdue", "written_off"), "refused"),
    **dict.fromkeys(("withdrawn", "lapsed"), "over"),
}
CORRECTIONS: Mapping[str, Pair] = {
    "prompted": ("等待您更正", "Waiting for you"),
    "corrected": ("已更正，待机构确认", "Corrected; the institution checks"),
    "closed": ("已了结", "Settled"),
    "withdrawn": ("机构已撤回", "Taken back by the institution"),
}
# what the one who must act has to do, by the kind of clock
MUST: Mapping[str, Pair] = {
    "accept": ("机构受理或答复", "The institution takes it up or answers"),
    "follow_up": ("机构与您对接", "The institution meets you"),
    "report": ("机构报送授信结果", "The institution reports the result"),
}
# what is asked of an application, and what is wrong with a field
FIELDS: Mapping[str, tuple[Pair, Pair]] = {
    "amount": (
        ("金额", "Amount"),
        ("请填写大于 0 的金额，单位为元，至多两位小数。", "Give an amount above 0 in yuan, with two decimals at most."),
    ),
    "term_months": (("期限", "Term"), ("请填写 1 至 480 之间的整数月数。", "Give whole months from 1 to 480.")),
    "rate_most": (
        ("可接受的最高年利率", "Highest rate a year"),
        ("请填写 0 至 36 之间的百分数，或留空。", "Give a percentage from 0 to 36, or leave it empty."),
    ),
    "purpose": (("用途", "Purpose"), ("请写明用途，至多 2000 个字符。", "Say what for, in at most 2000 characters.")),
    "repayment": (
        ("还款来源", "Source of repayment"),
        ("请写明还款来源，至多 2000 个字符。", "Say from what it is repaid, in at most 2000 characters."),
    ),
    "guarantees": (("担保方式", "Security"), ("请至少选择一种担保方式。", "Choose one way to secure it at least.")),
    "product_class": (("融资类别", "Class"), ("请选择融资类别。", "Choose a class.")),
    "profile": (
        ("企业基本信息", "Basic information"),
        ("请先填写企业基本信息。", "Fill in the basic information first."),
    ),
    "region": (
        ("所在地区代码", "Code of the region"),
        ("请填写六位行政区划代码。", "Give the six digits of the region."),
    ),
    "industry": (
        ("所属行业", "Industry"),
        (
            "请选择行业门类；细分代码为至多四位数字，可留空。",
            "Choose the section; the finer code has four digits at most.",
        ),
    ),
    "size": (("企业规模", "Size"), ("请选择企业规模。", "Choose the size.")),
    "established_on": (("成立日期", "Founded on"), ("请填写成立日期。", "Give the day it was founded.")),
    "employees": (("从业人数", "Employees"), ("请填写从业人数，整数。", "Give a whole number of people.")),
    "annual_revenue": (
        ("上年营业收入", "Revenue of last year"),
        ("请填写金额，单位为元，可以为 0。", "Give an amount in yuan; it may be 0."),
    ),
    "address": (
        ("经营地址", "Address"),
        ("请填写经营地址，至多 128 个字符。", "Give the address, at most 128 characters."),
    ),
    "contact_name": (("联系人", "Contact person"), ("请填写联系人。", "Name somebody.")),
    "contact": (("联系方式", "Telephone or mail"), ("请填写联系方式。", "Say how they are reached.")),
    "certifications": (("资质", "Certifications"), ("资质选项无效。", "This certification is not known.")),
}
CERTIFICATIONS: Mapping[str, Pair] = {
    "high_tech": ("高新技术企业", "High-tech enterprise"),
    "specialized_new": ("专精特新中小企业", "Specialised and new"),
    "little_giant": ("专精特新“小巨人”", "Little giant"),
}
# GB/T 4754-2017
SECTIONS: Mapping[str, Pair] = {
    "A": ("农、林、牧、渔业", "Agriculture, forestry, fishing"),
    "B": ("采矿业", "Mining"),
    "C": ("制造业", "Manufacturing"),
    "D": ("电力、热力、燃气及水生产和供应业", "Electricity, heat, gas, water"),
    "E": ("建筑业", "Construction"),
    "F": ("批发和零售业", "Wholesale and retail"),
    "G": ("交通运输、仓储和邮政业", "Transport, storage, post"),
    "H": ("住宿和餐饮业", "Hotels and catering"),
    "I": ("信息传输、软件和信息技术服务业", "Information and software"),
    "J": ("金融业", "Finance"),
    "K": ("房地产业", "Real estate"),
    "L": ("租赁和商务服务业", "Leasing and business services"),
    "M": ("科学研究和技术服务业", "Research and technical services"),
    "N": ("水利、环境和公共设施管理业", "Water, environment, public facilities"),
    "O": ("居民服务、修理和其他服务业", "Services to households, repair"),
    "P": ("教育", "Education"),
    "Q": ("卫生和社会工作", "Health and social work"),
    "R": ("文化、体育和娱乐业", "Culture, sports, entertainment"),
    "S": ("公共管理、社会保障和社会组织", "Public administration"),
    "T": ("国际组织", "International organisations"),
}
# GB/T 2260, by the first two digits
PROVINCES: Mapping[str, Pair] = {
    "11": ("北京", "Beijing"), "12": ("天津", "Tianjin"), "13": ("河北", "Hebei"), "14": ("山西", "Shanxi"),
    "15": ("内蒙古", "Inner Mongolia"), "21": ("辽宁", "Liaoning"), "22": ("吉林", "Jilin"),
    "23": ("黑龙江", "Heilongjiang"), "31": ("上海", "Shanghai"), "32": ("江苏", "Jiangsu"),
    "33": ("浙江", "Zhejiang"), "34": ("安徽", "Anhui"), "35": ("福建", "Fujian"), "36": ("江西", "Jiangxi"),
    "37": ("山东", "Shandong"), "41": ("河南", "Henan"), "42": ("湖北", "Hubei"), "43": ("湖南", "Hunan"),
    "44": ("广东", "Guangdong"), "45": ("广西", "Guangxi"), "46": ("海南", "Hainan"), "50": ("重庆", "Chongqing"),
    "51": ("四川", "Sichuan"), "52": ("贵州", "Guizhou"), "53": ("云南", "Yunnan"), "54": ("西藏", "Tibet"),
    "61": ("陕西", "Shaanxi"), "62": ("甘肃", "Gansu"), "63": ("青海", "Qinghai"), "64": ("宁夏", "Ningxia"),
    "65": ("新疆", "Xinjiang"), "71": ("台湾", "Taiwan"), "81": ("香港", "Hong Kong"), "82": ("澳门", "Macao"),
}  # fmt: skip


def plain(value: Decimal) -> str:
    """A number as a person writes it: no zeros that say nothing."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _grouped(value: Decimal) -> str:
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def yuan(value: Decimal | None, language: str) -> str:
    """An amount: in units of ten thousand where Chinese counts so."""
    if value is None:
        return "—"
    if language == "zh":
        return f"{_grouped(value / 10_000)} 万元" if value >= 10_000 else f"{_grouped(value)} 元"
    return f"CNY {_grouped(value)}"


def yuan_range(low: Decimal, high: Decimal, language: str) -> str:
    return f"{yuan(low, language)} – {yuan(high, language)}"


def rates(low: Decimal, high: Decimal) -> str:
    return f"{plain(low)}%" if low == high else f"{plain(low)}% – {plain(high)}%"


def months(count: int | None, language: str) -> str:
    if count is None:
        return "—"
    return f"{count} 个月" if language == "zh" else f"{count} months"


def named(table: Mapping[str, Pair], codes: list[str], language: str) -> str:
    column = LANGUAGES.index(language)
    return ("、", ", ")[column].join(table[code][column] for code in codes)


def places(codes: list[str], language: str) -> str:
    """Provinces by name, what is narrower with its code; nothing named: everywhere."""
    column = LANGUAGES.index(language)
    found = []
    for code in codes:
        name = PROVINCES.get(code[:2], (code, code))[column]
        found.append(name if code.endswith("0000") else f"{name} {code}")
    return ("、", ", ")[column].join(found) or ("不限", "everywhere")[column]


def industries(codes: list[str], language: str) -> str:
    column = LANGUAGES.index(language)
    found = [f"{SECTIONS[code[0]][column]}{'' if len(code) == 1 else f' {code}'}" for code in codes]
    return ("、", ", ")[column].join(found) or ("不限", "any")[column]


def until(due_at: datetime, now: datetime, language: str) -> str:
    """Until when, by the last day that counts, and how many working days that leaves; or that it is over."""
    last = day(due_at - timedelta(seconds=1), language)
    if due_at <= now:
        return f"已逾期，应于 {last} 前完成" if language == "zh" else f"late: it was due by {last}"
    left = workdays_between(now, due_at - timedelta(seconds=1))
    if language == "zh":
        return f"最迟 {last}，还有 {left} 个工作日" if left else f"最迟 {last}，今日到期"
    return f"by {last}, {left} working days left" if left else f"by {last}, due today"


def clock(row: ClockOut, now: datetime, language: str) -> str:
    """A running deadline as a sentence: who must do what until when."""
    what = MUST.get(row.kind, (row.kind_zh, row.kind_en))[LANGUAGES.index(language)]
    return f"{what}{'：' if language == 'zh' else ': '}{until(row.due_at, now, language)}"
