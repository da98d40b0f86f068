"""GET /v1/usage."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import AwareDatetime

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import Limit, Text
from api.usage import service
from api.usage.schemas import UsagePage

router = APIRouter(prefix="/v1/usage", tags=["usage"])


@router.get("")
def search(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.USAGE_READ))],
    enterprise: Text | None = None,
    before: AwareDatetime | None = None,
    limit: Limit = 100,
) -> UsagePage:
    """Usage records, newest first; a bank sees its own."""
    return service.search(control, caller, enterprise, before, limit)
