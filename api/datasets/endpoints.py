"""/v1/datasets and /v1/features."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.datasets import service
from api.datasets.schemas import DatasetOut, Datasets, Features
from api.fields import Slug, Text

router = APIRouter(prefix="/v1", tags=["datasets"])

Reader = Annotated[Caller, Depends(permits(Action.DATASET_READ))]


@router.get("/datasets")
def search(control: ControlDep, caller: Reader) -> Datasets:
    """Tables that nodes have registered, by metadata only: one's own and the labs'."""
    return service.search(control, caller)


@router.get("/datasets/{node}/{name}")
def get(control: ControlDep, caller: Reader, node: Slug, name: Text) -> DatasetOut:
    """One table with its columns."""
    return service.get(control, caller, node, name)


@router.get("/features")
def features(
    control: ControlDep,
    caller: Reader,
    category: Text | None = None,
    text: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=2000)] = 500,
) -> Features:
    """Features that labs offer, with their meaning."""
    return service.features(control, caller, category, text, limit)
