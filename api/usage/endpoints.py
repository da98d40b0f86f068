"""/v1/usage."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import AwareDatetime

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import JobId, Limit, Text, UsageId
from api.nodes import questions
from api.nodes.schemas import QuestionId
from api.usage import asking, node_heads, service
from api.usage.schemas import (
    NodeHeadIn,
    NodeHeadOut,
    NodeLogOut,
    NodeUses,
    QuestionIn,
    UsagePage,
    UsesIn,
)

router = APIRouter(prefix="/v1", tags=["usage"])


@router.get("/usage")
def search(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.USAGE_READ))],
    enterprise: Text | None = None,
    before: AwareDatetime | None = None,
    limit: Limit = 100,
) -> UsagePage:
    """Usage records, newest first; a bank sees its own."""
    return service.search(control, caller, enterprise, before, limit)


@router.get("/usage/{usage_id}/record", response_model=dict[str, Any])
def record(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.USAGE_READ))], usage_id: UsageId
) -> Response:
    """One record with its salt and the ledger's proof, as the file that `creditlab verify` takes."""
    return Response(
        service.record(control, caller, usage_id),
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="{usage_id}.json"'},
    )


@router.post("/usage/questions", dependencies=[Depends(permits(Action.USAGE_ASK))])
async def ask(control: ControlDep, body: QuestionIn) -> NodeUses:
    """Hand on an enterprise's signed question: which jobs used its data. The nodes answer now; nothing is kept."""
    return await asking.ask(control, body.question)


@router.post("/node/usage/{question_id}", status_code=204)
def answer(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.NODE_REPORT))],
    question_id: QuestionId,
    body: UsesIn,
) -> Response:
    """A node answers an enterprise's question."""
    questions.answer(control, caller, questions.Kind.USAGE, question_id, body)
    return Response(status_code=204)


@router.get("/node/log")
def node_log(control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.NODE_REPORT))]) -> NodeLogOut:
    """How far the node's own log of uses is known here."""
    return node_heads.log_of(control, caller)


@router.put("/node/jobs/{job_id}/head")
def enter_head(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.NODE_REPORT))],
    job_id: JobId,
    body: NodeHeadIn,
) -> NodeHeadOut:
    """A node's log before it reads a row: the ledger holds its head from now on, and the answer proves it."""
    return node_heads.enter(control, caller, job_id, body)
