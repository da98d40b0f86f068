"""Withdrawn shares, recalls, retraining notices and impact: /v1/releases/…, /v1/retraining-notices, /v1/consents/…."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import Limit, ReasonIn, ReleaseId, Text
from api.nodes import questions
from api.nodes.schemas import QuestionId
from api.recalls import service
from api.recalls.schemas import (
    CloseIn,
    Impact,
    ImpactAnswerIn,
    NodeReleases,
    NoticeId,
    NoticeOut,
    Notices,
    NoticeState,
    ReleaseConsents,
    ShareIn,
)

router = APIRouter(prefix="/v1", tags=["recalls"])

NodeCaller = Annotated[Caller, Depends(permits(Action.NODE_REPORT))]


@router.get("/releases/{release_id}/consents")
def release_consents(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.RELEASE_READ))], release_id: ReleaseId
) -> ReleaseConsents:
    """How much of the cohort of a release has withdrawn: numbers, never names."""
    return service.release_consents(control, caller, release_id)


@router.post("/releases/{release_id}/recall")
def recall(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.RELEASE_RECALL))],
    release_id: ReleaseId,
    body: ReasonIn,
) -> ReleaseConsents:
    """Take a released model out of service."""
    return service.recall(control, caller, release_id, body.reason)


@router.get("/consents/{consent_id}/impact")
async def impact(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.CONSENT_IMPACT))], consent_id: Text
) -> Impact:
    """Every model and release that rests on a withdrawn consent; the nodes answer now, nothing is kept."""
    return await service.impact(control, caller, consent_id)


@router.get("/retraining-notices")
def notices(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.NOTICE_READ))],
    state: NoticeState | None = None,
    limit: Limit = 100,
) -> Notices:
    """Retraining notices, newest first; a bank sees its own."""
    return service.notices(control, caller, state, limit)


@router.post("/retraining-notices/{notice_id}/close")
def close(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.NOTICE_CLOSE))],
    notice_id: NoticeId,
    body: CloseIn,
) -> NoticeOut:
    """End a notice: retrained by a job, or closed for a reason."""
    return service.close(control, caller, notice_id, body)


@router.get("/node/releases")
def node_releases(control: ControlDep, caller: NodeCaller) -> NodeReleases:
    """Which releases of its jobs a node reports a share of, and which were recalled."""
    return service.node_releases(control, caller)


@router.post("/node/releases/{release_id}/share")
def report_share(control: ControlDep, caller: NodeCaller, release_id: ReleaseId, body: ShareIn) -> ReleaseConsents:
    """A node's number for one release."""
    return service.report_share(control, caller, release_id, body)


@router.post("/node/impact/{question_id}", status_code=204)
def answer(control: ControlDep, caller: NodeCaller, question_id: QuestionId, body: ImpactAnswerIn) -> Response:
    """A node answers which of its jobs rest on a withdrawn consent."""
    questions.answer(control, caller, questions.Kind.IMPACT, question_id, body)
    return Response(status_code=204)
