"""GET /v1/audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.audit import service
from api.audit.schemas import AuditPage
from api.auth import Action, permits
from api.control import ControlDep
from api.fields import Limit, Text

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("", dependencies=[Depends(permits(Action.AUDIT_READ))])
def search(
    control: ControlDep,
    object_kind: Text | None = None,
    object_id: Text | None = None,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Limit = 100,
) -> AuditPage:
    """The audit trail, oldest first."""
    return service.search(control, object_kind, object_id, after, limit)
