"""/v1/releases and /v1/node/releases."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import Limit, ReasonIn, ReleaseId
from api.paging import CursorParam, Page
from api.releases import service
from api.releases.schemas import ConfirmationIn, ReleaseIn, ReleaseOut, ReleaseState, ReviewIn

router = APIRouter(prefix="/v1", tags=["releases"])

Reader = Annotated[Caller, Depends(permits(Action.RELEASE_READ))]


@router.post("/releases", status_code=201)
def request(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.RELEASE_REQUEST))], body: ReleaseIn
) -> ReleaseOut:
    """A bank asks for the release of its job's model."""
    return service.request(control, caller, body)


@router.get("/releases")
def list_releases(
    control: ControlDep, caller: Reader, state: ReleaseState | None = None, cursor: CursorParam = None,
    limit: Limit = 100,
) -> Page[ReleaseOut]:  # fmt: skip
    """Releases the caller may see, newest first."""
    return service.list_releases(control, caller, state, cursor, limit)


@router.get("/releases/{release_id}")
def get(control: ControlDep, caller: Reader, release_id: ReleaseId) -> ReleaseOut:
    return service.get(control, caller, release_id)


@router.post("/releases/{release_id}/reviews")
def review(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.RELEASE_REVIEW))],
    release_id: ReleaseId,
    body: ReviewIn,
) -> ReleaseOut:
    """Give a review, blind to the other one."""
    return service.review(control, caller, release_id, body)


@router.post("/releases/{release_id}/approve")
def approve(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.RELEASE_APPROVE))],
    release_id: ReleaseId,
    body: ReasonIn,
) -> ReleaseOut:
    """Approve a reviewed release: the nodes are ordered to release the file."""
    return service.approve(control, caller, release_id, body.reason)


@router.post("/releases/{release_id}/veto")
def veto(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.RELEASE_VETO))],
    release_id: ReleaseId,
    body: ReasonIn,
) -> ReleaseOut:
    """The data owner refuses a release."""
    return service.veto(control, caller, release_id, body.reason)


@router.post("/node/releases/{release_id}")
def confirm(
    control: ControlDep,
    caller: Annotated[Caller, Depends(permits(Action.NODE_REPORT))],
    release_id: ReleaseId,
    body: ConfirmationIn,
) -> ReleaseOut:
    """A node confirms that the file is in place, or says why not."""
    return service.confirm(control, caller, release_id, body)
