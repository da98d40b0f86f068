"""/v1/projects."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api import etags
from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.etags import IfMatch
from api.fields import Limit, ReasonIn, Slug
from api.paging import CursorParam, Page
from api.projects import service
from api.projects.schemas import ProjectDecisionIn, ProjectIn, ProjectOut, ProjectState, ProjectSummary

router = APIRouter(prefix="/v1/projects", tags=["projects"])

Reader = Annotated[Caller, Depends(permits(Action.PROJECT_READ))]


def _told(response: Response, project: ProjectOut) -> ProjectOut:
    etags.tell(response, project.version)
    return project


@router.post("", status_code=201)
def propose(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.PROJECT_PROPOSE))],
    response: Response,
    body: ProjectIn,
) -> ProjectOut:
    """A bank proposes a project with a lab."""
    return _told(response, service.propose(control, caller, body))


@router.get("")
def search(
    control: ControlDep, caller: Reader, state: ProjectState | None = None, cursor: CursorParam = None,
    limit: Limit = 100,
) -> Page[ProjectSummary]:  # fmt: skip
    """Projects the caller is a party of, newest first; the operator sees all."""
    return service.search(control, caller, state, cursor, limit)


@router.get("/{project_id}")
def get(control: ControlDep, caller: Reader, response: Response, project_id: Slug) -> ProjectOut:
    return _told(response, service.get(control, caller, project_id))


@router.post("/{project_id}/decisions")
def decide(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.PROJECT_DECIDE))],
    response: Response,
    project_id: Slug,
    body: ProjectDecisionIn,
    if_match: IfMatch = None,
) -> ProjectOut:
    """The lab's data owner and the operator each decide; the second approval makes it active."""
    return _told(response, service.decide(control, caller, project_id, body, if_match))


@router.post("/{project_id}/end")
def end(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.PROJECT_END))],
    response: Response,
    project_id: Slug,
    body: ReasonIn,
    if_match: IfMatch = None,
) -> ProjectOut:
    """Withdraw a proposal, or close an active project: nothing more is proposed in it."""
    return _told(response, service.end(control, caller, project_id, body.reason, if_match))
