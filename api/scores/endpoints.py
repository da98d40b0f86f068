"""/v1/scores and /v1/node/scores."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import PermitId
from api.permits.schemas import Taken
from api.scores import service
from api.scores.schemas import AnswerIn, BatchIn, BatchOut, ScoreIn, ScoreOut

router = APIRouter(prefix="/v1", tags=["scores"])


@router.post("/scores")
async def score(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.SCORE))], body: ScoreIn
) -> ScoreOut:
    """Score one enterprise, while its consent is live; every call leaves a usage record."""
    return await service.score(control, caller, body)


@router.post("/scores/batch")
async def batch(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.SCORE))], body: BatchIn
) -> BatchOut:
    """Score up to 200 enterprises; each has its own answer and usage record."""
    return await service.batch(control, caller, body)


@router.post("/node/scores/{permit_id}")
def answer(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.NODE_REPORT))],
    permit_id: PermitId,
    body: AnswerIn,
) -> Taken:
    """The bank's node answers a permit."""
    return service.answer(control, caller, permit_id, body)
