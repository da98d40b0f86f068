"""Publications: written by an institution or the platform, reviewed by an operator who did not write them, then seen.

Publishing a policy pushes it to the enterprises that its rule fits (`matching`). Questions go to the service desk or to
an institution's expert, against a clock, and are published only where the enterprise allowed it (R8, R18, R24, R28).
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.auth import Caller
from api.clocks import service as clocks
from api.consent_events import service as consent_events
from api.consents.requests import inform
from api.control import Control
from api.db import SYSTEM, Actor, Unit
from api.errors import Conflict, Forbidden, NotFound
from api.etags import check
from api.institutions import repository as institutions
from api.paging import Order, Page, page
from api.publications import matching, repository
from api.publications.repository import PolicyPush, Publication, Question
from api.publications.schemas import (
    AnsweredOut,
    AssignIn,
    PolicyPushed,
    PublicationDetail,
    PublicationIn,
    PublicationOut,
    QuestionIn,
    QuestionOut,
    ReviewIn,
)
from api.publications.states import EDITABLE

_NEWEST = Order("created", (Publication.created_at, Publication.id), descending=True)
_PUBLISHED = Order("published", (Publication.published_at, Publication.id), descending=True)
_PUSHED = Order("pushed", (PolicyPush.at, PolicyPush.publication), descending=True)
_ASKED = Order("asked", (Question.asked_at, Question.id))
_ANSWERED = Order("answered", (Question.published_at, Question.id), descending=True)
DESK = SYSTEM.institution


class OwnWork(Forbidden):
    """Whoever wrote it does not review it."""

    code = "own_work"

    def __init__(self) -> None:
        super().__init__(
            "nobody reviews what they wrote: another operator must", "不得审核本人提交的内容：须由他人审核"
        )


def _detail(session: Session, row: Publication) -> PublicationDetail:
    values = {name: getattr(row, name) for name in PublicationDetail.model_fields if name != "pushed"}
    return PublicationDetail(**values, pushed=repository.pushes(session, row.id))


def create(control: Control, caller: Caller, body: PublicationIn) -> PublicationDetail:
    with control.db.unit(caller) as unit:
        row = Publication(
            id=f"pb-{secrets.token_hex(6)}",
            author=caller.institution,
            created_at=unit.now,
            reviewed_by=None,
            reviewed_at=None,
            opinion=None,
            published_at=None,
            **body.model_dump(mode="json"),
        )
        row.attest(caller, unit.now)
        unit.create(row, "publication.create", "written", state="draft", kind=row.kind)
        return _detail(unit.session, row)


def _own(unit: Unit, caller: Caller, publication_id: str) -> Publication:
    row = repository.publication(unit.session, publication_id, lock=True)
    if row is None or row.author != caller.institution:
        raise NotFound("publication", "发布内容", publication_id)
    return row


def change(
    control: Control, caller: Caller, publication_id: str, body: PublicationIn, if_match: str | None
) -> PublicationDetail:
    with control.db.unit(caller) as unit:
        row = _own(unit, caller, publication_id)
        check(if_match, row.version)
        if row.state not in EDITABLE:
            raise Conflict(
                f"publication {row.id} is {row.state}: withdraw it and write another",
                f"发布内容 {row.id} 当前状态为 {row.state}：请撤下后另行编写",
                code="not_editable",
            )
        for name, value in body.model_dump(mode="json").items():
            setattr(row, name, value)
        row.attest(caller, unit.now)
        unit.session.flush()
        unit.record("publication.change", row, "written anew")
        return _detail(unit.session, row)


def submit(control: Control, caller: Caller, publication_id: str, reason: str) -> PublicationDetail:
    with control.db.unit(caller) as unit:
        row = _own(unit, caller, publication_id)
        row.attest(caller, unit.now)
        unit.transition(row, "submitted", "publication.submit", reason)
        return _detail(unit.session, row)


def review(control: Control, caller: Caller, publication_id: str, body: ReviewIn) -> PublicationDetail:
    """The platform's review of its legality (R8, R24). Publishing a policy pushes it. Raises OwnWork."""
    with control.db.unit(caller) as unit:
        row = repository.publication(unit.session, publication_id, lock=True)
        if row is None:
            raise NotFound("publication", "发布内容", publication_id)
        if caller.account_id == row.attested_by:
            raise OwnWork
        row.reviewed_by, row.reviewed_at, row.opinion = caller.account_id, unit.now, body.opinion
        if body.decision == "return":
            unit.transition(row, "returned", "publication.return", body.opinion)
        else:
            row.published_at = unit.now
            unit.transition(row, "published", "publication.publish", body.opinion)
            if row.kind == "policy":
                matching.push_all(unit, row)
        told = {"publication_id": row.id, "state": row.state, "opinion": body.opinion, "at": unit.now.isoformat()}
        consent_events.tell(unit, [(row.author, "publication", told)])
        return _detail(unit.session, row)


def withdraw(control: Control, caller: Caller, publication_id: str, reason: str) -> PublicationDetail:
    """Its author takes it down, or the platform (R8)."""
    with control.db.unit(caller) as unit:
        row = repository.publication(unit.session, publication_id, lock=True)
        if row is None or caller.institution not in (row.author, SYSTEM.institution):
            raise NotFound("publication", "发布内容", publication_id)
        unit.transition(row, "withdrawn", "publication.withdraw", reason)
        return _detail(unit.session, row)


# ---- reading


def own(control: Control, caller: Caller, state: str | None, cursor: str | None, limit: int) -> Page[PublicationDetail]:
    """The institution's own, newest first; for the platform, everybody's."""
    author = None if caller.institution == SYSTEM.institution else caller.institution
    with control.db.read(caller) as session:
        query = repository.publications(author, state)
        return page(session, query, _NEWEST, cursor, limit, lambda row: _detail(session, row))


def get(control: Control, caller: Caller, publication_id: str) -> PublicationDetail:
    with control.db.read(caller) as session:
        row = repository.publication(session, publication_id)
        if row is None or caller.institution not in (row.author, SYSTEM.institution):
            raise NotFound("publication", "发布内容", publication_id)
        return _detail(session, row)


def published(
    control: Control, actor: Actor, kind: str, module: str | None, cursor: str | None, limit: int
) -> Page[PublicationOut]:
    """What everybody who has signed in may read, newest first."""
    with control.db.read(actor) as session:
        query = repository.published(kind, module)
        return page(session, query, _PUBLISHED, cursor, limit, PublicationOut.model_validate)


def pushed(control: Control, actor: Actor, cursor: str | None, limit: int) -> Page[PolicyPushed]:
    """The policies that were pushed to the enterprise and are still published, newest first."""
    with control.db.read(actor) as session:

        def show(row: PolicyPush) -> PolicyPushed:
            policy = repository.publication(session, row.publication)
            assert policy is not None
            return PolicyPushed(**PublicationOut.model_validate(policy).model_dump(), pushed_at=row.at)

        live = sa.select(Publication.id).where(
            Publication.id == PolicyPush.publication, Publication.state == "published"
        )
        query = sa.select(PolicyPush).where(PolicyPush.enterprise == actor.institution, live.exists())
        return page(session, query, _PUSHED, cursor, limit, show)


# ---- questions


def ask(control: Control, actor: Actor, body: QuestionIn) -> QuestionOut:
    """To the service desk; its clock starts (R28, R34)."""
    with control.db.unit(actor) as unit:
        row = Question(
            id=f"eq-{secrets.token_hex(6)}",
            enterprise=actor.institution,
            asked_at=unit.now,
            assigned_to=None,
            answer=None,
            answered_by=None,
            answered_name=None,
            answered_at=None,
            published_at=None,
            **body.model_dump(),
        )
        row.attest(actor, unit.now)
        unit.create(row, "question.ask", body.title, state="asked")
        clocks.start(unit, control, "question", ("question", row.id), DESK, enterprise=row.enterprise)
        return QuestionOut.model_validate(row)


def assign(control: Control, caller: Caller, question_id: str, body: AssignIn) -> QuestionOut:
    """To an institution's expert; the period that began with the question goes on."""
    with control.db.unit(caller) as unit:
        row = repository.question(unit.session, question_id, lock=True)
        if row is None or institutions.institution(unit.session, body.institution) is None:
            raise NotFound("question or institution", "咨询或机构", question_id if row is None else body.institution)
        if row.state == "assigned":
            unit.transition(row, "asked", "question.take_back", body.reason)
        row.assigned_to = body.institution
        unit.transition(row, "assigned", "question.assign", body.reason, institution=body.institution)
        clocks.stop(unit, row.id, reason="assigned")
        about = ("question", row.id)
        clocks.start(unit, control, "question", about, body.institution, enterprise=row.enterprise, since=row.asked_at)
        told = {"question_id": row.id, "at": unit.now.isoformat()}
        consent_events.tell(unit, [(body.institution, "question", told)])
        return QuestionOut.model_validate(row)


def answer(control: Control, caller: Caller, question_id: str, text: str) -> QuestionOut:
    """By the institution it was assigned to, or by the desk while it is with the desk."""
    with control.db.unit(caller) as unit:
        row = repository.question(unit.session, question_id, lock=True)
        if row is None or caller.institution != (row.assigned_to or DESK):
            raise NotFound("question", "咨询", question_id)
        row.answer, row.answered_by, row.answered_name = text, caller.account_id, caller.name
        row.answered_at = unit.now
        unit.transition(row, "answered", "question.answer", text)
        clocks.stop(unit, row.id)
        inform(unit, row.enterprise, "question_answered", row.id)
        return QuestionOut.model_validate(row)


def close(control: Control, caller: Caller, question_id: str, publish: bool, reason: str) -> QuestionOut:
    """The platform reviews an answered question and publishes it, if the enterprise allowed it, or keeps it.

    Raises OwnWork where whoever answered would publish it, Forbidden where the enterprise did not allow it.
    """
    with control.db.unit(caller) as unit:
        row = repository.question(unit.session, question_id, lock=True)
        if row is None:
            raise NotFound("question", "咨询", question_id)
        if publish and row.answered_by == caller.account_id:
            raise OwnWork
        if publish and not row.may_publish:
            raise Forbidden(
                f"the enterprise did not allow question {row.id} to be published",
                f"企业未同意公开咨询 {row.id}",
                code="publication_not_allowed",
            )
        if publish:
            row.published_at = unit.now
        unit.transition(row, "published" if publish else "kept", "question.close", reason)
        return QuestionOut.model_validate(row)


def take_back(control: Control, actor: Actor, question_id: str, reason: str) -> QuestionOut:
    """The enterprise needs no answer any more."""
    with control.db.unit(actor) as unit:
        row = repository.question(unit.session, question_id, lock=True)
        if row is None or row.enterprise != actor.institution:
            raise NotFound("question", "咨询", question_id)
        unit.transition(row, "withdrawn", "question.withdraw", reason)
        clocks.stop(unit, row.id, reason="withdrawn")
        return QuestionOut.model_validate(row)


def questions(control: Control, caller: Caller, state: str | None, cursor: str | None, limit: int) -> Page[QuestionOut]:
    """Those assigned to the institution, the oldest first; for the platform, all."""
    query = sa.select(Question)
    if caller.institution != SYSTEM.institution:
        query = query.where(Question.assigned_to == caller.institution)
    if state is not None:
        query = query.where(Question.state == state)
    with control.db.read(caller) as session:
        return page(session, query, _ASKED, cursor, limit, QuestionOut.model_validate)


def my_questions(control: Control, actor: Actor, cursor: str | None, limit: int) -> Page[QuestionOut]:
    query = sa.select(Question).where(Question.enterprise == actor.institution)
    with control.db.read(actor) as session:
        return page(session, query, _ASKED, cursor, limit, QuestionOut.model_validate)


def answered(control: Control, actor: Actor, cursor: str | None, limit: int) -> Page[AnsweredOut]:
    """Published questions with their answers, without the enterprise."""
    query = sa.select(Question).where(Question.state == "published")
    with control.db.read(actor) as session:
        return page(session, query, _ANSWERED, cursor, limit, AnsweredOut.model_validate)
