"""/v1/reports: monthly reports, for the operator all, for an institution its own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import Slug
from api.reports import service
from api.reports.schemas import Month, ReportList, ReportOut

router = APIRouter(prefix="/v1/reports", tags=["reports"])

Reader = Annotated[Caller, Depends(permits(Action.REPORT_READ))]


@router.get("")
def list_reports(control: ControlDep, caller: Reader) -> ReportList:
    """Reports there are, newest month first."""
    return service.list_reports(control, caller)


@router.get("/{month}/{audience}")
def get(control: ControlDep, caller: Reader, month: Month, audience: Slug) -> ReportOut:
    """One report; `audience` is `platform` or an institution."""
    return service.get(control, caller, month, audience)


@router.get("/{month}/{audience}/csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def get_csv(control: ControlDep, caller: Reader, month: Month, audience: Slug) -> Response:
    """The same as a table."""
    text = service.as_csv(service.get(control, caller, month, audience))
    name = f"report-{month}-{audience}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text.encode(), media_type="text/csv; charset=utf-8", headers=headers)
