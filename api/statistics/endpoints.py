"""/v1/statistics."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.financing import Month
from api.statistics import service
from api.statistics.schemas import Dimension, Stage, Statistics

router = APIRouter(prefix="/v1/statistics", tags=["statistics"])

_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@router.get("", response_model=Statistics, responses=_CSV)
def statistics(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.STATISTICS_READ))],
    stage: Stage,
    by: Annotated[list[Dimension], Query(min_length=1, max_length=3)],
    everybody: bool = False,
    first: Annotated[Month | None, Query(description="month, included")] = None,
    last: Annotated[Month | None, Query(description="month, included")] = None,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Any:
    """Figures before (applications), during (credits) or after the loan, by up to three dimensions.

    The institution's own; with `everybody`, all institutions', where groups of too few enterprises are withheld.
    """
    found = service.statistics(control, caller, stage, by, everybody=everybody, first=first, last=last)
    if form == "json":
        return found
    headers = {"Content-Disposition": f'attachment; filename="statistics-{stage}.csv"'}
    return Response(service.as_csv(found), media_type="text/csv; charset=utf-8", headers=headers)
