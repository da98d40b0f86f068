"""A node tells an enterprise which jobs used its data: the enterprise itself, and of itself alone (R46, R51)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consent.keys import SigningKey
from consent.ledger import FixedKeys, records
from consent.signed import Document, sign
from consent.times import stamp
from consent.usage_question import question
from enclave.endings import JobEnded
from enclave.gate import UNREACHABLE, Consents
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from enclave.use_log import Used, UseLog, load_key
from enclave.uses import Uses
from federated.relay.link import Cause
from tests.enclave.feeds import Feed
from tests.enclave.heads import Heads

AT = "2026-05-01T08:00:00Z"
TICKET = {
    "job_id": "j-1", "project": "sme", "purpose": "joint_training", "parties": {"bank": {"institution": "bank_a"}},
}  # fmt: skip


class Node:
    """A node on whose journal a job used two enterprises' rows."""

    def __init__(self, folder: Path) -> None:
        self.feed, self.folder = Feed(), folder
        self.ids = {name: self.feed.maker.consent(name)["document"]["body"]["consent_id"] for name in ("e1", "e2")}
        self.journal = Journal(folder / "journal.sqlite")
        consents = Consents(self.journal, PlatformKeys(self.feed.maker.platform.public), self.feed.fetch)
        platform = self.feed.maker.platform
        self.heads = Heads(platform)
        key = load_key(folder, platform.suite)
        self.log = UseLog(
            self.journal, key, "lab-node", self.heads, PlatformKeys(platform.public), lambda: consents.lapsed
        )
        self.uses = Uses(self.journal, consents, self.log)
        used = [Used(who, consent_id, {"tax": "*"}) for who, consent_id in self.ids.items()]
        asyncio.run(self.log.use(TICKET, used, at=AT, content="age"))
        for purpose, reference in (("underwriting_score", "p-1"), ("joint_training", "j-2")):
            self.journal.record_uses(
                self.ids.items(), at=AT, recipient="bank_a", purpose=purpose, content="age", reference=reference
            )

    def ask(self, enterprise: str = "e1", key: SigningKey | None = None) -> Any:
        evidence = {"kind": "import", "reference": "0" * 64}
        body = question(
            question_id="q-0123456789abcdef", enterprise=enterprise, at=stamp(datetime.now(UTC)), evidence=evidence
        )
        return self.answer(sign(body, key or self.feed.maker.key(enterprise), "enterprise"))

    def answer(self, document: Document) -> Any:
        name, told = asyncio.run(self.uses.answer(document))
        assert name == str(document["body"].get("question_id", ""))
        return told


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_it_tells_the_jobs_with_time_consent_and_data(node: Node) -> None:
    told = node.ask()["uses"]
    assert [use["job_id"] for use in told] == ["j-1", "j-2"]  # scores are the control plane's own records
    assert told[0].keys() == {"at", "recipient", "job_id", "consent_id", "data", "record"}
    assert (told[0]["at"], told[0]["consent_id"]) == (AT, node.ids["e1"])
    assert told[0]["data"]["tax"] == "*"


def test_it_proves_each_use_that_its_log_holds(node: Node) -> None:
    """R46: the record is of this enterprise's row and of no other; one from before the log is told without."""
    [first, before] = node.ask()["uses"]
    assert first["record"]["document"]["object"] == {"kind": "enterprise", "id": "e1"}
    proven = records.check(first["record"], FixedKeys(load_key(node.folder, "ed25519").public), log_id=node.log.log_id)
    assert proven.head.size == 2
    assert before["record"] is None


def test_an_enterprise_that_was_not_used_is_told_so(node: Node) -> None:
    node.feed.maker.refusal("e3")
    assert node.ask("e3") == {"uses": []}


def test_nobody_asks_about_another_enterprise(node: Node) -> None:
    stranger = SigningKey.generate()
    for key in (stranger, node.feed.maker.key("e2"), node.feed.maker.platform):
        told = node.ask("e1", key)
        assert told["code"] == "not_the_enterprise"
        assert "uses" not in told


def test_after_a_withdrawal_the_enterprise_still_learns_what_was_used(node: Node) -> None:
    first = next(event for event in node.feed.maker.events if event["document"]["body"]["enterprise"] == "e1")
    node.feed.maker.withdrawal(first, at=stamp(datetime.now(UTC)))
    assert len(node.ask()["uses"]) == 2


@pytest.mark.parametrize("document", [{"body": {}}, {"body": {"type": "x"}, "signatures": []}])
def test_what_is_no_question_is_refused(node: Node, document: Document) -> None:
    assert node.answer(document)["code"] == "question_refused"


def test_without_the_feed_nothing_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut_off(_: int) -> dict:
        raise JobEnded(Cause(UNREACHABLE, "no answer", "无应答"))

    monkeypatch.setattr(node.uses._consents, "_fetch", cut_off)
    assert node.ask().get("code") == "lease_lapsed"
