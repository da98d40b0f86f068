"""How a job ends when it does not succeed: one exception with a cause, and the state each cause leads to."""

from __future__ import annotations

from consent.book import FeedGap
from consent.errors import Refused
from consent.policy import Denied
from federated.relay.link import Cause, LinkEnded

# Causes that mean "the consents no longer carry this job", as opposed to a fault.
CONSENT_CODES = frozenset(
    ("no_consented_rows", "cohort_too_small", "all_withdrawn", "institution_suspended", "institution_removed")
)

CANCELLED = Cause("cancelled", "the job was cancelled", "作业已取消")
NODE_STOPPED = Cause("node_stopped", "the node was shut down while the job ran", "作业运行期间节点被关闭")
NODE_RESTARTED = Cause(
    "node_restarted",
    "the node stopped in the middle of this job; run it again",
    "节点在作业中途停止，请重新运行作业",
)


class JobEnded(Exception):
    """The job ends here; `cause` goes to both parties and to the people."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


def cause_of(error: BaseException) -> Cause:
    """The cause to tell people. Never carries a traceback, a path or a row."""
    if isinstance(error, JobEnded | LinkEnded):
        return error.cause
    if isinstance(error, Denied | Refused):
        return Cause(error.code, error.message, error.message_zh)
    if isinstance(error, FeedGap):
        return Cause("feed_gap", str(error), "授权事件流缺少事件，请重新读取")
    if isinstance(error, TimeoutError):
        return Cause("deadline", str(error) or "a deadline passed", "等待超时")
    kind = type(error).__name__
    return Cause(
        "internal_error",
        f"the node failed unexpectedly ({kind}); its operator finds the details in the node's log",
        f"节点内部错误（{kind}），详情见节点日志",
    )


def state_of(cause: Cause) -> str:
    """The party's final state that a cause leads to."""
    if cause.code == CANCELLED.code:
        return "cancelled"
    return "stopped_by_consent" if cause.code in CONSENT_CODES else "failed"
