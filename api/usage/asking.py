"""An enterprise asks how its data were used in joint training: the nodes answer it, the control plane passes it on.

Owns who is asked and what the answers say together: it adds what the control plane knows of the job (who asked for it,
why), and takes no answer that contradicts that. Neither question nor answer is kept (`api.nodes.questions`).
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.consents.repository import Consent
from api.control import Control
from api.db import SYSTEM
from api.errors import ApiError, Invalid, NotFound
from api.jobs.repository import Job
from api.nodes import questions
from api.nodes.questions import Kind, Question
from api.usage import service
from api.usage.repository import Usage
from api.usage.schemas import NodeUse, NodeUses, Sentence
from consent import usage_question
from consent.errors import MalformedDocument
from consent.keys import BadSignature
from consent.purposes import Mode, Purpose
from consent.signed import Document, verify
from consent.usage import sentence, usage


class AnswerRefused(ApiError):
    """A node's answer contradicts what is on record here."""

    status, code, title = 502, "node_answer_refused", "A node answered with what cannot be"


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


def _question(control: Control, enterprise: str | None, document: Document) -> Question:
    try:
        usage_question.check(document.get("body"))
        body = verify(document, "enterprise")
    except (MalformedDocument, BadSignature) as error:
        raise Invalid(error.message, error.message_zh, code=error.code) from error
    if enterprise is not None and body["enterprise"] != enterprise:
        raise NotFound("enterprise", "企业", body["enterprise"])
    with control.db.read(SYSTEM) as session:
        asked = _nodes(session, body["enterprise"])
    return Question(Kind.USAGE, body["question_id"], document, frozenset(asked))


async def ask(control: Control, document: Document, enterprise: str | None = None) -> NodeUses:
    """What jobs used of the enterprise that signed `document` (`consent.usage_question`), as the nodes answer now.

    `enterprise` bounds who may ask: the one whose session it is. A node that does not answer in time is named in
    `silent`. Raises Invalid, NotFound, Conflict, NotTold with a node's reason, or AnswerRefused.
    """
    question = await run_in_threadpool(_question, control, enterprise, document)
    found = await questions.ask(control, question)
    return await run_in_threadpool(_joined, control, document["body"]["enterprise"], found, question.nodes)


def _joined(control: Control, enterprise: str, found: dict[str, dict[str, Any]], asked: frozenset[str]) -> NodeUses:
    """One item for each job, with the nodes that say so."""
    items: dict[str, NodeUse] = {}
    with control.db.read(SYSTEM) as session:
        for node in sorted(found):
            for use in found[node]["uses"]:
                if use["job_id"] in items:
                    items[use["job_id"]].nodes.append(node)
                else:
                    items[use["job_id"]] = _item(control, session, enterprise, node, use)
    return NodeUses(items=sorted(items.values(), key=lambda item: item.at), silent=sorted(asked - found.keys()))


def _item(control: Control, session: Session, enterprise: str, node: str, use: dict[str, Any]) -> NodeUse:
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
        sentence=Sentence(zh=zh, en=en), proven=service.of_job(control, session, row),
    )  # fmt: skip
