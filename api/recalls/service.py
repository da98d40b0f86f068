"""Withdrawals against models already made: shares come in from nodes, releases are recalled, notices go out.

The control plane never learns a job's cohort. Nodes report one number for each release, rounded and on a schedule of
their own, and answer which jobs rest on a consent only once its enterprise has withdrawn it; that answer is handed on
and not kept.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.auth import Caller, Role
from api.consent_events import service as consent_events
from api.consents import repository as consents
from api.consents.repository import Consent
from api.control import Control
from api.db import SYSTEM, Actor, Unit
from api.errors import Conflict, DeadlineExceeded, NotFound
from api.jobs import repository as jobs
from api.jobs.repository import Job
from api.jobs.service import visible
from api.nodes import questions
from api.nodes import repository as nodes
from api.nodes.questions import Kind, Question
from api.recalls import repository
from api.recalls.repository import ReleaseShare, RetrainingNotice
from api.recalls.schemas import (
    CloseIn,
    Impact,
    ImpactItem,
    NodeRelease,
    NodeReleases,
    NoticeOut,
    Notices,
    ReleaseConsents,
    ShareIn,
    ShareOut,
)
from api.releases import repository as releases
from api.releases.record import record
from api.releases.repository import Release
from consent.ticket import make_impact_question
from consent.times import stamp

_QUESTION_SECONDS = 2  # a question's times are whole seconds: it must outlive the wait it is made for


# ---- shares and recall


def node_releases(control: Control, caller: Caller) -> NodeReleases:
    with control.db.read(caller) as session:
        found = repository.of_node(session, caller.name)
        return NodeReleases(
            items=[NodeRelease(release_id=r.id, job_id=r.job_id, sha256=r.sha256, state=r.state) for r in found]
        )


def report_share(control: Control, caller: Caller, release_id: str, body: ShareIn) -> ReleaseConsents:
    """Takes a node's number; opens a notice with the first withdrawals, recalls the release beyond the limit."""
    with control.db.unit(caller) as unit:
        nodes.heard(unit.session, caller.name, unit.now)
        release = releases.locked(unit.session, release_id)
        job = jobs.job(unit.session, release.job_id) if release is not None else None
        if release is None or job is None or caller.name not in (job.bank_node, job.lab_node):
            raise NotFound("release", "放行申请", release_id)
        known = next((row for row in repository.shares(unit.session, release_id) if row.node == caller.name), None)
        if known is None:
            row = ReleaseShare(release_id=release_id, node=caller.name, share=body.share, seq=body.seq, at=unit.now)
            unit.create(row, "release.share", "reported by the node", share=body.share, seq=body.seq)
        elif body.seq >= known.seq and known.share != body.share:
            known.share, known.seq, known.at = body.share, body.seq, unit.now
            unit.session.flush()
            unit.record("release.share", known, "reported by the node", detail={"share": body.share, "seq": body.seq})
        share = repository.worst(unit.session, release_id)
        if release.state == "released" and share is not None and share > 0:
            _notice(unit, release, job, share)
            # written so that a share that is not a number recalls
            if not share <= control.settings.recall_share:
                limit = control.settings.recall_share
                _recall(
                    unit, release, job,
                    f"{share:.0%} of the cohort withdrew, more than {limit:.0%}: train again without them",
                    f"样本中 {share:.0%} 已撤回授权，超过 {limit:.0%}：请剔除后重新训练",
                )  # fmt: skip
        return _consents(unit.session, control, release)


def _notice(unit: Unit, release: Release, job: Job, share: float) -> None:
    row = repository.open_notice(unit.session, release.id)
    if row is None:
        row = RetrainingNotice(
            id=f"n-{secrets.token_hex(6)}", release_id=release.id, bank=job.bank, share=share, opened_at=unit.now
        )
        unit.create(row, "notice.open", f"{share:.0%} of the cohort withdrew", state="open", share=share)
    elif row.share != share:
        row.share = share
        unit.session.flush()
        unit.record("notice.share", row, f"{share:.0%} of the cohort withdrew", detail={"share": share})
    else:
        return
    body = {"notice_id": row.id, "release_id": release.id, "job_id": job.id, "share": share, "at": stamp(unit.now)}
    consent_events.tell(unit, [(job.bank, "retraining", body)])


def _recall(unit: Unit, release: Release, job: Job, reason: str, reason_zh: str) -> None:
    release.cause = {"code": "release_recalled", "message": reason, "message_zh": reason_zh}
    unit.transition(release, "recalled", "release.recall", reason)
    record(unit, release)
    body = {"release_id": release.id, "job_id": job.id, "reason": reason, "at": stamp(unit.now)}
    consent_events.tell(unit, [(job.bank, "recall", body)])


def recall(control: Control, caller: Caller, release_id: str, reason: str) -> ReleaseConsents:
    """The operator takes a released model out of service. Raises IllegalTransition for one that is not released."""
    with control.db.unit(caller) as unit:
        release = releases.locked(unit.session, release_id)
        job = jobs.job(unit.session, release.job_id) if release is not None else None
        if release is None or job is None:
            raise NotFound("release", "放行申请", release_id)
        _recall(unit, release, job, reason, reason)
        return _consents(unit.session, control, release)


def _consents(session: Session, control: Control, release: Release) -> ReleaseConsents:
    rows = repository.shares(session, release.id)
    return ReleaseConsents(
        release_id=release.id,
        state=release.state,
        share=max((row.share for row in rows), default=None),
        recall_share=control.settings.recall_share,
        nodes=[ShareOut.model_validate(row) for row in rows],
    )


def release_consents(control: Control, caller: Caller, release_id: str) -> ReleaseConsents:
    """How much of a release's cohort has withdrawn, in numbers."""
    with control.db.read(caller) as session:
        release = releases.release(session, release_id)
        job = jobs.job(session, release.job_id) if release is not None else None
        if release is None or job is None or not visible(caller, job):
            raise NotFound("release", "放行申请", release_id)
        return _consents(session, control, release)


# ---- notices


def _scope(caller: Caller) -> str | None:
    return None if Role.OPERATOR in caller.roles else caller.institution


def notices(control: Control, caller: Caller, state: str | None, limit: int) -> Notices:
    with control.db.read(caller) as session:
        rows = repository.notices(session, _scope(caller), state, limit)
        return Notices(items=[NoticeOut.model_validate(row) for row in rows])


def close(control: Control, caller: Caller, notice_id: str, body: CloseIn) -> NoticeOut:
    """Ends a notice: retrained by a job that succeeded after it, or closed for a reason."""
    with control.db.unit(caller) as unit:
        row = repository.notice(unit.session, notice_id)
        if row is None or _scope(caller) not in (None, row.bank):
            raise NotFound("retraining notice", "重新训练通知", notice_id)
        if body.retrained_by is not None:
            job = jobs.job(unit.session, body.retrained_by)
            if job is None or job.bank != row.bank:
                raise NotFound("job", "作业", body.retrained_by)
            if job.state != "succeeded" or job.approved_at is None or job.approved_at < row.opened_at:
                raise Conflict(
                    f"job {job.id} has not trained a model since the notice",
                    f"作业 {job.id} 并非在通知之后成功完成的训练",
                    code="not_retrained",
                )
            row.retrained_by = job.id
        row.reason, row.closed_at = body.reason, unit.now
        state = "closed" if body.retrained_by is None else "retrained"
        unit.transition(row, state, "notice.close", body.reason, retrained_by=body.retrained_by)
        return NoticeOut.model_validate(row)


# ---- impact


def _question(control: Control, actor: Actor, consent_id: str) -> tuple[Consent, Question]:
    """The question for every node that has trained with this bank's and lab's consents."""
    question_id = f"q-{secrets.token_hex(8)}"
    with control.db.read(SYSTEM) as session:
        consent = consents.consent(session, consent_id)
        if consent is None:
            raise NotFound("consent", "授权", consent_id)
        asked = repository.training_nodes(session, consent.recipient, consent.provider)
        session.expunge(consent)
    with control.db.unit(actor) as unit:
        seconds = control.settings.score_seconds + _QUESTION_SECONDS
        document = make_impact_question(
            control.key,
            question_id=question_id,
            consent_id=consent_id,
            enterprise=consent.enterprise,
            issued_at=stamp(unit.now),
            expires_at=stamp(unit.now + timedelta(seconds=seconds)),
        )
        if asked:
            unit.record("consent.impact", consent, "asked which models rest on it", detail={"nodes": sorted(asked)})
    return consent, Question(Kind.IMPACT, question_id, document, frozenset(asked))


async def impact(control: Control, actor: Actor, consent_id: str) -> Impact:
    """Every model that rests on a withdrawn consent, as the nodes answer now.

    Raises NotFound, NotTold with a node's reason (a consent that stands is nobody's to ask about), or DeadlineExceeded.
    """
    consent, question = await run_in_threadpool(_question, control, actor, consent_id)
    answers = await questions.ask(control, question)
    questions.check_told(answers.values())
    if silent := question.nodes - answers.keys():
        seconds, names = control.settings.score_seconds, sorted(silent)
        raise DeadlineExceeded(
            f"not every node answered within {seconds:.0f} s: see that {', '.join(names)} run",
            f"并非所有节点都在 {seconds:.0f} 秒内应答：请确认 {'、'.join(names)} 正在运行",
            code="impact_deadline",
        )
    return await run_in_threadpool(_impact, control, consent, answers)


def _impact(control: Control, consent: Consent, answers: dict[str, dict[str, Any]]) -> Impact:
    told = {node: set(answer["job_ids"]) for node, answer in answers.items()}
    named = set().union(*told.values()) if told else set()
    items = []
    with control.db.read(SYSTEM) as session:
        for job, release in repository.releases_of_jobs(session, named, (consent.recipient, consent.provider)):
            # a row enters a model when both sides admitted it
            if job.state != "succeeded" or not all(
                job.id in told.get(node, ()) for node in (job.bank_node, job.lab_node)
            ):
                continue
            items.append(
                ImpactItem(
                    job_id=job.id,
                    project=job.project,
                    trained_at=job.ended_at,
                    release_id=release.id if release is not None else None,
                    release_state=release.state if release is not None else None,
                    share=repository.worst(session, release.id) if release is not None else None,
                )
            )
    return Impact(consent_id=consent.consent_id, state=consent.state, items=items)
