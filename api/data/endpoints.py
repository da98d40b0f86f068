"""/v1/data and /v1/node/data."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.data import service
from api.data.schemas import AnswerIn, QueryIn, QueryOut, ReportIn, ReportOut, VerificationIn, VerificationOut
from api.fields import PermitId
from api.permits.schemas import Taken

router = APIRouter(prefix="/v1", tags=["data"])


@router.post("/data/queries")
async def query(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.DATA_QUERY))], body: QueryIn
) -> QueryOut:
    """Records of one category of one enterprise, while its consent to raw detail is live."""
    return await service.query(control, caller, body)


@router.post("/data/verifications")
async def verify(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.DATA_QUERY))], body: VerificationIn
) -> VerificationOut:
    """Whether what is stated agrees with a record on file, in one word."""
    return await service.verify(control, caller, body)


@router.post("/data/reports")
async def report(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.DATA_REPORT))], body: ReportIn
) -> ReportOut:
    """The credit report of one enterprise with its composite evaluation, as JSON or PDF."""
    return await service.report(control, caller, body)


@router.post("/node/data/{permit_id}")
def answer(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.NODE_REPORT))],
    permit_id: PermitId,
    body: AnswerIn,
) -> Taken:
    """The lab's node answers a permit."""
    return service.answer(control, caller, permit_id, body)
