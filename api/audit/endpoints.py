"""/v1/audit: the trail of every write, searched and exported."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from api.audit import service
from api.audit.schemas import AuditFilter, AuditPage
from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import Limit

router = APIRouter(prefix="/v1/audit", tags=["audit"])

Wanted = Annotated[AuditFilter, Depends()]


@router.get("")
def search(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.AUDIT_READ))],
    wanted: Wanted,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Limit = 100,
) -> AuditPage:
    """The audit trail, oldest first: by object, actor, institution, action and time."""
    return service.search(control, caller, wanted, after, limit)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
def export(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.AUDIT_EXPORT))], wanted: Wanted
) -> StreamingResponse:
    """The same without pages: one JSON object a line."""
    lines = service.export(control, caller, wanted)
    headers = {"Content-Disposition": 'attachment; filename="audit.ndjson"'}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)
