"""/v1/publications and /v1/questions, and what enterprises read and ask under /v1/my."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.enterprises.persons import as_person
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.etags import IfMatch, tell
from api.fields import Limit, ReasonIn
from api.financing import Module
from api.paging import CursorParam, Page
from api.publications import service
from api.publications.schemas import (
    AnsweredOut,
    AnswerIn,
    AssignIn,
    CloseIn,
    PolicyPushed,
    PublicationDetail,
    PublicationId,
    PublicationIn,
    PublicationKind,
    PublicationOut,
    PublicationState,
    QuestionId,
    QuestionIn,
    QuestionOut,
    QuestionState,
    ReviewIn,
)

router = APIRouter(tags=["publications"])

Writer = Annotated[Caller, Depends(permits(Action.PUBLICATION_WRITE))]
Reader = Annotated[Caller, Depends(permits(Action.PUBLICATION_READ))]
Reviewer = Annotated[Caller, Depends(permits(Action.PUBLICATION_REVIEW))]
Expert = Annotated[Caller, Depends(permits(Action.QUESTION_ANSWER))]
Questions = Annotated[Caller, Depends(permits(Action.QUESTION_READ))]
Desk = Annotated[Caller, Depends(permits(Action.QUESTION_ASSIGN))]
Looking = Annotated[Visitor, Depends(as_person(Action.MY_READ, Right.VIEW))]
Deciding = Annotated[Visitor, Depends(as_person(Action.MY_WRITE, Right.DECIDE))]


@router.post("/v1/publications", status_code=201)
def create(control: ControlDep, caller: Writer, body: PublicationIn) -> PublicationDetail:
    """Write a notice, policy, piece of knowledge or frequent question. It is seen once it was reviewed."""
    return service.create(control, caller, body)


@router.get("/v1/publications")
def own(
    control: ControlDep,
    caller: Reader,
    state: PublicationState | None = None,
    cursor: CursorParam = None,
    limit: Limit = 50,
) -> Page[PublicationDetail]:
    """The institution's own, newest first; the platform sees everybody's."""
    return service.own(control, caller, state, cursor, limit)


@router.get("/v1/publications/{publication_id}")
def get(control: ControlDep, caller: Reader, publication_id: PublicationId, response: Response) -> PublicationDetail:
    found = service.get(control, caller, publication_id)
    tell(response, found.version)
    return found


@router.put("/v1/publications/{publication_id}")
def change(
    control: ControlDep,
    caller: Writer,
    publication_id: PublicationId,
    body: PublicationIn,
    response: Response,
    if_match: IfMatch = None,
) -> PublicationDetail:
    """Write it anew, while it is a draft or was returned."""
    changed = service.change(control, caller, publication_id, body, if_match)
    tell(response, changed.version)
    return changed


@router.post("/v1/publications/{publication_id}/submit")
def submit(control: ControlDep, caller: Writer, publication_id: PublicationId, body: ReasonIn) -> PublicationDetail:
    """Hand it in for review."""
    return service.submit(control, caller, publication_id, body.reason)


@router.post("/v1/publications/{publication_id}/review")
def review(control: ControlDep, caller: Reviewer, publication_id: PublicationId, body: ReviewIn) -> PublicationDetail:
    """Publish it or return it; never by whoever wrote it. A policy is pushed to the enterprises its rule fits."""
    return service.review(control, caller, publication_id, body)


@router.post("/v1/publications/{publication_id}/withdraw")
def withdraw(control: ControlDep, caller: Writer, publication_id: PublicationId, body: ReasonIn) -> PublicationDetail:
    """Take it down: its author, or the platform."""
    return service.withdraw(control, caller, publication_id, body.reason)


@router.get("/v1/questions")
def questions(
    control: ControlDep,
    caller: Questions,
    state: QuestionState | None = None,
    cursor: CursorParam = None,
    limit: Limit = 100,
) -> Page[QuestionOut]:
    """Questions assigned to the institution, the oldest first; the platform sees all."""
    return service.questions(control, caller, state, cursor, limit)


@router.post("/v1/questions/{question_id}/assign")
def assign(control: ControlDep, caller: Desk, question_id: QuestionId, body: AssignIn) -> QuestionOut:
    """Give it to an institution's expert."""
    return service.assign(control, caller, question_id, body)


@router.post("/v1/questions/{question_id}/answer")
def answer(control: ControlDep, caller: Expert, question_id: QuestionId, body: AnswerIn) -> QuestionOut:
    return service.answer(control, caller, question_id, body.answer)


@router.post("/v1/questions/{question_id}/close")
def close(control: ControlDep, caller: Desk, question_id: QuestionId, body: CloseIn) -> QuestionOut:
    """Publish question and answer, if the enterprise allowed it, or keep them."""
    return service.close(control, caller, question_id, body.publish, body.reason)


# ---- enterprises


@router.get("/v1/my/publications")
def published(
    control: ControlDep,
    who: Looking,
    kind: PublicationKind = "notice",
    module: Module | None = None,
    cursor: CursorParam = None,
    limit: Limit = 50,
) -> Page[PublicationOut]:
    """Notices, policies, knowledge or frequent questions, newest first."""
    return service.published(control, who, kind, module, cursor, limit)


@router.get("/v1/my/policies")
def pushed(control: ControlDep, who: Looking, cursor: CursorParam = None, limit: Limit = 50) -> Page[PolicyPushed]:
    """Policies that were pushed to the enterprise because they fit it."""
    return service.pushed(control, who, cursor, limit)


@router.post("/v1/my/questions", status_code=201)
def ask(control: ControlDep, who: Deciding, body: QuestionIn) -> QuestionOut:
    """Ask the service desk or an expert."""
    return service.ask(control, who, body)


@router.get("/v1/my/questions")
def my_questions(control: ControlDep, who: Looking, cursor: CursorParam = None, limit: Limit = 50) -> Page[QuestionOut]:
    return service.my_questions(control, who, cursor, limit)


@router.post("/v1/my/questions/{question_id}/withdraw")
def take_back(control: ControlDep, who: Deciding, question_id: QuestionId, body: ReasonIn) -> QuestionOut:
    return service.take_back(control, who, question_id, body.reason)


@router.get("/v1/my/answers")
def answered(control: ControlDep, who: Looking, cursor: CursorParam = None, limit: Limit = 50) -> Page[AnsweredOut]:
    """Published questions with their answers."""
    return service.answered(control, who, cursor, limit)
