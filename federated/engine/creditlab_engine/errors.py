"""What can go wrong in an engine, as codes people can act on.

Owns the named errors, their texts in English and Chinese, and the rule for what may be said about an unexpected
exception: its type, never its message, because messages of numeric libraries carry raw rows.
"""

from __future__ import annotations

_TEXTS: dict[str, tuple[str, str]] = {
    "empty_intersection": (
        "no enterprise is in both tables with a live consent; check that both parties use the same identifier",
        "双方数据中没有同时存在且授权有效的企业；请检查双方使用的标识是否一致",
    ),
    "too_few_rows": (
        "too few aligned enterprises are left to fit a model; more consents or a larger cohort are needed",
        "对齐后剩余的企业太少，无法建模；需要更多授权或更大的样本",
    ),
    "label_constant": (
        "the bank's label has one value only among the rows to fit; choose a cohort with both outcomes",
        "建模样本中银行的标签只有一个取值；请选择同时包含两种结果的样本",
    ),
    "label_not_binary": (
        "the bank's label must be 0 or 1 in every row",
        "银行的标签必须全部为 0 或 1",
    ),
    "input_malformed": (
        "a party's input table lacks a declared column, has an empty or repeated id, or text in a numeric column",
        "某一方的输入表缺少声明的列、标识为空或重复，或数值列中含有文本",
    ),
    "no_columns": (
        "a party has no usable column left after exclusions",
        "剔除后某一方没有可用的列",
    ),
    "protocol_refused": (
        "the ticket asks for a protocol, key size or field this engine refuses as unsafe",
        "任务书要求的协议、密钥长度或数域不安全，本引擎拒绝执行",
    ),
    "recipe_refused": (
        "the ticket's recipe or one of its parameters is not supported in federated mode",
        "任务书中的建模方案或参数不适用于联邦模式",
    ),
    "cohort_mismatch": (
        "the two parties hold different sets of enterprises for this phase; their consent feeds differ",
        "双方在本阶段的企业集合不一致；双方的授权信息不同步",
    ),
    "as_of_differs": (
        "common enterprises carry different as-of dates in the two tables; draw the lab's features as of the bank's "
        "dates",
        "部分共有企业在双方数据中的取数时点不同；请按银行的时点重新抽取公共信用特征",
    ),
    "message_refused": (
        "the peer sent a message this engine refuses to load",
        "对方发来的消息未通过安全检查，已拒绝加载",
    ),
    "disk_full": (
        "the sandbox's scratch space is full; raise limits.scratch_mb in this node's node.toml",
        "沙箱临时空间已满；请在本节点 node.toml 中调大 limits.scratch_mb",
    ),
    "peer_failed": (
        "the other party's engine failed; its node has the cause",
        "对方引擎出错；原因见对方节点",
    ),
    "peer_silent": (
        "the other party's engine stopped answering",
        "对方引擎已停止响应",
    ),
    "peer_absent": (
        "the other party's engine did not appear in time",
        "对方引擎未在规定时间内出现",
    ),
    "port_taken": (
        "a loopback port the engine needs is in use",
        "引擎所需的本机端口已被占用",
    ),
    "deadline": (
        "the phase did not finish within the ticket's deadline",
        "本阶段未在任务书规定的时限内完成",
    ),
    "engine_crashed": (
        "the engine process ended unexpectedly; see this node's log",
        "引擎进程意外结束；详见本节点日志",
    ),
    "engine_error": (
        "the engine failed; see this node's log",
        "引擎出错；详见本节点日志",
    ),
}


class EngineError(Exception):
    """A cause people can act on. `code` is stable and may cross to the peer; `detail` stays on this side."""

    def __init__(self, code: str, detail: str = "", detail_zh: str = "") -> None:
        english, chinese = _TEXTS[code]
        self.code = code
        self.message = f"{english}: {detail}" if detail else english
        self.message_zh = f"{chinese}：{detail_zh or detail}" if detail else chinese
        super().__init__(self.message)


def known(code: str) -> bool:
    return code in _TEXTS


def from_peer(code: str) -> EngineError:
    """The peer's cause, as far as it was told: an unknown code is not repeated."""
    return EngineError(code) if known(code) else EngineError("peer_failed")


def code_of(error: BaseException) -> str:
    """The only thing about an error that may leave this party."""
    return error.code if isinstance(error, EngineError) else "peer_failed"
