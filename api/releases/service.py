"""From a finished job to a released model: two blind reviews, the operator's approval, the nodes' confirmation.

Each `check_…` is one rule. A review is shown to nobody but its author until both are in; the audit trail records
that it was given, not what it says.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from api.auth import Caller, Role
from api.control import Control
from api.db import SYSTEM, Unit
from api.errors import Conflict, Forbidden, NotFound
from api.institutions import repository as institutions
from api.jobs import repository as jobs
from api.jobs.repository import Job
from api.jobs.service import visible
from api.nodes import repository as nodes
from api.paging import Page, page
from api.recalls import repository as recalls
from api.releases import repository
from api.releases.record import record
from api.releases.repository import Release, ReleaseConfirmation, ReleaseReview
from api.releases.schemas import (
    ConfirmationIn,
    ConfirmationOut,
    ReleaseIn,
    ReleaseOut,
    ReviewIn,
    ReviewOut,
)
from api.releases.states import UNBLINDED
from consent import policy
from consent.policy import Facts
from consent.ticket import make_release_order
from consent.times import stamp


class NotAReviewer(Forbidden):
    code = "not_a_reviewer"


def check_reviewer_is_independent(caller: Caller, job: Job, release: Release) -> None:
    """Raises NotAReviewer for the job's author and for who asked for the release."""
    if caller.account_id in (job.requested_by, release.requested_by):
        raise NotAReviewer("the author of the job or of the request cannot review it", "作业或放行申请的提出人不得审核")


def check_not_reviewed_by(caller: Caller, reviews: list[ReleaseReview]) -> None:
    if any(review.account_id == caller.account_id for review in reviews):
        raise Conflict("you have given your review already", "您已提交审核意见", code="already_reviewed")


def _found(session: Session, caller: Caller, release: Release | None, release_id: str) -> tuple[Release, Job]:
    job = jobs.job(session, release.job_id) if release is not None else None
    if release is None or job is None or not visible(caller, job):
        raise NotFound("release", "放行申请", release_id)
    return release, job


def request(control: Control, caller: Caller, body: ReleaseIn) -> ReleaseOut:
    """The bank asks for its job's model."""
    with control.db.unit(caller) as unit:
        job = jobs.locked(unit.session, body.job_id)
        if job is None or job.bank != caller.institution:
            raise NotFound("job", "作业", body.job_id)
        report = jobs.report(unit.session, job.id)
        if job.state != "succeeded" or report is None:
            raise Conflict(
                f"job {job.id} is {job.state}{'' if report else ' and has no report'}: there is no model to release",
                f"作业 {job.id} 状态为 {job.state}{'' if report else '，且没有报告'}：没有可放行的模型",
                code="nothing_to_release",
            )
        earlier = repository.open_of_job(unit.session, job.id)
        if earlier is not None:
            raise Conflict(
                f"release {earlier.id} of this job is {earlier.state} already",
                f"该作业的放行申请 {earlier.id} 已处于 {earlier.state} 状态", code="exists",
            )  # fmt: skip
        newest = repository.newest_of_job(unit.session, job.id)
        if newest is not None and newest.state == "recalled":
            raise Conflict(
                f"the model of job {job.id} was recalled: train again without those who withdrew",
                f"作业 {job.id} 的模型已被召回：请剔除撤回授权的企业后重新训练", code="release_recalled",
            )  # fmt: skip
        row = Release(
            id=f"r-{secrets.token_hex(6)}",
            job_id=job.id,
            sha256=report.model_sha256,
            requested_by=caller.account_id,
            requested_at=unit.now,
            reason=body.reason,
        )
        unit.create(row, "release.request", body.reason, state="submitted", sha256=row.sha256)
        return _view(unit.session, row, caller)


def review(control: Control, caller: Caller, release_id: str, body: ReviewIn) -> ReleaseOut:
    """One reviewer's word. After the second, both are shown; one rejection rejects the release."""
    with control.db.unit(caller) as unit:
        release, job = _found(unit.session, caller, repository.locked(unit.session, release_id), release_id)
        check_reviewer_is_independent(caller, job, release)
        reviews = list(repository.reviews(unit.session, release_id))
        check_not_reviewed_by(caller, reviews)
        to = {"submitted": "partially_reviewed", "partially_reviewed": "reviewed"}.get(release.state)
        if to is None:
            raise Conflict(
                f"release {release_id} is {release.state}: it takes no review",
                f"放行申请 {release_id} 状态为 {release.state}：不再接受审核", code="illegal_transition",
            )  # fmt: skip
        row = ReleaseReview(
            release_id=release_id,
            account_id=caller.account_id,
            account_name=caller.name,
            decision=body.decision,
            comment=body.comment,
            at=unit.now,
        )
        unit.create(row, "release.review", "review given")
        unit.transition(release, to, "release.review", "review given")
        reviews.append(row)
        rejecting = [r for r in reviews if r.decision == "reject"]
        if to == "reviewed" and rejecting:
            why = "; ".join(r.comment for r in rejecting)
            release.cause = {"code": "release_rejected", "message": why, "message_zh": why}
            unit.transition(release, "rejected", "release.reject", "a reviewer rejected it")
        return _view(unit.session, release, caller)


def approve(control: Control, caller: Caller, release_id: str, reason: str) -> ReleaseOut:
    """The operator's approval: signs the order that makes the nodes release the file."""
    with control.db.unit(caller) as unit:
        release, job = _found(unit.session, caller, repository.locked(unit.session, release_id), release_id)
        if release.state != "reviewed":
            raise Conflict(
                f"release {release_id} is {release.state}: it is approved after both reviews",
                f"放行申请 {release_id} 状态为 {release.state}：两份审核完成后方可批准", code="illegal_transition",
            )  # fmt: skip
        if caller.account_id in (job.requested_by, release.requested_by):
            raise Forbidden("the author cannot approve the own model", "作者不能批准自己的模型", code="own_job")
        reviews = repository.reviews(unit.session, release_id)
        approving = tuple(r.account_id for r in reviews if r.decision == "approve")
        facts = _facts(unit, control, job, reviews, recalls.worst(unit.session, release.id))
        policy.check(policy.RELEASE, facts)
        assert job.ticket is not None
        parties = nodes.addressed(unit.session, job.ticket["body"]["parties"])
        release.release_order = make_release_order(
            control.key,
            release_id=release.id,
            job_id=job.id,
            sha256=release.sha256,
            parties=parties,
            author=job.requested_by,
            reviewers=list(approving),
            issued_at=stamp(unit.now),
            expires_at=stamp(unit.now + timedelta(seconds=control.settings.release_order_seconds)),
        )
        release.approved_at = unit.now
        unit.transition(release, "approved", "release.approve", reason)
        record(unit, release)
        for side in parties.values():
            unit.notify(f"node:{side['node']}")
        return _view(unit.session, release, caller)


def _facts(unit: Unit, control: Control, job: Job, reviews: Sequence[ReleaseReview], share: float | None) -> Facts:
    """What the scopes `release` and `export` ask for. A node that has told no share saw nobody withdraw: it tells every
    change from none."""
    return Facts(
        at=stamp(unit.now),
        institution=institutions.state(unit.session, job.bank),
        author=job.requested_by,
        approvals=tuple(r.account_id for r in reviews if r.decision == "approve"),
        rejections=tuple(r.account_id for r in reviews if r.decision == "reject"),
        withdrawn_share=share or 0.0,
        recall_share=control.settings.recall_share,
    )


def veto(control: Control, caller: Caller, release_id: str, reason: str) -> ReleaseOut:
    """The data owner's no, at any time before the model is out."""
    with control.db.unit(caller) as unit:
        release, job = _found(unit.session, caller, repository.locked(unit.session, release_id), release_id)
        if caller.institution != job.lab:
            raise Forbidden(f"the veto is that of {job.lab}", f"否决权属于 {job.lab}", code="other_institution")
        release.cause = {"code": "vetoed", "message": reason, "message_zh": reason}
        unit.transition(release, "rejected", "release.veto", reason)
        return _view(unit.session, release, caller)


def confirm(control: Control, caller: Caller, release_id: str, body: ConfirmationIn) -> ReleaseOut:
    """A node's answer to the order. Released once every node has it; returned when one cannot, or may not any more."""
    with control.db.read(SYSTEM) as session:  # a node sees no other's share
        share = recalls.worst(session, release_id)
    with control.db.unit(caller) as unit:
        nodes.heard(unit.session, caller.name, unit.now)
        release = repository.locked(unit.session, release_id)
        order = release.release_order["body"] if release is not None and release.release_order else None
        if release is None or order is None or caller.name not in {s["node"] for s in order["parties"].values()}:
            raise NotFound("release", "放行申请", release_id)
        known = {row.node: row for row in repository.confirmations(unit.session, release_id)}
        if caller.name in known:
            return _view(unit.session, release, caller)
        failed = body.state == "failed" or (body.sha256 is not None and body.sha256 != release.sha256)
        row = ReleaseConfirmation(
            release_id=release_id,
            node=caller.name,
            outcome="failed" if failed else "released",
            bytes=body.bytes,
            code="sha256_differs" if failed and body.state == "released" else body.code,
            message=body.message,
            message_zh=body.message_zh,
            at=unit.now,
        )
        unit.create(row, "release.confirm", f"node {caller.name}: {row.outcome}", bytes=body.bytes)
        known[caller.name] = row
        _settle(control, unit, release, {side["node"] for side in order["parties"].values()}, known, share)
        return _view(unit.session, release, caller)


def _settle(
    control: Control,
    unit: Unit,
    release: Release,
    named: set[str],
    known: dict[str, ReleaseConfirmation],
    share: float | None,
) -> None:
    if release.state != "approved":
        return
    failed = next((row for row in known.values() if row.outcome == "failed"), None)
    if failed is not None:
        text = f"node {failed.node}: {failed.message or failed.code}"
        release.cause = {
            "code": failed.code,
            "message": text,
            "message_zh": f"节点 {failed.node}：{failed.message_zh or failed.message or failed.code}",
        }
        unit.transition(release, "returned", "release.return", text)
    elif named <= known.keys():
        job = jobs.job(unit.session, release.job_id)
        assert job is not None
        try:
            policy.check(policy.EXPORT, _facts(unit, control, job, repository.reviews(unit.session, release.id), share))
        except policy.Denied as denied:
            release.cause = {"code": denied.code, "message": denied.message, "message_zh": denied.message_zh}
            unit.transition(release, "returned", "release.return", denied.message)
            return
        release.released_at = unit.now
        unit.transition(release, "released", "release.complete", "every node confirmed")
        record(unit, release)


def _view(session: Session, row: Release, caller: Caller) -> ReleaseOut:
    shown = [
        review
        for review in repository.reviews(session, row.id)
        if row.state in UNBLINDED or review.account_id == caller.account_id or row.cause is not None
    ]
    names = institutions.names(session, {row.requested_by})
    return ReleaseOut(
        id=row.id,
        job_id=row.job_id,
        sha256=row.sha256,
        state=row.state,  # type: ignore[arg-type]
        requested_by=names.get(row.requested_by, row.requested_by),
        requested_at=row.requested_at,
        reason=row.reason,
        reviews=[ReviewOut.model_validate(review) for review in shown],
        confirmations=[ConfirmationOut.model_validate(c) for c in repository.confirmations(session, row.id)],
        cause=row.cause,
        approved_at=row.approved_at,
        released_at=row.released_at,
    )


def get(control: Control, caller: Caller, release_id: str) -> ReleaseOut:
    with control.db.read(caller) as session:
        release, _ = _found(session, caller, repository.release(session, release_id), release_id)
        return _view(session, release, caller)


def list_releases(
    control: Control, caller: Caller, state: str | None, cursor: str | None, limit: int
) -> Page[ReleaseOut]:
    everything = Role.OPERATOR in caller.roles or (Role.REVIEWER in caller.roles and caller.institution == "platform")
    with control.db.read(caller) as session:
        query = repository.search(None if everything else caller.institution, state)
        return page(session, query, repository.NEWEST, cursor, limit, lambda row: _view(session, row, caller))
