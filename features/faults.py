"""What can be wrong with a data folder: one catalogue of faults with places and remedies, in two languages.

Owns the wording of every refusal of input data. Never quotes the value of a cell: a message may travel to
people who must not see the data, so a fault says *where* and *what kind*, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Language = Literal["en", "zh"]

#: Rows named in one fault; the total is always given beside them.
ROWS_NAMED = 5
#: Faults spelled out in one refusal; the rest is counted.
FAULTS_SHOWN = 25


@dataclass(frozen=True)
class Wording:
    """What is wrong and what to do about it; `{…}` are filled from the fault's parameters."""

    what: str
    what_zh: str
    remedy: str
    remedy_zh: str


CATALOGUE: dict[str, Wording] = {
    # --- the contract -------------------------------------------------------------------------------------
    "contract_missing": Wording(
        "the folder has no dataset.toml",
        "文件夹中没有 dataset.toml",
        "write a dataset.toml that names the id, the two tables and the label (see README, “Your own data”)",
        "请编写 dataset.toml，写明标识列、两张表和标签列（见 README“使用自己的数据”）",
    ),
    "contract_syntax": Wording(
        "not valid TOML: {detail}",
        "不是合法的 TOML：{detail}",
        "correct the syntax at that place and save the file as UTF-8",
        "请改正该处语法，并以 UTF-8 保存",
    ),
    "contract_unknown_key": Wording(
        "unknown key{hint}",
        "未知的键{hint_zh}",
        "remove it or correct its spelling; known keys here: {known}",
        "请删除或改正拼写；此处可用的键：{known}",
    ),
    "contract_missing_key": Wording(
        "required key is missing",
        "缺少必填的键",
        "add it: {example}",
        "请补充：{example}",
    ),
    "contract_wrong_type": Wording(
        "must be {expected}",
        "类型应为{expected_zh}",
        "write it as in: {example}",
        "请按示例书写：{example}",
    ),
    "contract_bad_value": Wording(
        "{detail}",
        "{detail_zh}",
        "write it as in: {example}",
        "请按示例书写：{example}",
    ),
    "contract_clash": Wording(
        "the column is given two roles: {first} and {second}",
        "同一列被赋予两种角色：{first} 与 {second}",
        "keep one of the two roles and remove the other",
        "请只保留其中一种角色",
    ),
    "label_is_feature": Wording(
        "the label is also named as a feature ({where})",
        "标签列同时被列为特征（{where}）",
        "a label can never be an input: remove it from {where}",
        "标签不能作为输入：请从 {where} 中移除",
    ),
    # --- the file -----------------------------------------------------------------------------------------
    "file_missing": Wording(
        "the file does not exist",
        "文件不存在",
        "put the file into the folder or correct `{key}` in dataset.toml",
        "请将文件放入该文件夹，或改正 dataset.toml 中的 `{key}`",
    ),
    "file_unreadable": Wording(
        "the file cannot be read as {format}: {detail}",
        "无法按 {format} 读取：{detail}",
        "export the table again; the ending of the name must match its format",
        "请重新导出该表；文件扩展名须与格式一致",
    ),
    "file_empty": Wording(
        "the file has no rows",
        "文件没有数据行",
        "export the table again with its header and its rows",
        "请重新导出，包含表头与数据行",
    ),
    "file_encoding": Wording(
        "not UTF-8 text",
        "不是 UTF-8 文本",
        "save the file as UTF-8 (spreadsheets: “CSV UTF-8”), or use Parquet",
        "请另存为 UTF-8（电子表格中选“CSV UTF-8”），或使用 Parquet",
    ),
    "row_width": Wording(
        "the row has another number of fields than the header ({expected})",
        "该行字段数与表头（{expected}）不一致",
        "quote fields that contain the separator, and export again",
        "请为含分隔符的字段加引号后重新导出",
    ),
    # --- columns ------------------------------------------------------------------------------------------
    "column_missing": Wording(
        "dataset.toml names this column ({role}) but the table does not have it{hint}",
        "dataset.toml 指定了该列（{role}），但表中没有{hint_zh}",
        "add the column to the table or correct its name in dataset.toml",
        "请在表中补充该列，或改正 dataset.toml 中的列名",
    ),
    "column_duplicate": Wording(
        "the table has this column more than once",
        "表中该列出现多次",
        "rename or remove the repeated column",
        "请重命名或删除重复的列",
    ),
    "column_name": Wording(
        "not usable as a column name (empty, over {limit} characters, or with separator, quote or break)",
        "列名不可用（为空、超过 {limit} 个字符，或含分隔符、引号、换行）",
        "rename the column in the table",
        "请在表中重命名该列",
    ),
    "column_type": Wording(
        "{type} cannot be a model input",
        "{type} 不能作为模型输入",
        "derive a number from it, or add the column to `{side}.ignore` in dataset.toml",
        "请由其派生数值列，或将该列加入 dataset.toml 的 `{side}.ignore`",
    ),
    "column_empty": Wording(
        "the column has no value in any row",
        "该列所有行均为空",
        "fill the column or add it to `{side}.ignore` in dataset.toml",
        "请补充取值，或将该列加入 dataset.toml 的 `{side}.ignore`",
    ),
    "no_columns": Wording(
        "no column is left as a model input",
        "没有可作为模型输入的列",
        "add features to the table or shorten `{side}.ignore` in dataset.toml",
        "请补充特征列，或缩短 dataset.toml 的 `{side}.ignore`",
    ),
    "label_in_lab": Wording(
        "the lab's table has a column with the name of the label",
        "公共信用侧的表中出现与标签同名的列",
        "the outcome belongs to the bank alone: remove the column, or add it to `lab.ignore` in dataset.toml",
        "结果只属于银行：请删除该列，或加入 dataset.toml 的 `lab.ignore`",
    ),
    "text_in_numeric": Wording(
        "text in a numeric column ({value_class})",
        "数值列中出现文本（{value_class_zh}）",
        "correct the value, or add the column to `{side}.categorical` or `{side}.ignore` in dataset.toml",
        "请改正取值，或将该列加入 dataset.toml 的 `{side}.categorical`（类别）或 `{side}.ignore`",
    ),
    "number_infinite": Wording(
        "infinite number",
        "数值为无穷大",
        "leave the cell empty if the value is unknown, or correct the calculation (often a division by zero)",
        "未知请留空，或改正计算（常见原因是除以零）",
    ),
    # --- identity -----------------------------------------------------------------------------------------
    "id_empty": Wording(
        "empty id",
        "标识为空",
        "fill in the enterprise's id or remove the row",
        "请补充企业标识，或删除该行",
    ),
    "id_duplicate": Wording(
        "the same id stands in an earlier row",
        "该标识已在前面的行出现",
        "keep one row per enterprise (one as-of date each)",
        "每家企业只保留一行（一个时点）",
    ),
    "id_malformed": Wording(
        "the id has spaces at an end, a separator, quote or control character, or is over {limit} characters",
        "标识首尾有空格，或含分隔符、引号、控制字符，或超过 {limit} 个字符",
        "clean the id: both owners must write the same enterprise the same way",
        "请清理标识：双方对同一企业的写法必须一致",
    ),
    "party_empty": Wording(
        "the row does not say which bank owns it",
        "该行未写明所属银行",
        "fill in the party column or remove the row",
        "请补充所属方，或删除该行",
    ),
    "party_absent": Wording(
        "no row belongs to the bank `{party}`",
        "没有属于银行 `{party}` 的行",
        "use one of the values of the party column",
        "请使用所属方列中已有的取值",
    ),
    # --- the label and its windows ------------------------------------------------------------------------
    "label_missing": Wording(
        "missing label",
        "标签缺失",
        "remove rows whose outcome is not known yet",
        "请删除结果尚未确定的行",
    ),
    "label_not_binary": Wording(
        "the label is neither 0 nor 1",
        "标签既不是 0 也不是 1",
        "code the outcome as 1 = bad, 0 = good",
        "请编码为 1 = 违约，0 = 正常",
    ),
    "label_constant": Wording(
        "every row has the same label ({value})",
        "所有行标签相同（{value}）",
        "a model needs good and bad enterprises: extend the sample or check the label column",
        "建模需要正常与违约两类企业：请扩大样本或检查标签列",
    ),
    "window_constant": Wording(
        "every row of the {window} window (`{split}` = “{value}”) has the same label",
        "{window_zh}窗口（`{split}` = “{value}”）内所有行标签相同",
        "extend that window until it has good and bad enterprises",
        "请扩大该窗口，使其包含两类企业",
    ),
    "window_absent": Wording(
        "no row has the {window} value “{value}”",
        "没有取{window_zh}值“{value}”的行",
        "correct `bank.{window}` in dataset.toml or the split column of the table",
        "请改正 dataset.toml 的 `bank.{window}`，或表中的划分列",
    ),
    "window_small": Wording(
        "the {window} window has {count} {kind} rows, fewer than {minimum}",
        "{window_zh}窗口只有 {count} 行{kind_zh}，少于 {minimum} 行",
        "extend that window: its measurements would mean nothing",
        "请扩大该窗口，否则评估没有意义",
    ),
    "split_unknown": Wording(
        "the split is neither the train value nor the test value of dataset.toml",
        "划分列既不是训练值也不是测试值",
        "correct the value, or remove the row from the table",
        "请改正取值，或从表中删除该行",
    ),
    # --- dates --------------------------------------------------------------------------------------------
    "as_of_malformed": Wording(
        "not a date (YYYY-MM-DD)",
        "不是日期（YYYY-MM-DD）",
        "write the as-of date as YYYY-MM-DD",
        "请将时点写为 YYYY-MM-DD",
    ),
    "as_of_missing": Wording(
        "missing as-of date",
        "时点缺失",
        "fill in the date at which the row's features were known, or remove the row",
        "请补充该行特征的已知日期，或删除该行",
    ),
    "as_of_future": Wording(
        "the as-of date lies in the future (after {today})",
        "时点在未来（晚于 {today}）",
        "correct the date: nothing can have been known then",
        "请改正日期：未来的信息不可能已知",
    ),
    "as_of_later": Wording(
        "the lab's as-of date is later than the bank's for the same enterprise: the features see the future",
        "同一企业，公共信用侧的时点晚于银行侧：特征看到了未来",
        "compute the lab's features as of the bank's date for these enterprises (`{own}` in {other})",
        "请按银行侧日期重新计算这些企业的特征（{other} 的 `{own}`）",
    ),
    "as_of_earlier": Wording(
        "the lab's as-of date is earlier than the bank's for the same enterprise: another moment",
        "同一企业，公共信用侧的时点早于银行侧：特征属于另一日期",
        "compute the lab's features as of the bank's date for these enterprises (`{own}` in {other})",
        "请按银行侧日期重新计算这些企业的特征（{other} 的 `{own}`）",
    ),
    # --- size ---------------------------------------------------------------------------------------------
    "too_few_rows": Wording(
        "{count} rows, fewer than {minimum}",
        "只有 {count} 行，少于 {minimum} 行",
        "extend the sample: a model of so few enterprises would mean nothing",
        "请扩大样本，否则模型没有意义",
    ),
    "no_overlap": Wording(
        "no id of this table stands in {other}",
        "该表没有任何标识出现在 {other} 中",
        "check that both owners write the id the same way (case, spaces, leading zeros)",
        "请检查双方标识写法是否一致（大小写、空格、前导零）",
    ),
    "overlap_small": Wording(
        "only {count} ids stand in both tables, fewer than {minimum}",
        "两表共同的标识只有 {count} 个，少于 {minimum} 个",
        "extend the sample, or check that both owners write the id the same way",
        "请扩大样本，或检查双方标识写法是否一致",
    ),
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where.

    `rows` are 1-based data rows of the file (the header is not counted), the first few of `count`; `lines`
    are the physical lines of the same rows in a CSV file. `column` is a column of the table or a field of the
    contract.
    """

    code: str
    file: str
    column: str = ""
    rows: tuple[int, ...] = ()
    lines: tuple[int, ...] = ()
    count: int = 0
    params: dict[str, object] = field(default_factory=dict, hash=False)

    def what(self, language: Language = "en") -> str:
        wording = CATALOGUE[self.code]
        return (wording.what_zh if language == "zh" else wording.what).format(**self.params)

    def remedy(self, language: Language = "en") -> str:
        wording = CATALOGUE[self.code]
        return (wording.remedy_zh if language == "zh" else wording.remedy).format(**self.params)

    def where(self, language: Language = "en") -> str:
        places = [self.file]
        if self.rows:
            rows = _numbers(self.rows, self.count)
            places.append(f"第 {rows} 行" if language == "zh" else f"row {rows}")
        if self.lines:
            lines = _numbers(self.lines, self.count)
            places.append(f"文件第 {lines} 行" if language == "zh" else f"line {lines}")
        if self.column:
            name = "列" if language == "zh" else "column"
            if self.file.endswith(".toml"):
                name = "字段" if language == "zh" else "field"
            places.append(f"{name} `{self.column}`")
        return ("，" if language == "zh" else ", ").join(places)

    def text(self, language: Language = "en") -> str:
        """One line: where, what (and how often), remedy."""
        often = ""
        if self.count > 1:
            often = f"（共 {self.count} 行）" if language == "zh" else f" ({self.count} rows in all)"
        if language == "zh":
            return f"{self.where('zh')}：{self.what('zh')}{often}。处理：{self.remedy('zh')}"
        return f"{self.where()}: {self.what()}{often}. Remedy: {self.remedy()}"

    def to_json(self) -> dict[str, object]:
        return {
            "code": self.code,
            "file": self.file,
            "column": self.column,
            "rows": list(self.rows),
            "lines": list(self.lines),
            "count": self.count,
            "message": self.text(),
            "message_zh": self.text("zh"),
        }


class DataRefused(ValueError):
    """A data folder cannot be used; carries every fault found."""

    code = "data_refused"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        self.message = listing(self.faults)
        self.message_zh = listing(self.faults, "zh")
        super().__init__(self.message)


def listing(faults: Sequence[Fault], language: Language = "en") -> str:
    """The faults as lines of text, bounded to `FAULTS_SHOWN`."""
    lines = [fault.text(language) for fault in faults[:FAULTS_SHOWN]]
    rest = len(faults) - len(lines)
    if rest > 0:
        lines.append(f"……另有 {rest} 处问题" if language == "zh" else f"… and {rest} more")
    return "\n".join(lines)


def _numbers(shown: Sequence[int], count: int) -> str:
    text = ", ".join(str(number) for number in shown)
    return text + ", …" if count > len(shown) else text
