"""An enterprise asks how its data were used in joint training: the nodes answer it, the control plane passes it on.

Owns the question on its way and the answers on their way back, neither of which is kept. It adds to a node's answer
what the control plane knows of the job (who asked for it, why), and takes no answer that contradicts that.
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column
from starlette.concurrency import run_in_threadpool

from api.auth import Caller
from api.consents.repository import Consent
from api.control import Control
from api.db import SYSTEM, Actor, Base, SignedText
from api.errors import ApiError, Conflict, Invalid, NotFound
from api.jobs.repository import Job
from api.nodes import repository as nodes
from api.usage.repository import Usage
from api.usage.schemas import NodeUse, NodeUses, Sentence, UsesIn
from consent import usage_question
from consent.errors import MalformedDocument
from consent.keys import BadSignature
from consent.purposes import Mode, Purpose
from consent.signed import Document, verify
from consent.usage import sentence, usage

FORGET_SECONDS = 60


class AnswerRefused(ApiError):
    """A node's answer contradicts what is on record here."""

    status, code, title = 502, "node_answer_refused", "A node answered with what cannot be"


class NotTold(ApiError):
    """A node holds the answer back; `code` is its reason."""

    status, code, title = 403, "usage_not_told", "Forbidden"


class UsageQuestion(Base):
    """A question to one node on its way, and the answer on its way back. Not audited, not kept."""

    __tablename__ = "usage_questions"

    id: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    question: Mapped[dict[str, Any]] = mapped_column(SignedText)
    answer: Mapped[dict[str, Any] | None]
    asked_at: Mapped[datetime]

    __table_args__ = (
        sa.Index("usage_questions_node", "node", postgresql_where=sa.text("answer is null")),
        {"prefixes": ["UNLOGGED"]},
    )


def topic(question_id: str) -> str:
    return f"usage:{question_id}"


def work(session: Session, node: str) -> list[dict[str, Any]]:
    """Questions that wait for this node."""
    query = (
        sa.select(UsageQuestion.question)
        .where(UsageQuestion.node == node, UsageQuestion.answer.is_(None))
        .order_by(UsageQuestion.asked_at, UsageQuestion.id)
    )
    return [{"kind": "usage", "question": question} for question in session.scalars(query)]


def answer(control: Control, caller: Caller, question_id: str, body: UsesIn) -> None:
    """A node's answer; a late or repeated one changes nothing."""
    with control.db.unit(caller) as unit:
        nodes.heard(unit.session, caller.name, unit.now)
        row = unit.session.get(UsageQuestion, (question_id, caller.name), with_for_update=True)
        if row is not None and row.answer is None:
            row.answer = body.model_dump()
            unit.notify(topic(question_id))


def sweep(control: Control) -> None:
    """Forgets questions whose asker has gone."""
    with control.db.unit(SYSTEM) as unit:
        before = unit.now - timedelta(seconds=FORGET_SECONDS)
        unit.session.execute(sa.delete(UsageQuestion).where(UsageQuestion.asked_at < before))


def _nodes(session: Session, enterprise: str) -> set[str]:
    """The nodes of every job that was begun under consents of a bank and a lab that this enterprise gave."""
    given = (
        sa.select(Consent.recipient, Consent.provider)
        .where(Consent.enterprise == enterprise, Consent.purpose == str(Purpose.JOINT_TRAINING))
        .distinct()
        .subquery()
    )
    query = (
        sa.select(Job.bank_node, Job.lab_node)
        .join(given, sa.and_(given.c.recipient == Job.bank, given.c.provider == Job.lab))
        .where(Job.started_at.is_not(None))
        .distinct()
    )
    return {node for row in session.execute(query) for node in row}


def _put(control: Control, actor: Actor, enterprise: str | None, document: Document) -> set[str]:
    try:
        usage_question.check(document.get("body"))
        body = verify(document, "enterprise")
    except (MalformedDocument, BadSignature) as error:
        raise Invalid(error.message, error.message_zh, code=error.code) from error
    if enterprise is not None and body["enterprise"] != enterprise:
        raise NotFound("enterprise", "企业", body["enterprise"])
    with control.db.unit(actor) as unit:
        if unit.session.scalar(sa.select(sa.exists().where(UsageQuestion.id == body["question_id"]))):
            raise Conflict("this question was asked already", "该询问已提出", code="exists")
        asked = _nodes(unit.session, body["enterprise"])
        for node in sorted(asked):
            unit.session.add(UsageQuestion(id=body["question_id"], node=node, question=document, asked_at=unit.now))
            unit.notify(f"node:{node}")
        return asked


def _look(control: Control, question_id: str) -> dict[str, dict[str, Any]]:
    with control.db.read() as session:
        rows = session.execute(
            sa.select(UsageQuestion.node, UsageQuestion.answer).where(
                UsageQuestion.id == question_id, UsageQuestion.answer.is_not(None)
            )
        )
        return {row.node: row.answer for row in rows}


def _close(control: Control, question_id: str) -> None:
    with control.db.unit(SYSTEM) as unit:
        unit.session.execute(sa.delete(UsageQuestion).where(UsageQuestion.id == question_id))


async def ask(control: Control, actor: Actor, document: Document, enterprise: str | None = None) -> NodeUses:
    """What jobs used of the enterprise that signed `document` (`consent.usage_question`), as the nodes answer now.

    `enterprise` bounds who may ask: the one whose session it is. A node that does not answer in time is named in
    `silent`. Raises Invalid, NotFound, Conflict, NotTold with a node's reason, or AnswerRefused.
    """
    found: dict[str, dict[str, Any]] = {}
    body = document.get("body")
    question_id = str(body.get("question_id", "")) if isinstance(body, dict) else ""
    with control.hub.listen(topic(question_id)) as bell:
        asked = await run_in_threadpool(_put, control, actor, enterprise, document)
        try:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + control.settings.score_seconds
            while asked - found.keys() and (left := deadline - loop.time()) > 0 and not control.hub.closing:
                found = await run_in_threadpool(_look, control, question_id)
                if asked - found.keys():
                    await bell.wait(left)
        finally:
            await run_in_threadpool(_close, control, question_id)
    for told in found.values():
        if told.get("code"):
            message = told.get("message") or told["code"]
            raise NotTold(message, told.get("message_zh") or message, code=told["code"])
    return await run_in_threadpool(_joined, control, document["body"]["enterprise"], found, asked)


def _joined(control: Control, enterprise: str, found: dict[str, dict[str, Any]], asked: set[str]) -> NodeUses:
    """One item for each job, with the nodes that say so."""
    items: dict[str, NodeUse] = {}
    with control.db.read() as session:
        for node in sorted(found):
            for use in found[node]["uses"]:
                if use["job_id"] in items:
                    items[use["job_id"]].nodes.append(node)
                else:
                    items[use["job_id"]] = _item(session, enterprise, node, use)
    return NodeUses(items=sorted(items.values(), key=lambda item: item.at), silent=sorted(asked - found.keys()))


def _item(session: Session, enterprise: str, node: str, use: dict[str, Any]) -> NodeUse:
    job = session.get(Job, use["job_id"])
    consent = session.get(Consent, use["consent_id"])
    if (
        job is None
        or consent is None
        or node not in (job.bank_node, job.lab_node)
        or (consent.enterprise, consent.recipient, use["recipient"]) != (enterprise, job.bank, job.bank)
    ):
        raise AnswerRefused(
            f"node {node} tells of a use that does not fit its job or consent: tell the operator",
            f"节点 {node} 所述使用与作业或授权不符：请告知平台运营方",
        )
    row = session.scalar(sa.select(Usage).where(Usage.object_kind == "job", Usage.object_id == job.id))
    assert row is not None, "every job that was approved has its usage record"
    record = usage(
        usage_id=f"{row.id}/{node}", at=use["at"], user=row.user, institution=row.institution, reason=row.reason,
        use=Mode.JOINT_TRAINING, purpose=Purpose.JOINT_TRAINING, object_kind="enterprise", object_id=enterprise,
        data=use["data"], consent_id=consent.consent_id, job_id=job.id,
    )  # fmt: skip
    zh, en = sentence(record)
    return NodeUse(
        at=use["at"], job_id=job.id, consent_id=consent.consent_id, nodes=[node], record=json.loads(json.dumps(record)),
        sentence=Sentence(zh=zh, en=en),
    )  # fmt: skip
