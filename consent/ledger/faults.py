"""What can have been done to a log, in words for a person: what is wrong, where, and what to do about it.

Owns the names and the wording; `consent.ledger.audit` decides which of them it is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from consent.ledger.errors import LedgerError


class Fault(StrEnum):
    """What was done to the log. The first group is found by the entries, the last by the heads."""

    ENTRY_EDITED = "entry_edited"
    ENTRY_DELETED = "entry_deleted"
    ENTRY_INSERTED = "entry_inserted"
    ENTRY_REORDERED = "entry_reordered"
    ENTRY_OR_NODE = "entry_or_node"
    TIME_MOVED_BACK = "time_moved_back"
    TAIL_TRUNCATED = "tail_truncated"
    HISTORY_REWRITTEN = "history_rewritten"
    NODE_CHANGED = "node_changed"
    NODE_MISSING = "node_missing"
    NODE_SURPLUS = "node_surplus"
    HEAD_MALFORMED = "head_malformed"
    HEAD_FORGED = "head_forged"
    HEAD_OF_ANOTHER_LOG = "head_of_another_log"
    HEAD_REPLACED = "head_replaced"
    HEAD_SHRUNK = "head_shrunk"
    HEAD_TIME_MOVED_BACK = "head_time_moved_back"


Place = Literal["entry", "node", "head", "witnessed"]


class LedgerDamaged(LedgerError):
    """The first bad thing of a log, see `Fault`. `index` is the position of the entry, or of the head among the heads.

    For a stored hash `level` is its level, `index` its position there. `entry` is the first entry that is not proved
    because of it. `remedy` says what to do.
    """

    code = "ledger_damaged"

    def __init__(
        self, fault: Fault, place: Place, index: int, entry: int, level: int | None = None, **facts: Any
    ) -> None:
        what, what_zh, remedy, remedy_zh = _WORDS[fault]
        facts = {"index": index, "level": level, "entry": entry, **facts}
        self.fault, self.place, self.index, self.entry, self.level = fault, place, index, entry, level
        self.remedy, self.remedy_zh = remedy, remedy_zh
        super().__init__(what.format_map(facts), what_zh.format_map(facts))


_RESTORE = (
    "restore this entry from the database backup or from another holder's export, and find out who wrote to the store",
    "请从数据库备份或其他持有方的导出恢复该记录，并查明是谁改动了存储",
)
_REBUILD = (
    "the entries are whole: restore the stored hashes from a backup, or export the log anew",
    "记录本身完好：请从备份恢复存储的杂凑值，或重新导出日志",
)
_ASK = (
    "believe no proof made under this head; ask the log's operator, and compare with the heads that witnesses keep",
    "勿采信基于该树头的任何证明；请询问日志运营方，并与见证方保存的树头比对",
)
_WORDS: dict[Fault, tuple[str, str, str, str]] = {
    Fault.ENTRY_EDITED: ("entry {index} was edited: {why}", "第 {index} 条记录被改动：{why_zh}", *_RESTORE),
    Fault.ENTRY_DELETED: (
        "entries from {index} on were deleted",
        "自第 {index} 条起有记录被删除",
        *_RESTORE,
    ),
    Fault.ENTRY_INSERTED: (
        "entries that the log never wrote, or never finished writing, stand from {index} on",
        "自第 {index} 条起有并非日志写入或未写完的记录",
        "take the inserted entries out on a copy and check it again; find out who wrote to the store",
        "请在副本上移除插入的记录后重新检查，并查明是谁改动了存储",
    ),
    Fault.ENTRY_REORDERED: (
        "entries from {index} on were reordered",
        "自第 {index} 条起记录的顺序被改动",
        *_RESTORE,
    ),
    Fault.ENTRY_OR_NODE: (
        "entry {index} and the hashes stored above it disagree, and no signed head covers it to tell which was changed",
        "第 {index} 条记录与其上存储的杂凑值不符，且无签名树头可判定改动的是哪一个",
        *_RESTORE,
    ),
    Fault.TIME_MOVED_BACK: (
        "entry {index} is of {at}, the one before it of {last}: the clock moved back or the entry was back-dated",
        "第 {index} 条记录时间为 {at}，早于前一条的 {last}：时钟回拨或记录被倒填",
        *_RESTORE,
    ),
    Fault.TAIL_TRUNCATED: (
        "the log ends before entry {index}, a signed head of {at} covers {size} entries: the tail was cut off "
        "(heads prove what is left up to entry {entry}, not included)",
        "日志止于第 {index} 条之前，而 {at} 的签名树头覆盖 {size} 条：末尾被截去（余下部分已证明至第 {entry} 条之前）",
        *_RESTORE,
    ),
    Fault.HISTORY_REWRITTEN: (
        "one of the entries {index} to {last} was changed together with hashes above it: {why}",
        "第 {index} 至 {last} 条中有记录连同其上的杂凑值一并被改：{why_zh}",
        *_RESTORE,
    ),
    Fault.NODE_CHANGED: (
        "the stored hash at level {level}, position {index} is not that of its entries (from {entry} on)",
        "第 {level} 层第 {index} 个存储的杂凑值与其记录（自第 {entry} 条起）不符",
        *_REBUILD,
    ),
    Fault.NODE_MISSING: (
        "the stored hash at level {level}, position {index} is missing (entries from {entry} on)",
        "缺少第 {level} 层第 {index} 个杂凑值（自第 {entry} 条起的记录）",
        *_REBUILD,
    ),
    Fault.NODE_SURPLUS: (
        "a hash is stored at level {level}, position {index} that no entries belong to",
        "第 {level} 层第 {index} 个存储的杂凑值没有对应的记录",
        *_REBUILD,
    ),
    Fault.HEAD_MALFORMED: ("head {index} is not a head: {why}", "第 {index} 个树头不合规：{why_zh}", *_ASK),
    Fault.HEAD_FORGED: ("head {index} is forged: {why}", "第 {index} 个树头系伪造：{why_zh}", *_ASK),
    Fault.HEAD_OF_ANOTHER_LOG: (
        "head {index} does not belong here: {why}",
        "第 {index} 个树头不属于本日志：{why_zh}",
        *_ASK,
    ),
    Fault.HEAD_REPLACED: (
        "{name} {index} was signed over {size} other entries than these, which another head over {later} proves: "
        "the log showed two histories",
        "第 {index} 个{name_zh}所签的 {size} 条并非这些记录，而另一个覆盖 {later} 条的树头证明了这些记录："
        "日志出示过两种历史",
        *_ASK,
    ),
    Fault.HEAD_SHRUNK: (
        "head {index} covers {size} entries, the one before it {before}",
        "第 {index} 个树头覆盖 {size} 条，少于前一个的 {before} 条",
        *_ASK,
    ),
    Fault.HEAD_TIME_MOVED_BACK: (
        "head {index} is of {at}, which does not lie between the entries and heads around it",
        "第 {index} 个树头时间 {at} 与前后的记录或树头时间矛盾",
        *_ASK,
    ),
}
