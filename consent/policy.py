"""May this be done now? One pure, total function over named scopes; a denial names its reason for a person.

The same function runs in the control plane and in every node. It reads facts, never a clock or a store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consent.purposes import Purpose

# Fewer rows than this and aggregates begin to describe single enterprises.
MIN_COHORT = 100

MODES = ("federated", "zone")
RECIPES = ("boosting", "logistic")


class Denied(Exception):
    """What was asked may not be done: `code` is stable, the messages are for a person."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        super().__init__(message)
        self.code, self.message, self.message_zh = code, message, message_zh


@dataclass(frozen=True)
class Facts:
    """What a decision may depend on. Unknown facts stay None, and a scope that needs one denies.

    `at` and the validity bounds are timestamps of consent.times; `cohort` counts enterprises.
    """

    at: str = ""
    purpose: str | None = None
    mode: str | None = None
    recipe: str | None = None
    valid_from: str | None = None
    valid_until: str | None = None
    withdrawn_at: str | None = None
    refused: bool = False
    consent_found: bool = False
    cohort: int | None = None
    author: str | None = None
    approvals: tuple[str, ...] = ()
    rejections: tuple[str, ...] = ()


def _propose(facts: Facts) -> None:
    if facts.purpose != Purpose.JOINT_TRAINING:
        raise Denied(
            "purpose_not_allowed",
            f"purpose {facts.purpose!r}: joint modelling serves enterprise financing only, use joint_training",
            f"用途 {facts.purpose!r} 不被允许：联合建模仅限支持企业融资（joint_training）",
        )
    if facts.mode not in MODES:
        raise Denied("mode_unknown", f"mode {facts.mode!r}: one of {MODES}", f"未知模式 {facts.mode!r}，可选 {MODES}")
    if facts.recipe not in RECIPES:
        raise Denied(
            "recipe_unknown",
            f"recipe {facts.recipe!r}: one of {RECIPES}",
            f"未知配方 {facts.recipe!r}，可选 {RECIPES}",
        )


def _within(facts: Facts, what: str, what_zh: str) -> None:
    if not facts.at or not facts.valid_from or not facts.valid_until:
        raise Denied("validity_unknown", f"the validity of the {what} is not known", f"{what_zh}的有效期未知")
    if facts.at < facts.valid_from:
        raise Denied(
            "not_yet_valid",
            f"the {what} is valid from {facts.valid_from}",
            f"{what_zh}自 {facts.valid_from} 起有效",
        )
    if facts.at >= facts.valid_until:
        raise Denied("expired", f"the {what} expired at {facts.valid_until}", f"{what_zh}已于 {facts.valid_until} 过期")


def _start(facts: Facts) -> None:
    _propose(facts)
    _within(facts, "ticket", "作业票据")
    _round(facts)


def _round(facts: Facts) -> None:
    if facts.cohort is None or facts.cohort <= 0:
        raise Denied(
            "no_consented_rows",
            "no enterprise of this table consents to this purpose and recipient (or all have withdrawn)",
            "本表中没有企业授权此用途与接收方（或已全部撤回授权）",
        )
    if facts.cohort < MIN_COHORT:
        raise Denied(
            "cohort_too_small",
            f"{facts.cohort} consented enterprises remain, at least {MIN_COHORT} are needed",
            f"仅剩 {facts.cohort} 家已授权企业，至少需要 {MIN_COHORT} 家",
        )


def _live_consent(facts: Facts) -> None:
    if facts.refused:
        raise Denied("consent_refused", "the enterprise refused this purpose", "企业已拒绝授权此用途")
    if not facts.consent_found:
        raise Denied(
            "no_consent",
            "the enterprise has not consented to this purpose for this institution: ask for its consent first",
            "企业尚未就此用途向该机构授权，请先取得授权",
        )
    if facts.withdrawn_at is not None:
        raise Denied(
            "consent_withdrawn",
            f"the enterprise withdrew its consent at {facts.withdrawn_at}",
            f"企业已于 {facts.withdrawn_at} 撤回授权",
        )
    _within(facts, "consent", "授权")


def _release(facts: Facts) -> None:
    reviewers = set(facts.approvals)
    if facts.rejections:
        raise Denied("release_rejected", "a reviewer rejected this release", "有审核人驳回了本次放行")
    if facts.author is None or facts.author in reviewers:
        raise Denied("author_reviewed", "the author may not review the own model", "作者不得审核自己的模型")
    if len(reviewers) < 2:
        raise Denied(
            "reviews_missing",
            f"{len(reviewers)} of 2 independent approvals are in",
            f"已有 {len(reviewers)} 份独立审核同意，需要 2 份",
        )


def _export(facts: Facts) -> None:
    _release(facts)


SCOPES: dict[str, Callable[[Facts], None]] = {
    "job.propose": _propose,
    "job.start": _start,
    "job.round": _round,
    "release": _release,
    "export": _export,
    "score": _live_consent,
}


def check(scope: str, facts: Facts) -> None:
    """Returns None when `scope` is allowed under `facts`; raises Denied otherwise, also for an unknown scope."""
    rule = SCOPES.get(scope)
    if rule is None:
        raise Denied("scope_unknown", f"scope {scope!r} is not known", f"未知的权限范围 {scope!r}")
    rule(facts)
