"""What can be wrong with a cell or a row, and what to do about it, in two languages.

Owns the wording of an error report. Never quotes the value of a cell: a report travels further than the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """`{…}` are filled from the fault's parameters."""

    what_zh: str
    what: str
    remedy_zh: str
    remedy: str


WORDINGS: Mapping[str, Wording] = {
    "row_broken": Wording(
        "该行不能按表头拆分为各列",
        "the row cannot be cut into the columns of the heading",
        "请为含分隔符的字段加引号；JSON 每行一个对象，值为文本、数字或是否",
        "quote fields that contain the separator; in JSON lines, one object a line with plain values",
    ),
    "required": Wording("必填项为空", "a required value is empty", "请补充", "fill it in"),
    "required_when": Wording(
        "当 {other} 为 {codes} 时必填",
        "required where {other} is {codes}",
        "请补充，或改正 {other}",
        "fill it in, or correct {other}",
    ),
    "not_integer": Wording(
        "不是整数",
        "not a whole number",
        "请只填数字，不带单位和千分位",
        "write digits only, without unit or separators",
    ),
    "not_decimal": Wording(
        "不是最多两位小数的数",
        "not a number with at most two decimals",
        "请只填数字，最多两位小数，不带单位、千分位和指数",
        "write digits with at most two decimals, without unit, separators or exponent",
    ),
    "not_number": Wording(
        "不是数",
        "not a number",
        "请只填数字，不带单位、千分位和百分号",
        "write digits only, without unit, separators or percent sign",
    ),
    "not_date": Wording("不是有效日期", "not a date of the calendar", "请写作 YYYY-MM-DD", "write YYYY-MM-DD"),
    "not_time": Wording(
        "不是有效时间", "not a time", "请写作 YYYY-MM-DD HH:MM:SS，不带时区", "write YYYY-MM-DD HH:MM:SS, without zone"
    ),
    "not_boolean": Wording(
        "不是“是/否”",
        "neither yes nor no",
        "请写 true 或 false（也可写 1、0、是、否）",
        "write true or false (or 1, 0, 是, 否)",
    ),
    "not_code": Wording("不在代码表中", "not in the code list", "请使用代码：{codes}", "use one of the codes: {codes}"),
    "not_text": Wording(
        "文本过长或含控制字符",
        "text too long or with control characters",
        "请控制在 {limit} 个字符以内并去除换行等字符",
        "keep to {limit} characters and remove breaks and the like",
    ),
    "out_of_range": Wording(
        "超出允许范围（{low} 至 {high}）",
        "outside the allowed range ({low} to {high})",
        "请核对数值和单位",
        "check number and unit",
    ),
    "pattern": Wording(
        "不符合规定格式", "not of the required form", "请按格式 {pattern} 填写", "write it in the form {pattern}"
    ),
    "date_future": Wording(
        "日期晚于归集之日", "the date lies after the day of collection", "请核对日期", "check the date"
    ),
    "date_too_early": Wording("日期早于 1900-01-01", "the date lies before 1900-01-01", "请核对日期", "check the date"),
    "date_order": Wording("{first} 晚于 {second}", "{first} lies after {second}", "请核对两个日期", "check both dates"),
    "month_end": Wording(
        "按月归集的记录，事件日期应为月末日",
        "the event date of a monthly record is the last day of its month",
        "请改为所属月份的最后一天",
        "give the last day of the month that the record is about",
    ),
    "known_too_late": Wording(
        "知悉时间晚于归集时间，或早于事件日期",
        "known later than it was collected, or before it happened",
        "请核对知悉时间",
        "check the time of becoming known",
    ),
    "op_unknown": Wording("操作类型未知", "unknown kind of event", "请使用：{ops}", "use one of: {ops}"),
    "op_no_repair": Wording(
        "该类记录不适用信用修复",
        "records of this category cannot be repaired",
        "请使用更正（correct）或删除（delete）",
        "correct or delete the record",
    ),
    "other_source": Wording(
        "来源与批次说明不一致",
        "another source than the header of the batch names",
        "每个来源单位单独成批",
        "deliver each source in a batch of its own",
    ),
    "twice_in_batch": Wording(
        "同一记录在本批中出现多次且内容不同",
        "the same record stands several times in the batch with different content",
        "只保留一条，或为先后更正分别给出 revision",
        "keep one of them, or give each correction a `revision` of its own",
    ),
    "identifier_missing": Wording(
        "没有任何企业标识",
        "nothing names the enterprise",
        "请填写统一社会信用代码；没有的填注册号或名称",
        "give the USCC; failing that, the registration number or the name",
    ),
    "uscc_form": Wording(
        "不是 18 位统一社会信用代码",
        "not a unified social credit code of 18 characters",
        "请核对；注册号请填入注册号列",
        "check it; an old registration number belongs in its own column",
    ),
    "uscc_check": Wording(
        "统一社会信用代码校验位不符",
        "the check character of the unified social credit code is wrong",
        "请对照营业执照核对",
        "compare with the business licence",
    ),
    "registration_number_check": Wording(
        "不是 15 位注册号，或校验位不符",
        "not a registration number of 15 digits, or its check digit is wrong",
        "请对照原营业执照核对",
        "compare with the old business licence",
    ),
    "identifier_conflict": Wording(
        "各标识指向不同企业",
        "the identifiers point to different enterprises",
        "请核对各标识，删除错误的一个",
        "check them and remove the wrong one",
    ),
    "match_proposed": Wording(
        "仅凭名称找到一家企业，待人工确认",
        "found by name only, one enterprise; a person has to confirm it",
        "请用 `creditlab features ingest matches` 确认，或补充统一社会信用代码",
        "confirm it with `creditlab features ingest matches`, or give the USCC",
    ),
    "match_none": Wording(
        "登记信息中找不到该企业",
        "the register knows no such enterprise",
        "请补充统一社会信用代码",
        "give the USCC",
    ),
    "match_several": Wording(
        "登记信息中有多家企业符合",
        "the register knows several such enterprises",
        "请补充统一社会信用代码",
        "give the USCC",
    ),
}
