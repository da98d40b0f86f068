"""One score: a released model, a live consent to it, and the answer of the bank's node.

The way of the permit is `api.permits`'s; owns what a score needs of a release and what is answered.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial

from api.auth import Caller
from api.control import Control
from api.errors import ApiError, NotFound
from api.jobs import repository as jobs
from api.nodes import repository as nodes
from api.permits import service as permits
from api.permits.repository import Kind
from api.permits.schemas import Taken
from api.recalls.repository import worst as withdrawn_share
from api.releases import repository as releases
from api.scores.schemas import AnswerIn, BatchIn, BatchItem, BatchOut, ModelOut, Refused, ScoreIn, ScoreOut
from api.usage import repository as usage
from consent import policy
from consent.policy import Denied
from consent.purposes import Mode, Purpose
from consent.ticket import make_permit

_AT_ONCE = 8  # scores of one batch under way


@dataclass(frozen=True)
class Issued(permits.Issued):
    """The same, and the model's file and version."""

    sha256: str
    version: str


def permit(control: Control, caller: Caller, body: ScoreIn, permit_id: str) -> Issued:
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
        found, facts = permits.facts(
            unit, enterprise=body.enterprise, recipient=job.bank, provider=job.lab, purpose=purpose, use=Mode.SCORING
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
        expires_at, times = permits.times(unit, control.settings.score_seconds)
        document = make_permit(
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
            **times,
        )
        issued = permits.issue(
            unit,
            Kind.SCORE,
            document,
            usage_id=record.id,
            node=release.release_order["body"]["parties"]["bank"]["node"],
            expires_at=expires_at,
            release_id=release.id,
            release_sha256=release.sha256,
        )
        return Issued(**vars(issued), sha256=release.sha256, version=release.id)


def answer(control: Control, caller: Caller, permit_id: str, body: AnswerIn) -> Taken:
    """Takes the node's answer; a late or repeated one changes nothing."""
    return permits.answer(control, caller, Kind.SCORE, permit_id, body.model_dump(), body.error)


async def score(control: Control, caller: Caller, body: ScoreIn) -> ScoreOut:
    """Permit, wait, answer. Raises what `permits.wait` does."""
    issued, result = await permits.wait(
        control, caller, partial(permit, control, caller, body), control.settings.score_seconds, "score_deadline"
    )
    return ScoreOut(
        score=result["score"],
        pd=result["pd"],
        reasons=result["reasons"],
        model=ModelOut(sha256=issued.sha256, version=issued.version),
        consent_id=issued.consent_id,
        usage_id=issued.usage_id,
        disputed=issued.disputed,
    )


async def batch(control: Control, caller: Caller, body: BatchIn) -> BatchOut:
    """Each enterprise as by itself, a few at a time: its own permit, consent, usage record, and score or refusal."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(enterprise: str) -> BatchItem:
        async with turn:
            try:
                return BatchItem(enterprise=enterprise, score=await score(control, caller, body.of(enterprise)))
            except (ApiError, Denied) as error:
                refused = Refused(
                    code=error.code,
                    detail=error.message,
                    detail_zh=error.message_zh,
                    usage_id=getattr(error, "extra", {}).get("usage_id"),
                )
                return BatchItem(enterprise=enterprise, refused=refused)

    items = await asyncio.gather(*(one(enterprise) for enterprise in body.enterprises))
    scored = sum(item.score is not None for item in items)
    return BatchOut(items=items, scored=scored, refused=len(items) - scored)
