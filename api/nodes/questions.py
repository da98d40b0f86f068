"""Questions that the control plane passes to nodes: put, answered, taken once, never kept.

Owns the question on its way and the answers on their way back, whatever the kind, in a table that is neither audited
nor logged. What may be asked, and what an answer means, is its asker's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Mapped, Session, mapped_column
from starlette.concurrency import run_in_threadpool

from api.auth import Caller
from api.control import Control
from api.db import SYSTEM, Base, SignedText
from api.errors import ApiError, Conflict
from api.nodes import repository
from consent.signed import Document

FORGET_SECONDS = 60


class Kind(StrEnum):
    IMPACT = "impact"  # which jobs rest on a withdrawn consent
    USAGE = "usage"  # what jobs used of the enterprise that asks


class NotTold(ApiError):
    """A node holds the answer back; `code` is its reason."""

    status, code, title = 403, "not_told", "Forbidden"


class NodeQuestion(Base):
    """A question to one node, and its answer. Not audited, not kept."""

    __tablename__ = "node_questions"

    id: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    question: Mapped[dict[str, Any]] = mapped_column(SignedText)
    record: Mapped[dict[str, Any] | None] = mapped_column(SignedText)
    answer: Mapped[dict[str, Any] | None]
    asked_at: Mapped[datetime]

    __table_args__ = (
        sa.CheckConstraint("kind in ('impact', 'usage')", name="node_questions_kind"),
        sa.Index("node_questions_node", "node", postgresql_where=sa.text("answer is null")),
        {"prefixes": ["UNLOGGED"]},
    )


@dataclass(frozen=True)
class Question:
    """One signed document and the nodes that it is for; `record` proves that the ledger holds it, where that counts."""

    kind: Kind
    id: str
    document: Document
    nodes: frozenset[str]
    record: Document | None = None


def topic(question_id: str) -> str:
    return f"question:{question_id}"


def waiting(session: Session, node: str) -> list[dict[str, Any]]:
    """Work for this node: what it has not answered yet."""
    query = (
        sa.select(NodeQuestion.kind, NodeQuestion.question, NodeQuestion.record)
        .where(NodeQuestion.node == node, NodeQuestion.answer.is_(None))
        .order_by(NodeQuestion.asked_at, NodeQuestion.id)
    )
    return [
        {"kind": row.kind, "question": row.question} | ({"record": row.record} if row.record is not None else {})
        for row in session.execute(query)
    ]


def answer(control: Control, caller: Caller, kind: Kind, question_id: str, body: BaseModel) -> None:
    """A node's answer; a late or repeated one, or one to another kind of question, changes nothing."""
    with control.db.unit(caller) as unit:
        repository.heard(unit.session, caller.name, unit.now)
        row = unit.session.get(NodeQuestion, (question_id, caller.name), with_for_update=True)
        if row is not None and row.kind == kind and row.answer is None:
            row.answer = body.model_dump()
            unit.notify(topic(question_id))


def sweep(control: Control) -> None:
    """Forgets questions whose asker has gone."""
    with control.db.unit(SYSTEM) as unit:
        before = unit.now - timedelta(seconds=FORGET_SECONDS)
        unit.session.execute(sa.delete(NodeQuestion).where(NodeQuestion.asked_at < before))


def _put(control: Control, question: Question) -> None:
    with control.db.unit(SYSTEM) as unit:
        if unit.session.scalar(sa.select(sa.exists().where(NodeQuestion.id == question.id))):
            raise Conflict("this question was asked already", "该询问已提出", code="exists")
        for node in sorted(question.nodes):
            unit.session.add(
                NodeQuestion(
                    id=question.id, node=node, kind=question.kind, question=question.document, record=question.record,
                    asked_at=unit.now,
                )
            )  # fmt: skip
            unit.notify(f"node:{node}")


def _look(control: Control, question_id: str) -> dict[str, dict[str, Any]]:
    with control.db.read(SYSTEM) as session:
        query = sa.select(NodeQuestion.node, NodeQuestion.answer).where(
            NodeQuestion.id == question_id, NodeQuestion.answer.is_not(None)
        )
        return {row.node: row.answer for row in session.execute(query)}


def _forget(control: Control, question_id: str) -> None:
    with control.db.unit(SYSTEM) as unit:
        unit.session.execute(sa.delete(NodeQuestion).where(NodeQuestion.id == question_id))


async def ask(control: Control, question: Question) -> dict[str, dict[str, Any]]:
    """What each node answers within `score_seconds`, or why it does not say; a node that is silent is missing.

    Nothing of it stays. Raises Conflict for an id that is under way.
    """
    found: dict[str, dict[str, Any]] = {}
    with control.hub.listen(topic(question.id)) as bell:
        await run_in_threadpool(_put, control, question)
        try:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + control.settings.score_seconds
            while question.nodes - found.keys() and (left := deadline - loop.time()) > 0 and not control.hub.closing:
                found = await run_in_threadpool(_look, control, question.id)
                if question.nodes - found.keys():
                    await bell.wait(left)
        finally:
            await run_in_threadpool(_forget, control, question.id)
    return found


def check_told(answers: Iterable[Mapping[str, Any]]) -> None:
    """Raises NotTold with the reason of a node that holds its answer back."""
    for told in answers:
        if told["code"]:
            message = told["message"] or told["code"]
            raise NotTold(message, told["message_zh"] or message, code=told["code"])
