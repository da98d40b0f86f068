"""One score: permit and usage record in one transaction, then the node's answer within the deadline.

The consent is looked at in that transaction and held against a withdrawal until it commits: a withdrawal that
was confirmed before is always seen, one that comes after finds the use recorded.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.auth import Caller
from api.consents import repository as consents
from api.consents.repository import Consent
from api.control import Control
from api.db import SYSTEM, Actor, Unit
from api.disputes import repository as disputes
from api.errors import ApiError, DeadlineExceeded, Forbidden, NotFound
from api.institutions import repository as institutions
from api.jobs import repository as jobs
from api.ledger import service as ledger
from api.nodes import repository as nodes
from api.recalls.repository import worst as withdrawn_share
from api.releases import repository as releases
from api.scores import repository
from api.scores.repository import ScoreAnswer, ScorePermit
from api.scores.schemas import AnswerIn, AnswerOut, ModelOut, ScoreIn, ScoreOut
from api.usage import repository as usage
from consent import policy
from consent.ledger import Kind
from consent.policy import Denied
from consent.purposes import Mode, Purpose
from consent.ticket import make_permit
from consent.times import stamp

# a permit's times are whole seconds: it must outlive the wait it is made for
_ROUNDING_SECONDS = 2
# what a node answers when its own gate finds no live consent
_CONSENT_CODES = frozenset(
    {
        "no_consent", "consent_refused", "consent_withdrawn", "consent_paused", "expired", "not_yet_valid",
        "use_not_consented", "uses_exhausted", "frequency_exceeded", "institution_suspended", "institution_removed",
    }
)  # fmt: skip


class NodeRefused(ApiError):
    """The node answered with an error of its own."""

    status, code, title = 502, "node_failed", "The node could not score"


def topic(permit_id: str) -> str:
    return f"score:{permit_id}"


@dataclass(frozen=True)
class Issued:
    """What the waiting call remembers of its permit."""

    permit_id: str
    usage_id: str
    consent_id: str
    sha256: str
    version: str
    node: str
    disputed: bool


def _standing(unit: Unit, *parties: str) -> str | None:
    """The state that forbids most: a sanctioned lab serves no score either."""
    states = [institutions.state(unit.session, party) for party in parties]
    return next((state for state in states if state != "active"), "active")


def _uses(unit: Unit, found: Consent | None) -> tuple[int, int]:
    """Uses under a consent, in all and in the period of its limit."""
    if found is None:
        return 0, 0
    days = found.terms["limits"]["period_days"] or 0
    return usage.counted(unit.session, found.consent_id, unit.now - timedelta(days=days))


def permit(control: Control, caller: Caller, permit_id: str, body: ScoreIn) -> Issued:
    """Records the use and signs the permit, together. Raises Denied without a live consent."""
    with control.db.unit(caller) as unit:
        release = releases.served(unit.session, body.release_sha256, body.job_id)
        job = jobs.job(unit.session, release.job_id) if release is not None else None
        if release is None or job is None or job.bank != caller.institution:
            raise NotFound("released model", "已放行模型", body.release_sha256 or str(body.job_id))
        if release.state == "recalled":
            cause = release.cause or {"message": "recalled", "message_zh": "已召回"}
            raise Denied("release_recalled", cause["message"], cause["message_zh"])
        purpose = Purpose.UNDERWRITING_SCORE
        found = consents.newest(unit.session, body.enterprise, job.bank, job.lab, purpose, lock=True)
        facts = consents.facts_of(
            found,
            stamp(unit.now),
            purpose=purpose,
            use=Mode.SCORING,
            institution=_standing(unit, job.bank, job.lab),
            uses=_uses(unit, found),
        )
        share = withdrawn_share(unit.session, release.id)
        policy.check("score", replace(facts, withdrawn_share=share, recall_share=control.settings.recall_share))
        assert found is not None  # or the policy had denied
        assert release.release_order is not None
        assert job.ticket is not None
        record = usage.record(
            unit,
            account_id=caller.account_id,
            user=caller.name,
            institution=caller.institution,
            reason=body.reason,
            use=Mode.SCORING,
            purpose=purpose,
            object_kind="enterprise",
            object_id=body.enterprise,
            data=found.terms["data"],  # a model's inputs are not told here: at most what was consented to
            sha256=release.sha256,
            consent_id=found.consent_id,
            job_id=job.id,
            release_id=release.id,
            permit_id=permit_id,
        )
        seconds = control.settings.score_seconds
        expires_at = unit.now + timedelta(seconds=seconds)
        bank_node = release.release_order["body"]["parties"]["bank"]["node"]
        row = ScorePermit(
            id=permit_id,
            usage_id=record.id,
            release_id=release.id,
            release_sha256=release.sha256,
            node=bank_node,
            permit=make_permit(
                control.key,
                permit_id=permit_id,
                consent_id=found.consent_id,
                enterprise=body.enterprise,
                recipient=job.bank,
                purpose=str(purpose),
                release_sha256=release.sha256,
                parties=nodes.addressed(unit.session, job.ticket["body"]["parties"]),
                reason=body.reason,
                user=caller.name,
                issued_at=stamp(unit.now),
                expires_at=stamp(expires_at + timedelta(seconds=_ROUNDING_SECONDS)),
            ),
            issued_at=unit.now,
            expires_at=expires_at,
        )
        unit.create(row, "score.permit", body.reason, state="pending", usage_id=record.id)
        ledger.append(unit, Kind.SCORE, row.permit, of=("score_permit", permit_id))
        unit.notify(f"node:{bank_node}")
        disputed = disputes.is_disputed(unit.session, body.enterprise)
        return Issued(permit_id, record.id, found.consent_id, release.sha256, release.id, bank_node, disputed)


def _close(unit: Unit, row: ScorePermit, state: str, reason: str, code: str | None = None) -> None:
    unit.transition(row, state, "score.close", reason, code=code)
    usage.outcome(unit, row.usage_id, state, code)


def answer(control: Control, caller: Caller, permit_id: str, body: AnswerIn) -> AnswerOut:
    """Takes the node's answer; a late or repeated one changes nothing."""
    with control.db.unit(caller) as unit:
        nodes.heard(unit.session, caller.name, unit.now)
        row = repository.locked(unit.session, permit_id)
        if row is None or row.node != caller.name:
            raise NotFound("permit", "许可", permit_id)
        if row.state == "pending":
            if body.error is None:
                _close(unit, row, "answered", "answered by the node")
            else:
                _close(unit, row, "failed", body.error.message, body.error.code)
            unit.session.add(ScoreAnswer(permit_id=permit_id, body=body.model_dump(), at=unit.now))
            unit.notify(topic(permit_id))
        return AnswerOut(state=row.state)


def fetch(control: Control, permit_id: str) -> dict[str, Any] | None:
    """The answer, once: it is deleted as it is read."""
    with control.db.unit(SYSTEM) as unit:
        return repository.take_answer(unit.session, permit_id)


def expire(control: Control, actor: Actor, permit_id: str) -> None:
    with control.db.unit(actor) as unit:
        row = repository.locked(unit.session, permit_id)
        if row is not None and row.state == "pending":
            _close(unit, row, "expired", "no answer within the deadline", "deadline_exceeded")


def sweep(control: Control) -> None:
    """Closes permits whose caller has gone, and forgets answers that nobody fetched."""
    with control.db.read() as session:
        now = control.db.clock()
        # the waiting call closes its own permit at the deadline: this is for those that were killed
        late = repository.overdue(session, now - timedelta(seconds=_ROUNDING_SECONDS))
    for permit_id in late:
        expire(control, SYSTEM, permit_id)
    with control.db.unit(SYSTEM) as unit:
        repository.forget_answers(unit.session, unit.now - timedelta(seconds=60))


async def score(control: Control, caller: Caller, body: ScoreIn) -> ScoreOut:
    """Permit, wait, answer. Raises DeadlineExceeded (504) when the node does not answer in time."""
    permit_id = f"p-{secrets.token_hex(8)}"
    with control.hub.listen(topic(permit_id)) as bell:
        issued = await run_in_threadpool(permit, control, caller, permit_id, body)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + control.settings.score_seconds
        while True:
            found = await run_in_threadpool(fetch, control, permit_id)
            left = deadline - loop.time()
            if found is not None:
                return _answered(issued, found)
            if left <= 0 or control.hub.closing:
                break
            await bell.wait(left)
    await run_in_threadpool(expire, control, caller, permit_id)
    if (found := await run_in_threadpool(fetch, control, permit_id)) is not None:
        return _answered(issued, found)
    raise DeadlineExceeded(
        f"node {issued.node} did not answer within {control.settings.score_seconds:.0f} s: see that it runs",
        f"节点 {issued.node} 未在 {control.settings.score_seconds:.0f} 秒内应答：请确认其正在运行",
        code="score_deadline",
        usage_id=issued.usage_id,
    )


def _answered(issued: Issued, found: dict[str, Any]) -> ScoreOut:
    if (error := found.get("error")) is not None:
        kind = Forbidden if error["code"] in _CONSENT_CODES else NodeRefused
        raise kind(
            error["message"],
            error["message_zh"] or error["message"],
            code=error["code"],
            usage_id=issued.usage_id,
        )
    result = found["result"]
    return ScoreOut(
        score=result["score"],
        pd=result["pd"],
        reasons=result["reasons"],
        model=ModelOut(sha256=issued.sha256, version=issued.version),
        consent_id=issued.consent_id,
        usage_id=issued.usage_id,
        disputed=issued.disputed,
    )
