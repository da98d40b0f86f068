"""What a platform does with nodes' heads, in memory: its ledger, and the records that it answers with."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from consent import node_log
from consent.keys import SigningKey
from consent.ledger import Kind, Ledger, MemoryStore, entry, new_salt, prove_inclusion, records
from consent.ledger.heads import check_extends
from consent.purposes import Purpose
from consent.signed import Document
from consent.templates import PUBLISHED
from consent.times import stamp
from consent.usage import usage


def now() -> str:
    return stamp(datetime.now(UTC))


class Heads:
    """The `enclave.use_log.HeadTaker` of one node: it checks what it takes as the control plane does."""

    def __init__(
        self, platform: SigningKey, node: str = "lab-node", clock: Callable[[], str] = now, log: str = "platform"
    ) -> None:
        self.key, self.node, self.clock = platform, node, clock
        self.ledger = Ledger(MemoryStore(log))
        self.last: node_log.NodeHead | None = None
        self.asked = 0
        self.faults: list[Exception] = []  # raised in turn, instead of an answer
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] = lambda given: given

    def record(self, kind: Kind, document: Document) -> Document:
        """Enters a document; its record under a fresh head."""
        salt = new_salt()
        (position,) = self.ledger.append([entry(kind, self.clock(), document, salt)])
        head = self.ledger.sign_head(self.key, self.clock())
        return json.loads(records.make(document, salt, prove_inclusion(self.ledger.store, position, head)))

    def job(self, job_id: str, institution: str = "bank_a") -> Document:
        return usage(
            usage_id="u-0000000000000001", at=self.clock(), user="risk", institution=institution, reason="a loan model",
            use="joint_training", purpose="joint_training", object_kind="job", object_id=job_id, job_id=job_id,
            data=PUBLISHED[Purpose.JOINT_TRAINING].data,
        )  # fmt: skip

    async def log_size(self) -> dict[str, Any]:
        self._fail()
        last = self.last
        return {"log_id": None, "size": 0} if last is None else {"log_id": last.head.log_id, "size": last.head.size}

    async def enter_head(self, job_id: str, head: Document, path: list[str]) -> dict[str, Any]:
        self._fail()
        document = node_log.head_document(self.node, job_id, head)
        found = node_log.read_head(document)
        if self.last is not None:
            check_extends(self.last.head, found.head, [bytes.fromhex(one) for one in path])
        self.last = found
        given = {
            "head": self.record(Kind.HEAD, document),
            "job": self.record(Kind.DATA_USE, self.job(job_id)),
        }
        return self.answer(given)

    def _fail(self) -> None:
        self.asked += 1
        if self.faults:
            raise self.faults.pop(0)
