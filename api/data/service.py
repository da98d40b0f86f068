"""Data of one enterprise out of a lab's store: permit and usage record together, then the answer of the lab's node.

The way of the permit is `api.permits`'s. Owns what each use may ask for and how often one may guess; keeps nothing that
is told, and nothing that is stated to be compared.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from api.auth import Caller
from api.consents.repository import Consent
from api.control import Control
from api.data import repository
from api.data.schemas import AnswerIn, QueryIn, QueryOut, ReportIn, ReportOut, VerificationIn, VerificationOut
from api.db import Unit
from api.errors import ApiError, Conflict, Invalid, NotFound
from api.nodes import repository as nodes
from api.permits import service as permits
from api.permits.repository import Kind
from api.permits.schemas import Taken
from api.usage import repository as usage
from consent import policy
from consent.canonical import digest
from consent.policy import Denied
from consent.purposes import LENDER_CATEGORIES, Mode, Purpose
from consent.ticket import make_data_permit

_DAY = timedelta(days=1)


class VerifiedTooOften(ApiError):
    """Answers to many guesses would give the value away."""

    status, code, title = 429, "verified_too_often", "Too many requests"


class UnexpectedAnswer(ApiError):
    """The node told something else than its permit allows."""

    status, code, title = 502, "unexpected_answer", "The node answered with something else"


@dataclass(frozen=True)
class Wanted:
    """One use as asked. `data` None: what the consent covers; likewise `window_months`. `request` is not kept."""

    enterprise: str
    provider: str
    node: str | None
    purpose: Purpose
    use: Mode
    reason: str
    form: str
    categories: Sequence[str] | None
    items: Sequence[str] | None = None
    window_months: int | None = None
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Issued(permits.Issued):
    """The same, and how far back it goes."""

    window_months: int


def _node(unit: Unit, wanted: Wanted) -> str:
    """The lab's node that is asked. Raises NotFound, or Conflict where the lab has several and none is named."""
    names = [one.name for one in nodes.nodes(unit.session) if one.role == "lab" and one.institution == wanted.provider]
    if wanted.node is not None and wanted.node in names:
        return wanted.node
    if wanted.node is not None or not names:
        raise NotFound("node of this lab", "该实验室的节点", wanted.node or wanted.provider)
    if len(names) > 1:
        raise Conflict(
            f"{wanted.provider} has several nodes, name one: {', '.join(names)}",
            f"{wanted.provider} 有多个节点，请指定：{'、'.join(names)}",
            code="node_ambiguous",
        )
    return names[0]


def _data(wanted: Wanted, found: Consent | None) -> dict[str, Any]:
    """The categories and items in question. Raises Denied for what stays with the lender, whoever consents."""
    for category in wanted.categories or ():
        if category in LENDER_CATEGORIES:
            raise Denied(
                "sharing_never", f"category {category} stays with the lender: it is told to nobody",
                f"类别 {category} 留存于贷款机构，不对外提供",
            )  # fmt: skip
    consented: Mapping[str, Any] = {} if found is None else found.terms["data"]
    names = wanted.categories
    if names is None:
        names = sorted(set(consented) - LENDER_CATEGORIES)
    items = None if wanted.items is None else sorted(set(wanted.items))
    return {name: consented.get(name, "*") if items is None else items for name in names}


def _check_guesses(control: Control, unit: Unit, caller: Caller, enterprise: str, data: Mapping[str, Any]) -> None:
    """Raises VerifiedTooOften."""
    codes = [f"{category}/{item}" for category, items in data.items() for item in items]
    made = repository.verified(unit.session, caller.institution, enterprise, codes, unit.now - _DAY)
    most = control.settings.verifications_per_day
    if spent := sorted(code for code in codes if made[code] >= most):
        raise VerifiedTooOften(
            f"{spent[0]} of this enterprise was verified {most} times within a day: wait",
            f"一天内已对该企业的 {spent[0]} 核验 {most} 次：请等待",
        )


def permit(control: Control, caller: Caller, wanted: Wanted, permit_id: str) -> Issued:
    """Records the use and signs the permit, together. Raises Denied without a live consent that covers it."""
    with control.db.unit(caller) as unit:
        repository.alone(unit.session, caller.institution, wanted.enterprise)
        found, facts = permits.facts(
            unit,
            enterprise=wanted.enterprise,
            recipient=caller.institution,
            provider=wanted.provider,
            purpose=wanted.purpose,
            use=wanted.use,
        )
        data = _data(wanted, found)
        months = wanted.window_months or (1 if found is None else found.terms["window_months"])
        policy.check("query", replace(facts, data=data, window_months=months))
        assert found is not None  # or the policy had denied
        if not data:
            raise Denied("data_not_covered", "the consent covers no data that may be told", "授权未含任何可提供的数据")
        if wanted.use is Mode.VERIFICATION:
            _check_guesses(control, unit, caller, wanted.enterprise, data)
        node = _node(unit, wanted)
        record = usage.record(
            unit,
            account_id=caller.account_id,
            user=caller.name,
            institution=caller.institution,
            reason=wanted.reason,
            use=wanted.use,
            purpose=wanted.purpose,
            object_kind="enterprise",
            object_id=wanted.enterprise,
            data=data,
            consent_id=found.consent_id,
            permit_id=permit_id,
        )
        # what is stated stays out of what is kept; the nonce keeps it from being guessed from its hash
        request = {"nonce": secrets.token_hex(16), **wanted.request} if wanted.request else None
        expires_at, times = permits.times(unit, control.settings.data_seconds)
        document = make_data_permit(
            control.key,
            permit_id=permit_id,
            usage_id=record.id,
            consent_id=found.consent_id,
            enterprise=wanted.enterprise,
            recipient=caller.institution,
            provider=wanted.provider,
            node=node,
            purpose=str(wanted.purpose),
            use=str(wanted.use),
            data=data,
            window_months=months,
            form=wanted.form,
            request_sha256="" if request is None else digest(request),
            reason=wanted.reason,
            user=caller.name,
            **times,
        )
        issued = permits.issue(
            unit, Kind.DATA, document, usage_id=record.id, node=node, expires_at=expires_at, request=request
        )
        return Issued(**vars(issued), window_months=months)


async def _told(control: Control, caller: Caller, wanted: Wanted, name: str) -> tuple[Issued, Any, dict[str, Any]]:
    """The permit, what the node told under `name`, and what every answer says besides."""
    issued, result = await permits.wait(
        control, caller, partial(permit, control, caller, wanted), control.settings.data_seconds, "data_deadline"
    )
    told = result.get(name)
    if told is None:
        raise UnexpectedAnswer(
            f"node {issued.node} did not tell {name}: see its version",
            f"节点 {issued.node} 未返回 {name}：请核对其版本",
            usage_id=issued.usage_id,
        )
    common = {"consent_id": issued.consent_id, "usage_id": issued.usage_id, "disputed": issued.disputed}
    return issued, told, common


def _wanted(body: QueryIn | VerificationIn | ReportIn, use: Mode, form: str, **more: Any) -> Wanted:
    named = {name: getattr(body, name) for name in ("enterprise", "provider", "node", "purpose", "reason")}
    return Wanted(**named, use=use, form=form, **more)


async def query(control: Control, caller: Caller, body: QueryIn) -> QueryOut:
    """Raises what `permits.wait` does."""
    wanted = _wanted(
        body, Mode.RAW_DETAIL, "json", categories=[body.category], items=body.items, window_months=body.window_months
    )
    issued, told, common = await _told(control, caller, wanted, "records")
    return QueryOut(category=body.category, window_months=issued.window_months, records=told, **common)


async def verify(control: Control, caller: Caller, body: VerificationIn) -> VerificationOut:
    """Raises VerifiedTooOften, and what `permits.wait` does."""
    request = {"stated": dict(body.stated), "at_least": dict(body.at_least)}
    wanted = _wanted(body, Mode.VERIFICATION, "word", categories=[body.category], items=body.items, request=request)
    _, told, common = await _told(control, caller, wanted, "answer")
    return VerificationOut(category=body.category, answer=told, **common)


async def report(control: Control, caller: Caller, body: ReportIn) -> ReportOut:
    """Raises what `permits.wait` does."""
    if body.categories is not None and len(set(body.categories)) != len(body.categories):
        raise Invalid("categories: one is named twice", "categories：有重复的类别", code="category_repeated")
    wanted = _wanted(body, Mode.REPORT_QUERY, body.form, categories=body.categories, window_months=body.window_months)
    name = "report" if body.form == "json" else "pdf"
    _, told, common = await _told(control, caller, wanted, name)
    return ReportOut(**{name: told}, **common)


def answer(control: Control, caller: Caller, permit_id: str, body: AnswerIn) -> Taken:
    """Takes the node's answer; a late or repeated one changes nothing."""
    return permits.answer(control, caller, Kind.DATA, permit_id, body.model_dump(), body.error)
