"""The life of a consent: one table of transitions, and the pure functions that move along it.

Every document of a consent has its place: the request, or an answer without one, is number 0, each later document has
the next number and the digest of the one before, so that nothing can be left out, repeated or put in another order.
Withdrawn, refused and expired are final. Owns no store and no clock: times come from the documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from consent.canonical import digest
from consent.errors import Refused
from consent.times import parse, stamp

Body = Mapping[str, Any]


class State(StrEnum):
    REQUESTED = "requested"
    ACTIVE = "active"
    PAUSED = "paused"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    CANCELLED = "cancelled"  # the institution took its request back before an answer


class Action(StrEnum):
    GRANT = "grant"
    REFUSE = "refuse"
    PAUSE = "pause"
    RESUME = "resume"
    WITHDRAW = "withdraw"
    EXPIRE = "expire"
    CANCEL = "cancel"  # no document: nothing was permitted, so there is nothing for anybody to prove
    SUPERSEDE = "supersede"  # a renewal became active: it is the renewal's signature that ends the earlier consent


# The whole truth about what may follow what.
TRANSITIONS: Mapping[State, Mapping[Action, State]] = {
    State.REQUESTED: {
        Action.GRANT: State.ACTIVE,
        Action.REFUSE: State.REFUSED,
        Action.EXPIRE: State.EXPIRED,
        Action.CANCEL: State.CANCELLED,
    },
    State.ACTIVE: {
        Action.PAUSE: State.PAUSED,
        Action.WITHDRAW: State.WITHDRAWN,
        Action.EXPIRE: State.EXPIRED,
        Action.SUPERSEDE: State.EXPIRED,
    },
    State.PAUSED: {
        Action.RESUME: State.ACTIVE,
        Action.WITHDRAW: State.WITHDRAWN,
        Action.EXPIRE: State.EXPIRED,
        Action.SUPERSEDE: State.EXPIRED,
    },
    State.REFUSED: {},
    State.WITHDRAWN: {},
    State.EXPIRED: {},
    State.CANCELLED: {},
}
FINAL = frozenset(state for state, after in TRANSITIONS.items() if not after)
STANDING = frozenset({State.ACTIVE, State.PAUSED})
FIRST: Mapping[str, State] = {
    "request": State.REQUESTED,
    "consent": State.ACTIVE,
    "refusal": State.REFUSED,
    "person_consent": State.ACTIVE,
    "person_refusal": State.REFUSED,
}

# What a person's own document does; it is signed in the role `person` (`consent.person`).
PERSON_ACTIONS: Mapping[str, Action] = {
    "person_consent": Action.GRANT,
    "person_refusal": Action.REFUSE,
    "person_withdrawal": Action.WITHDRAW,
}

# The platform's word that a person's own consent has run out, as `expire` is for an enterprise's.
PERSON_EXPIRY = "person_expiry"

# Who signs a transition document; an answer (consent, refusal) is always the enterprise's.
SIGNERS: Mapping[Action, str] = {
    Action.PAUSE: "enterprise",
    Action.RESUME: "enterprise",
    Action.WITHDRAW: "enterprise",
    Action.EXPIRE: "platform",
}

# Two devices of one enterprise need not agree to the second; a document older than this against its predecessor is
# taken for a clock that was moved back.
CLOCK_GRACE = timedelta(minutes=5)

_STATE_ZH = {
    State.REQUESTED: "待答复",
    State.ACTIVE: "有效",
    State.PAUSED: "已暂停",
    State.REFUSED: "已拒绝",
    State.WITHDRAWN: "已撤回",
    State.EXPIRED: "已到期",
    State.CANCELLED: "已取消",
}
_ACTION_ZH = {
    Action.GRANT: "同意",
    Action.REFUSE: "拒绝",
    Action.PAUSE: "暂停",
    Action.RESUME: "恢复",
    Action.WITHDRAW: "撤回",
    Action.EXPIRE: "到期",
    Action.CANCEL: "取消",
    Action.SUPERSEDE: "续签替代",
}


class LifecycleError(Refused):
    """A document does not fit the life of its consent."""


class IllegalTransition(LifecycleError):
    """The consent is not in a state from which this is possible."""

    code = "illegal_transition"


class OutOfSequence(LifecycleError):
    """A document is missing before this one, or this one came already."""

    code = "out_of_sequence"


class BrokenChain(LifecycleError):
    """The document follows another history than the one on record."""

    code = "broken_chain"


class ClockMovedBack(LifecycleError):
    """The document says that it is older than the one it follows."""

    code = "clock_moved_back"


class NotYetExpired(LifecycleError):
    """The consent still runs: only time, not the platform, ends it."""

    code = "not_yet_expired"


class AlreadyExpired(LifecycleError):
    """The term is over: what would give new permission comes too late."""

    code = "already_expired"


class ConsentStands(LifecycleError):
    """A consent for this enterprise, recipient and purpose stands already."""

    code = "consent_stands"


class SupersedesUnknown(LifecycleError):
    """The renewal names a consent that is not the standing one."""

    code = "supersedes_unknown"


class RenewalNotYetValid(LifecycleError):
    """A renewal would leave a gap: it replaces at once, so it must hold at once."""

    code = "renewal_not_yet_valid"


class QuietPeriod(LifecycleError):
    """The enterprise said no: it may not be asked again yet."""

    code = "quiet_period"


@dataclass(frozen=True, slots=True)
class Life:
    """Where one consent stands: after `sequence` documents, the last of digest `head` and time `at`."""

    consent_id: str
    state: State
    sequence: int
    head: str
    at: str
    valid_until: str


def state_at(life: Life, at: str) -> State:
    """The state at a moment: a term that is over needs no document to be over."""
    return State.EXPIRED if life.state not in FINAL and at >= life.valid_until else life.state


def _moved(state: State, action: Action, consent_id: str) -> State:
    after = TRANSITIONS[state].get(action)
    if after is None:
        able = ", ".join(TRANSITIONS[state]) or "nothing: this state is final"
        able_zh = "、".join(_ACTION_ZH[one] for one in TRANSITIONS[state]) or "无（已终结）"
        raise IllegalTransition(
            f"consent {consent_id} is {state}: {action} is not possible (possible: {able})",
            f"授权 {consent_id} {_STATE_ZH[state]}，不能{_ACTION_ZH[action]}（可行：{able_zh}）",
        )
    return after


def _not_older(life: Life, at: str) -> None:
    if at < life.at and parse(life.at) - parse(at) > CLOCK_GRACE:
        raise ClockMovedBack(
            f"at: {at} is before the document it follows ({life.at}): set the clock and sign anew",
            f"at：{at} 早于前一份文件（{life.at}），请校准时钟后重新签署",
        )


def _in_place(life: Life, sequence: int, previous: str) -> None:
    if sequence != life.sequence + 1:
        raise OutOfSequence(
            f"sequence: {life.sequence + 1} is next for consent {life.consent_id}, found {sequence}: "
            "read its present state and sign anew",
            f"sequence：授权 {life.consent_id} 的下一序号为 {life.sequence + 1}，实为 {sequence}，请刷新后重新签署",
        )
    if previous != life.head:
        raise BrokenChain(
            f"previous: the last document of consent {life.consent_id} has digest {life.head}, found {previous}",
            f"previous：授权 {life.consent_id} 前一份文件的摘要为 {life.head}，实为 {previous}",
        )


def _begin(body: Body) -> Life:
    state = FIRST.get(body["type"])
    if state is None:
        raise OutOfSequence(
            f"consent {body['consent_id']}: the document it follows is not on record",
            f"授权 {body['consent_id']}：缺少其前一份文件",
        )
    if state is State.REQUESTED:
        return Life(body["consent_id"], state, 0, digest(body), body["at"], body["valid_until"])
    # not every history holds the request: the digest in the answer stands for it; a person answers an offer
    sequence = 0 if body.get("request") is None else 1
    return Life(body["consent_id"], state, sequence, digest(body), body["given_at"], body["valid_until"])


def _answer(life: Life, body: Body) -> Life:
    action = Action.GRANT if body["type"] == "consent" else Action.REFUSE
    after = _moved(life.state, action, life.consent_id)
    if body["request"] != life.head:
        raise BrokenChain(
            f"request: the request on record has digest {life.head}, found {body['request']}",
            f"request：记录在案的请求摘要为 {life.head}，实为 {body['request']}",
        )
    at = body["given_at"]
    _not_older(life, at)
    if action is Action.GRANT and at >= life.valid_until:
        raise AlreadyExpired(
            f"the request ran out at {life.valid_until}: it must be made anew",
            f"该请求已于 {life.valid_until} 到期，须重新发起",
        )
    return Life(life.consent_id, after, life.sequence + 1, digest(body), max(at, life.at), body["valid_until"])


def _run_out(life: Life, at: str) -> None:
    if at < life.valid_until:
        raise NotYetExpired(
            f"consent {life.consent_id} is valid until {life.valid_until}",
            f"授权 {life.consent_id} 有效期至 {life.valid_until}，尚未到期",
        )


def _transition(life: Life, body: Body) -> Life:
    action, at = Action(body["action"]), body["at"]
    # a withdrawal is final, so its place decides nothing: it may come without one and never fails for being out of
    # step (PIPL §15: as easy to withdraw as to give)
    if body["sequence"] is not None:
        _in_place(life, body["sequence"], body["previous"])
    after = _moved(life.state, action, life.consent_id)
    if action is not Action.WITHDRAW:
        _not_older(life, at)
    if action is Action.EXPIRE:
        _run_out(life, at)
    if action is Action.RESUME and at >= life.valid_until:
        raise AlreadyExpired(
            f"consent {life.consent_id} ran out at {life.valid_until}: renew it",
            f"授权 {life.consent_id} 已于 {life.valid_until} 到期，请续签",
        )
    return replace(life, state=after, sequence=life.sequence + 1, head=digest(body), at=max(at, life.at))


def apply(life: Life | None, body: Body) -> Life:
    """The life after one more well-formed document; `life` is None for the first. Raises a LifecycleError."""
    if life is None:
        return _begin(body)
    if body["consent_id"] != life.consent_id:
        raise BrokenChain(
            f"consent_id: {life.consent_id} expected, found {body['consent_id']}",
            f"consent_id：应为 {life.consent_id}，实为 {body['consent_id']}",
        )
    if body["type"] == "transition":
        return _transition(life, body)
    if body["type"] == "person_withdrawal":
        after = _moved(life.state, PERSON_ACTIONS[body["type"]], life.consent_id)
        return replace(life, state=after, sequence=life.sequence + 1, head=digest(body), at=max(body["at"], life.at))
    if body["type"] == PERSON_EXPIRY:
        after = _moved(life.state, Action.EXPIRE, life.consent_id)
        _run_out(life, body["at"])
        return replace(life, state=after, sequence=life.sequence + 1, head=digest(body), at=max(body["at"], life.at))
    if body["type"] == "request" or life.state is not State.REQUESTED:
        raise IllegalTransition(
            f"consent {life.consent_id} is {life.state}: a {body['type']} cannot follow",
            f"授权 {life.consent_id} {_STATE_ZH[life.state]}，不能再接收此文件",
        )
    return _answer(life, body)


def ended(life: Life, action: Action, at: str, head: str) -> Life:
    """The life of a consent that another document ended: a renewal, or a refusal of the same purpose."""
    after = _moved(life.state, action, life.consent_id)
    return replace(life, state=after, sequence=life.sequence + 1, head=head, at=max(at, life.at))


def succession(standing: Life | None, body: Body) -> Action | None:
    """What an answer does to the consent of the same enterprise, recipient and purpose before it (None: nothing).

    A new consent over a standing one must be its renewal (`supersedes`), so two never hold at once. A refusal of a
    renewal leaves the standing consent; any other refusal is the enterprise's newest word and withdraws it.
    Raises ConsentStands, SupersedesUnknown or RenewalNotYetValid.
    """
    named = body["supersedes"]
    if named is not None and (standing is None or standing.consent_id != named):
        raise SupersedesUnknown(
            f"supersedes: {named} is not this enterprise's last consent to this recipient and purpose",
            f"supersedes：{named} 不是该企业就此机构与用途的最近一份授权",
        )
    if standing is None or standing.state not in STANDING:
        if named is not None and standing is not None and standing.state is not State.EXPIRED:
            raise SupersedesUnknown(
                f"supersedes: {named} is {standing.state}, which is final: give a new consent instead",
                f"supersedes：{named} {_STATE_ZH[standing.state]}，不能续签，请重新授权",
            )
        return None
    if body["type"] == "refusal":
        return Action.WITHDRAW if named is None else None
    if named is None:
        if body["valid_from"] >= standing.valid_until:
            return Action.EXPIRE
        raise ConsentStands(
            f"consent {standing.consent_id} is {standing.state} until {standing.valid_until}: "
            "renew it (supersedes) or withdraw it first",
            f"授权 {standing.consent_id} {_STATE_ZH[standing.state]}，至 {standing.valid_until}；请续签或先撤回",
        )
    if parse(body["valid_from"]) - parse(body["given_at"]) > CLOCK_GRACE:
        raise RenewalNotYetValid(
            f"valid_from: a renewal holds at once, found {body['valid_from']}, signed {body['given_at']}",
            f"valid_from：续签须即时生效，实为 {body['valid_from']}，签署于 {body['given_at']}",
        )
    return Action.SUPERSEDE


@dataclass(frozen=True, slots=True)
class Quiet:
    """How many days an institution may not ask again (网络数据安全管理条例: no repeated asking after a refusal)."""

    after_refusal_days: int = 90
    after_withdrawal_days: int = 30


def quiet_until(last: Life | None, quiet: Quiet) -> str | None:
    """Until when the enterprise may not be asked for this purpose by this recipient; None when it may.

    Binds who asks: an enterprise may consent by itself at any time.
    """
    if last is None or last.state not in (State.REFUSED, State.WITHDRAWN):
        return None
    days = quiet.after_refusal_days if last.state is State.REFUSED else quiet.after_withdrawal_days
    return stamp(parse(last.at) + timedelta(days=days))


def may_ask(last: Life | None, at: str, quiet: Quiet) -> None:
    """Raises QuietPeriod while the enterprise may not be asked again."""
    until = quiet_until(last, quiet)
    if last is not None and until is not None and at < until:
        raise QuietPeriod(
            f"the enterprise's answer of {last.at} was no: it may be asked again from {until}",
            f"企业已于 {last.at} 表示不同意，{until} 之前不得再次请求",
        )
