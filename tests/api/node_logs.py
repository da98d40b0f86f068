"""A node's own log as a test keeps it beside a fake node: uses in memory, heads over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx

from consent import node_log
from consent.keys import SigningKey
from consent.ledger import Kind, Ledger, MemoryStore, entry, new_salt, prove_inclusion, records
from consent.ledger.merkle import consistency_path
from consent.signed import Document
from consent.times import stamp
from consent.usage import usage
from tests.api.world import FakeNode


def now() -> str:
    return stamp(datetime.now(UTC))


class NodeLog:
    def __init__(self, node: FakeNode, key: SigningKey | None = None) -> None:
        self.node, self.key = node, key or SigningKey.generate()
        self.ledger = Ledger(MemoryStore(node_log.log_id(self.key.public)))
        self.bodies: list[dict[str, Any]] = []
        self.salts: list[bytes] = []
        self.known = 0
        self.head: Document = {}

    def use(self, job_id: str, *enterprises: str, at: str | None = None, consent_id: str | None = None) -> None:
        """Enters uses of these enterprises' rows, by default under consents `c-<enterprise>`."""
        for one in enterprises:
            body = usage(
                usage_id=f"{self.ledger.store.log_id}/{len(self.bodies)}", at=at or now(), user=self.node.name,
                institution="bank-a", reason=f"joint training job {job_id}", use="joint_training",
                purpose="joint_training", object_kind="enterprise", object_id=one, data={"tax": "*"},
                consent_id=consent_id or f"c-{one}", job_id=job_id,
            )  # fmt: skip
            salt = new_salt()
            self.ledger.append([entry(Kind.DATA_USE, now(), body, salt)])
            self.bodies.append(body)
            self.salts.append(salt)

    def sign(self, at: str | None = None) -> Document:
        self.head = self.ledger.sign_head(self.key, at or now())
        return self.head

    def put(self, job_id: str, head: Document | None = None, path: list[str] | None = None) -> httpx.Response:
        """The head over everything entered, with the path from the one before that was taken."""
        head = head or self.sign()
        size = head["body"]["size"]
        if path is None:
            found = consistency_path(self.ledger.store, min(self.known, size), size, "sha256")
            path = [one.hex() for one in found]
        answer = self.node.http.put(f"/v1/node/jobs/{job_id}/head", json={"head": head, "path": path})
        if answer.is_success:
            self.known = size
        return answer

    def entered(self, job_id: str, *enterprises: str) -> dict[str, Any]:
        """Enters uses and their head; what the control plane answers."""
        self.use(job_id, *enterprises)
        answer = self.put(job_id)
        assert answer.is_success, answer.text
        return answer.json()

    def told(self, enterprise: str, job_id: str, **changes: Any) -> dict[str, Any]:
        """What the node answers of one use, proved under the last head."""
        place = next(n for n, b in enumerate(self.bodies) if (b["object"]["id"], b["job_id"]) == (enterprise, job_id))
        body = self.bodies[place]
        record = records.make(body, self.salts[place], prove_inclusion(self.ledger.store, place, self.head))
        return {
            "at": body["at"], "recipient": "bank-a", "job_id": job_id, "consent_id": body["consent_id"],
            "data": {"tax": "*"}, "record": json.loads(record), **changes,
        }  # fmt: skip
