"""An enterprise asks how its data were used in joint training: the nodes answer it, the control plane passes it on.

Owns who is asked and what the answers say together: it adds what the control plane knows of the job (who asked for it,
why), and takes no answer that contradicts that. Neither question nor answer is kept (`api.nodes.questions`), but of a
question by the platform's word the ledger holds that it was asked.
"""

from __future__ import annotations

import json
import secrets
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.consents.repository import Consent
from api.control import Control
from api.db import SYSTEM, Unit
from api.errors import ApiError, Invalid, NotFound
from api.jobs.repository import Job
from api.ledger import service as ledger
from api.nodes import questions
from api.nodes.questions import Kind, Question
from api.usage import node_heads, repository, service
from api.usage.schemas import NodeAsked, NodeRefusal, NodeUse, NodeUses, Sentence
from consent import node_log, usage_question
from consent.errors import MalformedDocument
from consent.evidence import REGISTRAR, NotTheEnterprise
from consent.keys import BadSignature
from consent.ledger import LedgerError, records
from consent.purposes import Mode, Purpose
from consent.signed import Document, countersign, sign, verify
from consent.usage import codes, sentence, usage


class AnswerRefused(ApiError):
    """A node's answer contradicts what is on record here."""

    status, code, title = 502, "node_answer_refused", "A node answered with what cannot be"


class Vouched(NamedTuple):
    """A question by the platform's word, and where the ledger holds it once the transaction is over."""

    document: Document
    position: ledger.Position


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


def vouch(unit: Unit, control: Control, enterprise: str, at: str, evidence: dict[str, str]) -> Vouched:
    """A question by the platform's word for who asks, signed and entered in the ledger with this transaction.

    `evidence` is what a session and a one-time code proved in the same transaction.
    """
    body = usage_question.question(
        question_id=f"q-{secrets.token_hex(8)}", enterprise=enterprise, at=at, evidence=evidence
    )
    document = countersign(sign(body, control.key, REGISTRAR), control.key, "platform")
    position = ledger.append(unit, None, document, of=(usage_question.TYPE, body["question_id"]), keep=True)
    return Vouched(document, position)


def _question(
    control: Control, enterprise: str | None, document: Document, position: ledger.Position | None
) -> Question:
    try:
        usage_question.check(document.get("body"))
        if position is None and usage_question.is_word(document):
            raise NotTheEnterprise(
                "by session and code it is asked in the portal alone", "凭会话加验证码只能在门户询问"
            )
        body = verify(document, "enterprise")
    except (MalformedDocument, BadSignature) as error:
        raise Invalid(error.message, error.message_zh, code=error.code) from error
    if enterprise is not None and body["enterprise"] != enterprise:
        raise NotFound("enterprise", "企业", body["enterprise"])
    with control.db.read(SYSTEM) as session:
        nodes = frozenset(_nodes(session, body["enterprise"]))
    record = None
    if position is not None and nodes:
        assert position.index is not None, "the transaction is over"
        made = records.make(document, position.salt, ledger.inclusion(control, position.index))
        record = json.loads(made)
    return Question(Kind.USAGE, body["question_id"], document, nodes, record)


async def ask(
    control: Control, document: Document, enterprise: str | None = None, position: ledger.Position | None = None
) -> NodeUses:
    """What jobs used of the enterprise that signed `document` (`consent.usage_question`), as the nodes answer now.

    `enterprise` bounds who may ask: the one whose session it is. `position` is where the ledger holds a question by
    the platform's word (`vouch`). A node that does not answer in time is named in `silent`, one that does not say in
    `refused`. Raises Invalid, NotFound, Conflict, LedgerUnavailable or AnswerRefused.
    """
    question = await run_in_threadpool(_question, control, enterprise, document, position)
    found = await questions.ask(control, question)
    return await run_in_threadpool(_joined, control, document["body"]["enterprise"], found, question.nodes)


def _joined(control: Control, enterprise: str, found: dict[str, dict[str, Any]], nodes: frozenset[str]) -> NodeUses:
    """One item for each job, with the nodes that say so and the proofs of those whose log's head stands here."""
    items: dict[str, NodeUse] = {}
    refused: list[NodeRefusal] = []
    asked: dict[tuple[str, str], NodeAsked] = {}
    with control.db.read(SYSTEM) as session:
        for node in sorted(found):
            told = found[node]
            if told["code"]:
                message = told["message"] or told["code"]
                zh = told["message_zh"] or message
                refused.append(NodeRefusal(node=node, code=told["code"], message=message, message_zh=zh))
                continue
            for one in told["asked"] or ():
                key = (one["at"], one["question_id"])
                before = asked.setdefault(key, NodeAsked(at=key[0], question_id=key[1], nodes=[], answered=[]))
                before.nodes.append(node)
                if one["answered"]:
                    before.answered.append(node)
            for use in told["uses"]:
                job = _fitting(session, enterprise, node, use)
                if job.id not in items:
                    items[job.id] = _item(control, session, job, enterprise, use)
                item = items[job.id]
                item.nodes.append(node)
                file = _file(control, session, enterprise, node, use, item.proven)
                if file is not None:
                    item.files.append(file)
    return NodeUses(
        items=sorted(items.values(), key=lambda item: item.at),
        silent=sorted(nodes - found.keys()),
        refused=refused,
        asked=[asked[key] for key in sorted(asked)],
    )


def _fitting(session: Session, enterprise: str, node: str, use: dict[str, Any]) -> Job:
    """The job of a use that fits what is on record here. Raises AnswerRefused."""
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
    return job


def _item(control: Control, session: Session, job: Job, enterprise: str, use: dict[str, Any]) -> NodeUse:
    row = repository.of_job(session, job.id)
    assert row is not None, "every job that was approved has its usage record"
    record = usage(
        usage_id=f"{row.id}/{job.id}", at=use["at"], user=row.user, institution=row.institution, reason=row.reason,
        use=Mode.JOINT_TRAINING, purpose=Purpose.JOINT_TRAINING, object_kind="enterprise", object_id=enterprise,
        data=use["data"], consent_id=use["consent_id"], job_id=job.id,
    )  # fmt: skip
    zh, en = sentence(record)
    return NodeUse(
        at=use["at"], job_id=job.id, consent_id=use["consent_id"], nodes=[], record=json.loads(json.dumps(record)),
        sentence=Sentence(zh=zh, en=en), proven=service.of_job(control, session, row), files=[],
    )  # fmt: skip


def _file(
    control: Control, session: Session, enterprise: str, node: str, use: dict[str, Any], job: Document
) -> Document | None:
    """The proof of what a node says, under its head that stands in the ledger; None where none stands.

    A node that has entered a head must prove. Raises AnswerRefused where it does not, or where the proof is of
    something else than it says.
    """
    head = node_heads.record_of(control, session, use["job_id"], node)
    if head is None:
        return None
    try:
        file = node_log.make(use["record"] or {}, head, job)
        said = node_log.check(file, control.keyring).use
        told = (enterprise, use["consent_id"], use["at"], codes(use["data"]))
        if (said["object"]["id"], said["consent_id"], said["at"], said["content"]["data"]) != told:
            raise node_log.UseMismatch("the proof is of another use", "证明属于另一次使用")
    except (LedgerError, MalformedDocument) as error:
        raise AnswerRefused(
            f"node {node} does not prove what it tells of job {use['job_id']}: tell the operator ({error.message})",
            f"节点 {node} 未能证明其就作业 {use['job_id']} 所述：请告知平台运营方（{error.message_zh}）",
        ) from error
    return file
