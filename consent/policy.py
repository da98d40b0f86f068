"""May this be done now? One pure, total function over named scopes; a denial names its reason for a person.

The same function runs in the control plane and in every node. It reads facts, never a clock or a store. One table of
rules drives the decision and its documentation: a scope is allowed when none of its rules is broken, and an unknown
ground breaks its rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from consent.artefact import INSTITUTION_STATES
from consent.form import covers
from consent.lifecycle import STANDING, State
from consent.person import Given
from consent.purposes import PURPOSE_MODES, PURPOSES, Mode, Purpose
from consent.times import parse

# Fewer rows than this and aggregates begin to describe single enterprises.
MIN_COHORT = 100
# Clocks of two hosts differ a little; an earlier time than this is a clock that was moved back.
CLOCK_GRACE = timedelta(seconds=60)
MIN_REVIEWS = 2

MODES = ("federated", "zone")
RECIPES = ("boosting", "logistic")


class Denied(Exception):
    """What was asked may not be done: `code` is stable, the messages are for a person."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        super().__init__(message)
        self.code, self.message, self.message_zh = code, message, message_zh


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision may depend on. Unknown facts stay None, and a scope that needs one denies.

    Times are timestamps of consent.times. Some facts only ever forbid, so that None permits: `last_seen_at` (None:
    nothing was recorded before), `quiet_until` (None: nobody said no; counts only with `history_known`), `data` and
    `window_months` except for `query`, `refused_evidence` (None: accepted), and `withdrawn_share` except for `export`
    (None: not measured yet).
    """

    at: str = ""
    last_seen_at: str | None = None  # the latest time on record where the decision is taken
    institution: str | None = None  # state of the institution that acts: active, suspended, removed
    # what is to be done
    purpose: str | None = None
    use: str | None = None  # consent.purposes.Mode
    mode: str | None = None  # of computing: federated, zone
    recipe: str | None = None
    data: Mapping[str, Any] | None = None  # categories and items, as the artefact's field `data`
    window_months: int | None = None
    # what the consent (or ticket) says
    consent_state: str | None = None  # consent.lifecycle.State; None: there is no document
    withdrawn_at: str | None = None
    valid_from: str | None = None
    valid_until: str | None = None
    consented_modes: frozenset[str] = frozenset()
    consented_data: Mapping[str, Any] | None = None
    consented_window_months: int | None = None
    persons: str | None = None  # consent.person.Given: whether the persons it concerns have given their own
    refused_evidence: str | None = None  # how it was proved, where the decision is taken by somebody who refuses that
    # uses so far, and the limits (None: without limit)
    max_uses: int | None = None
    uses: int | None = None
    max_uses_in_period: int | None = None
    uses_in_period: int | None = None
    # asking
    history_known: bool = False  # the enterprise's earlier answers were looked up
    quiet_until: str | None = None
    renewal: bool = False
    within_template: bool | None = None
    # jobs and releases
    cohort: int | None = None  # enterprises with a live consent
    author: str | None = None
    approvals: tuple[str, ...] = ()
    rejections: tuple[str, ...] = ()
    withdrawn_share: float | None = None  # of a release's cohort: consents that ended since
    recall_share: float = 0.1


CONSENT_REQUEST = "consent.request"
JOB_PROPOSE = "job.propose"
JOB_START = "job.start"
JOB_ROUND = "job.round"
RELEASE = "release"
SCORE = "score"
QUERY = "query"
EXPORT = "export"
SCOPES = (CONSENT_REQUEST, JOB_PROPOSE, JOB_START, JOB_ROUND, RELEASE, SCORE, QUERY, EXPORT)

_JOB = (JOB_PROPOSE, JOB_START, JOB_ROUND)
_USE = (SCORE, QUERY)
_OUT = (RELEASE, EXPORT)
# whose validity a scope asks for
_TERM = {JOB_START: ("ticket", "作业票据")}
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_STATES = frozenset(State)
_PERSONS = frozenset({Given.NONE_NEEDED, Given.GIVEN})
_SCORING = frozenset({Mode.SCORING, Mode.MONITORING})
_QUERYING = frozenset({Mode.REPORT_QUERY, Mode.VERIFICATION, Mode.RAW_DETAIL})


@dataclass(frozen=True, slots=True)
class Rule:
    """`broken` is what forbids; messages may name facts as {f.fact}, and {what} for whose term it is."""

    code: str
    scopes: tuple[str, ...]
    broken: Callable[[Facts], bool]
    message: str
    message_zh: str
    proves: str = ""

    def denial(self, scope: str, facts: Facts) -> Denied:
        what, what_zh = _TERM.get(scope, ("consent", "授权"))
        return Denied(
            self.code,
            self.message.format(f=facts, what=what),
            self.message_zh.format(f=facts, what=what_zh),
        )


def _is_time(text: str | None) -> bool:
    return text is not None and _TIME.fullmatch(text) is not None


def _moved_back(facts: Facts) -> bool:
    seen = facts.last_seen_at
    if seen is None or facts.at >= seen:
        return False
    return parse(seen) - parse(facts.at) > CLOCK_GRACE


def _purpose_lacks(facts: Facts, uses: frozenset[Mode]) -> bool:
    """Whether the purpose is not on the published list or has none of these uses."""
    return facts.purpose not in PURPOSES or uses.isdisjoint(PURPOSE_MODES[Purpose(facts.purpose)])


def _use_lacks(facts: Facts, uses: frozenset[Mode]) -> bool:
    return facts.use not in uses or facts.use not in PURPOSE_MODES[Purpose(str(facts.purpose))]


def _outside(facts: Facts) -> bool:
    if facts.data is None:
        return False
    return facts.consented_data is None or covers(facts.consented_data, facts.data) is not None


def _window_exceeded(facts: Facts) -> bool:
    if facts.window_months is None:
        return False
    return facts.consented_window_months is None or facts.window_months > facts.consented_window_months


def _recalled(facts: Facts) -> bool:
    # written so that a share that is not a number forbids
    return facts.withdrawn_share is not None and not facts.withdrawn_share <= facts.recall_share


RULES: tuple[Rule, ...] = (
    Rule(
        "time_unknown", SCOPES, lambda f: not _is_time(f.at),
        "the time of the act is not known: a clock is needed",
        "操作时间未知：需要可用的时钟",
    ),
    Rule(
        "clock_moved_back", SCOPES, _moved_back,
        "it is {f.at}, but {f.last_seen_at} is on record already: set the clock (NTP)",
        "当前时间 {f.at} 早于已有记录 {f.last_seen_at}：请校准时钟（NTP）",
    ),
    Rule(
        "institution_unknown", SCOPES, lambda f: f.institution not in INSTITUTION_STATES,
        "the state of the acting institution is not known (found {f.institution!r})",
        "机构状态未知（{f.institution!r}）", "R1, R17",
    ),
    Rule(
        "institution_suspended", SCOPES, lambda f: f.institution == "suspended",
        "the institution is suspended: nothing may be done on its behalf until the operator lifts it",
        "该机构已被暂停权限，恢复之前不得进行任何使用", "R17",
    ),
    Rule(
        "institution_removed", SCOPES, lambda f: f.institution == "removed",
        "the institution has been removed from the platform",
        "该机构已被平台移除", "R17",
    ),
    Rule(
        "purpose_not_allowed", _JOB, lambda f: f.purpose != Purpose.JOINT_TRAINING,
        "purpose {f.purpose!r}: joint modelling serves enterprise financing only, use joint_training",
        "用途 {f.purpose!r} 不被允许：联合建模仅限支持企业融资（joint_training）", "R50",
    ),
    Rule(
        "purpose_not_allowed", (CONSENT_REQUEST,), lambda f: f.purpose not in PURPOSES,
        "purpose {f.purpose!r} is not on the published list: data serve enterprise financing only",
        "用途 {f.purpose!r} 不在公布的用途清单内：数据仅限支持企业融资", "R50",
    ),
    Rule(
        "purpose_not_allowed", (SCORE,), lambda f: _purpose_lacks(f, _SCORING),
        "purpose {f.purpose!r} has no scores: use underwriting_score or post_loan_monitoring",
        "用途 {f.purpose!r} 不含评分：应为 underwriting_score 或 post_loan_monitoring", "R50",
    ),
    Rule(
        "purpose_not_allowed", (QUERY,), lambda f: _purpose_lacks(f, _QUERYING),
        "purpose {f.purpose!r} has no queries: data serve enterprise financing only",
        "用途 {f.purpose!r} 不含查询：数据仅限支持企业融资", "R50",
    ),
    Rule(
        "use_not_allowed", (SCORE,), lambda f: _use_lacks(f, _SCORING),
        "use {f.use!r} is not a score under purpose {f.purpose}",
        "使用方式 {f.use!r} 不是用途 {f.purpose} 下的评分", "R43",
    ),
    Rule(
        "use_not_allowed", (QUERY,), lambda f: _use_lacks(f, _QUERYING),
        "use {f.use!r} is not a query under purpose {f.purpose}",
        "使用方式 {f.use!r} 不是用途 {f.purpose} 下的查询", "R43",
    ),
    Rule(
        "mode_unknown", (JOB_PROPOSE, JOB_START), lambda f: f.mode not in MODES,
        f"mode {{f.mode!r}}: one of {', '.join(MODES)}",
        f"未知模式 {{f.mode!r}}，可选 {'、'.join(MODES)}", "R61",
    ),
    Rule(
        "recipe_unknown", (JOB_PROPOSE, JOB_START), lambda f: f.recipe not in RECIPES,
        f"recipe {{f.recipe!r}}: one of {', '.join(RECIPES)}",
        f"未知配方 {{f.recipe!r}}，可选 {'、'.join(RECIPES)}",
    ),
    # ---- asking
    Rule(
        "history_unknown", (CONSENT_REQUEST,), lambda f: f.history_known is not True,
        "the enterprise's earlier answers were not looked up",
        "未查询该企业以往的答复",
    ),
    Rule(
        "quiet_period", (CONSENT_REQUEST,), lambda f: f.quiet_until is not None and f.at < f.quiet_until,
        "the enterprise said no: it may be asked again from {f.quiet_until}",
        "企业已表示不同意，{f.quiet_until} 之前不得再次请求", "网络数据安全管理条例",
    ),
    Rule(
        "request_pending", (CONSENT_REQUEST,), lambda f: f.consent_state == State.REQUESTED,
        "the enterprise was asked already and has not answered yet",
        "已向该企业发出请求，尚待答复",
    ),
    Rule(
        "consent_stands", (CONSENT_REQUEST,), lambda f: f.consent_state in STANDING and f.renewal is not True,
        "a consent stands already: ask for its renewal if its terms or term are to change",
        "已有授权：如需变更条款或期限，请发起续签",
    ),
    Rule(
        "template_unknown", (CONSENT_REQUEST,), lambda f: not isinstance(f.within_template, bool),
        "the request was not compared with the template of its purpose",
        "请求未与该用途的模板比对", "R51",
    ),
    Rule(
        "exceeds_template", (CONSENT_REQUEST,), lambda f: f.within_template is False,
        "the request asks for more than the template of its purpose allows",
        "请求超出该用途模板的上限", "R51",
    ),
    # ---- the consent of one enterprise
    Rule(
        "consent_refused", _USE, lambda f: f.consent_state == State.REFUSED,
        "the enterprise refused this purpose",
        "企业已拒绝授权此用途", "R14",
    ),
    Rule(
        "no_consent", _USE, lambda f: f.consent_state is None,
        "the enterprise has not consented to this purpose for this institution: ask for its consent first",
        "企业尚未就此用途向该机构授权，请先取得授权", "R14",
    ),
    Rule(
        "consent_pending", _USE, lambda f: f.consent_state == State.REQUESTED,
        "the enterprise was asked and has not answered yet",
        "已向企业发出请求，尚待答复", "R14",
    ),
    Rule(
        "consent_withdrawn", _USE, lambda f: f.consent_state == State.WITHDRAWN,
        "the enterprise withdrew its consent at {f.withdrawn_at}",
        "企业已于 {f.withdrawn_at} 撤回授权", "R14, PIPL §15",
    ),
    Rule(
        "consent_paused", _USE, lambda f: f.consent_state == State.PAUSED,
        "the enterprise has paused its consent: wait until it resumes it",
        "企业已暂停授权，恢复之前不得使用", "R14",
    ),
    Rule(
        "consent_state_unknown", _USE, lambda f: f.consent_state not in _STATES,
        "{f.consent_state!r} is not a state of a consent",
        "未知的授权状态 {f.consent_state!r}",
    ),
    Rule(
        "evidence_not_accepted", _USE, lambda f: f.refused_evidence is not None,
        "the consent was proved by {f.refused_evidence}, which is not accepted here: ask for a signature by passkey",
        "该授权的证明方式为 {f.refused_evidence}，此处不予接受：请企业以通行密钥重新签署", "R20",
    ),
    Rule(
        "validity_unknown", (JOB_START, *_USE), lambda f: not (_is_time(f.valid_from) and _is_time(f.valid_until)),
        "the validity of the {what} is not known",
        "{what}的有效期未知",
    ),
    Rule(
        "not_yet_valid", (JOB_START, *_USE), lambda f: f.at < str(f.valid_from),
        "the {what} is valid from {f.valid_from}",
        "{what}自 {f.valid_from} 起有效",
    ),
    Rule(
        "expired", (JOB_START, *_USE), lambda f: f.at >= str(f.valid_until) or f.consent_state == State.EXPIRED,
        "the {what} expired at {f.valid_until}",
        "{what}已于 {f.valid_until} 过期", "PIPL §14",
    ),
    Rule(
        "person_consent_withdrawn", _USE, lambda f: f.persons == Given.WITHDRAWN,
        "a person whom the consent concerns has withdrawn the own consent: the enterprise's alone is not enough",
        "相关个人已撤回其单独同意：仅有企业授权不足以使用", "PIPL §13, §15, §29",
    ),
    Rule(
        "person_consent_missing", _USE, lambda f: f.persons == Given.MISSING,
        "the consent concerns a person whose own consent is not there, has run out or covers less: ask that person",
        "授权涉及自然人，其单独同意尚未取得、已到期或范围不足：请取得本人同意", "R44, PIPL §13, §29",
    ),
    Rule(
        "persons_unknown", _USE, lambda f: f.persons not in _PERSONS,
        "whether the persons whom the consent concerns have consented was not looked up",
        "未查询相关个人是否已单独同意", "PIPL §29",
    ),
    Rule(
        "use_not_consented", _USE, lambda f: f.use not in f.consented_modes,
        "the consent does not cover the use {f.use!r}",
        "授权不含使用方式 {f.use!r}", "R43, PIPL §23",
    ),
    Rule(
        "data_unknown", (QUERY,), lambda f: f.data is None,
        "which data are queried is not known",
        "未说明查询哪些数据", "R51",
    ),
    Rule(
        "data_not_covered", _USE, _outside,
        "the consent does not cover all of the data that are asked for",
        "授权不含所请求的全部数据", "R44, R51",
    ),
    Rule(
        "window_unknown", (QUERY,), lambda f: f.window_months is None,
        "how far back the query reaches is not known",
        "未说明查询的数据时间范围", "R51",
    ),
    Rule(
        "window_exceeded", _USE, _window_exceeded,
        "{f.window_months} months are asked for, the consent covers {f.consented_window_months}",
        "请求 {f.window_months} 个月的数据，授权仅含 {f.consented_window_months} 个月", "R51",
    ),
    Rule(
        "use_count_unknown", _USE,
        lambda f: (f.max_uses is not None and f.uses is None)
        or (f.max_uses_in_period is not None and f.uses_in_period is None),
        "the consent limits the number of uses, and how many there were is not known",
        "授权限定了使用次数，而已使用次数未知", "R46",
    ),
    Rule(
        "uses_exhausted", _USE, lambda f: f.max_uses is not None and f.uses is not None and f.uses >= f.max_uses,
        "all {f.max_uses} uses that the consent allows were made: ask for a renewal",
        "授权允许的 {f.max_uses} 次使用已用完：请申请续签", "R51",
    ),
    Rule(
        "frequency_exceeded", _USE,
        lambda f: f.max_uses_in_period is not None
        and f.uses_in_period is not None
        and f.uses_in_period >= f.max_uses_in_period,
        "the {f.max_uses_in_period} uses that the consent allows in its period were made: wait",
        "授权在周期内允许的 {f.max_uses_in_period} 次使用已用完：请等待", "R51",
    ),
    # ---- cohorts
    Rule(
        "no_consented_rows", (JOB_START, JOB_ROUND), lambda f: f.cohort is None or f.cohort <= 0,
        "no enterprise of this table consents to this purpose and recipient (or all have withdrawn)",
        "本表中没有企业授权此用途与接收方（或已全部撤回授权）", "R14",
    ),
    Rule(
        "cohort_too_small", (JOB_START, JOB_ROUND), lambda f: f.cohort is None or f.cohort < MIN_COHORT,
        f"{{f.cohort}} consented enterprises remain, at least {MIN_COHORT} are needed",
        f"仅剩 {{f.cohort}} 家已授权企业，至少需要 {MIN_COHORT} 家", "R51",
    ),
    # ---- what leaves
    Rule(
        "release_rejected", _OUT, lambda f: len(f.rejections) > 0,
        "a reviewer rejected this release",
        "有审核人驳回了本次放行",
    ),
    Rule(
        "author_reviewed", _OUT, lambda f: f.author is None or f.author in f.approvals,
        "the author may not review the own model",
        "作者不得审核自己的模型",
    ),
    Rule(
        "reviews_missing", _OUT, lambda f: len(set(f.approvals)) < MIN_REVIEWS,
        f"fewer than {MIN_REVIEWS} independent approvals are in",
        f"独立审核同意不足 {MIN_REVIEWS} 份",
    ),
    Rule(
        "withdrawn_share_unknown", (EXPORT,), lambda f: f.withdrawn_share is None,
        "how much of the cohort has withdrawn since is not known",
        "样本中此后撤回授权的比例未知", "R44",
    ),
    Rule(
        "release_recalled", (RELEASE, SCORE, EXPORT), _recalled,
        "{f.withdrawn_share} of the cohort withdrew, more than {f.recall_share}: retrain without them",
        "样本中撤回授权的比例为 {f.withdrawn_share}，超过 {f.recall_share}：请剔除后重新训练", "R44",
    ),
)  # fmt: skip

_BY_SCOPE: Mapping[str, tuple[Rule, ...]] = {
    scope: tuple(rule for rule in RULES if scope in rule.scopes) for scope in SCOPES
}


def check(scope: str, facts: Facts) -> None:
    """Returns None when `scope` is allowed under `facts`; raises Denied otherwise, also for an unknown scope.

    Total: facts of a wrong type are a denial too, never another exception.
    """
    rules = _BY_SCOPE.get(scope)
    if rules is None:
        raise Denied("scope_unknown", f"scope {scope!r} is not known", f"未知的权限范围 {scope!r}")
    for rule in rules:
        try:
            denial = rule.denial(scope, facts) if rule.broken(facts) else None
        except Exception as error:
            raise Denied(
                "facts_malformed",
                f"rule {rule.code} of scope {scope} cannot be judged: a fact is of the wrong kind",
                f"无法判断权限范围 {scope} 的规则 {rule.code}：有事实的类型不符",
            ) from error
        if denial is not None:
            raise denial
