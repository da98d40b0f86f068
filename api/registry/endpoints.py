"""/v1/models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import JobId, Limit
from api.paging import CursorParam, Page
from api.registry import service
from api.registry.schemas import ModelLine, Stage

router = APIRouter(prefix="/v1/models", tags=["models"])

Reader = Annotated[Caller, Depends(permits(Action.RELEASE_READ))]


@router.get("")
def search(
    control: ControlDep, caller: Reader, stage: Stage | None = None, cursor: CursorParam = None, limit: Limit = 50
) -> Page[ModelLine]:
    """Every model that a job made, newest first, with its measures and what became of it."""
    return service.search(control, caller, stage, cursor, limit)


@router.get("/{job_id}")
def get(control: ControlDep, caller: Reader, job_id: JobId) -> ModelLine:
    """The model of one job."""
    return service.get(control, caller, job_id)
