"""Heads of the nodes' own logs: taken before a job reads a row, compared with the last one, entered in the ledger.

A node's log holds who was used; its head says how many and nothing of whom, so the platform may know it. Owns what may
follow what. The key and the log of a node's first head are its key and log for good.
"""

from __future__ import annotations

import json

from sqlalchemy.orm import Session

from api.auth import Caller
from api.control import Control
from api.db import SYSTEM, Unit
from api.errors import Conflict, Invalid, NotFound
from api.jobs import repository as jobs
from api.jobs.repository import Job
from api.ledger import service as ledger
from api.nodes import repository as nodes
from api.usage import repository, service
from api.usage.repository import NodeHead
from api.usage.schemas import NodeHeadIn, NodeHeadOut, NodeLogOut
from consent import node_log
from consent.canonical import canonical
from consent.ledger import Kind, LedgerError, check_fresh, records
from consent.ledger.errors import MalformedHead
from consent.ledger.heads import check_extends
from consent.signed import Document
from consent.times import stamp

OBJECT = "node_head"  # what the ledger's private part calls it
MAX_AGE_SECONDS = 300  # what two organisations' clocks and a short outage may make of it
_OPEN = ("approved", "running")


def log_of(control: Control, caller: Caller) -> NodeLogOut:
    """How far the caller's own log is known here."""
    with control.db.read(caller) as session:
        last = repository.last_head(session, caller.name)
        return NodeLogOut(log_id=None, size=0) if last is None else NodeLogOut(log_id=last.log_id, size=last.size)


def enter(control: Control, caller: Caller, job_id: str, body: NodeHeadIn) -> NodeHeadOut:
    """Takes the head of the caller's log before it reads a row for a job; the same again is no news.

    Raises NotFound for a job that is not the caller's, Conflict for one that is over or has another head, and Invalid
    with the name of what is wrong with a head: forged, of another log, shrunk, forked, too old.
    """
    with control.db.unit(caller) as unit:
        nodes.heard(unit.session, caller.name, unit.now)
        job = jobs.job(unit.session, job_id)
        if job is None or caller.name not in (job.bank_node, job.lab_node):
            raise NotFound("job", "作业", job_id)
        document = _document(caller.name, job_id, body.head)
        known = unit.session.get(NodeHead, (job_id, caller.name))
        if known is None:
            _add(unit, job, document, body)
        elif known.document != canonical(document).decode():
            raise Conflict(
                f"job {job_id} has another head of node {caller.name} already", f"作业 {job_id} 已登记该节点的另一树头",
                code="exists",
            )  # fmt: skip
    with control.db.read(SYSTEM) as session:  # the record of the job is the bank's; its lab may show it to who is used
        row = repository.of_job(session, job_id)
        head = record_of(control, session, job_id, caller.name)
        assert row is not None, "every job that was approved has its usage record"
        assert head is not None, "entered just now"
        return NodeHeadOut(head=head, job=service.of_job(control, session, row))


def _document(node: str, job_id: str, head: Document) -> Document:
    try:
        return node_log.head_document(node, job_id, head)
    except LedgerError as error:
        raise Invalid(error.message, error.message_zh, code=error.code) from error


def _add(unit: Unit, job: Job, document: Document, body: NodeHeadIn) -> None:
    if job.state not in _OPEN:
        raise Conflict(
            f"job {job.id} is {job.state}: nothing may be used for it",
            f"作业 {job.id} 状态为 {job.state}：不得再使用数据",
            code="illegal_transition",
        )
    by = node_log.read_head(document)
    last = repository.last_head(unit.session, by.node)
    try:
        if len(document["head"]["signatures"]) != 1:
            raise MalformedHead("a node signs its head alone", "节点树头只应有节点自己的签名")
        before = None if last is None else node_log.read_head(json.loads(last.document))
        if before is not None:
            check_extends(before.head, by.head, [bytes.fromhex(one) for one in body.path])
        check_fresh(by.head, stamp(unit.now), MAX_AGE_SECONDS, None if before is None else before.head)
    except LedgerError as error:
        raise Invalid(error.message, error.message_zh, code=error.code) from error
    row = NodeHead(
        job_id=job.id,
        node=by.node,
        number=0 if last is None else last.number + 1,
        log_id=by.head.log_id,
        size=by.head.size,
        document=canonical(document).decode(),
        entered_at=unit.now,
    )
    ledger.append(unit, Kind.HEAD, document, of=(OBJECT, f"{job.id}/{by.node}"))
    unit.create(row, "node.head", "signed by the node before it reads a row", size=row.size)


def record_of(control: Control, session: Session, job_id: str, node: str) -> Document | None:
    """The ledger record of a node's head before a job; None where none stands."""
    row = session.get(NodeHead, (job_id, node))
    if row is None:
        return None
    kept = ledger.kept(session, OBJECT, [f"{job_id}/{node}"])[f"{job_id}/{node}"]
    made = records.make(json.loads(row.document), bytes(kept.salt), ledger.inclusion(control, kept.position))
    found: Document = json.loads(made)
    return found
