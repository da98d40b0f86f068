"""What a node tells of withdrawals: one coarse number for a model, and who rests on a consent once it is withdrawn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from consent.keys import SigningKey
from consent.ticket import make_impact_question
from enclave.gate import Consents, now
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from enclave.recalls import Recalls, coarse
from tests.enclave.feeds import Feed

AT = "2026-05-01T00:00:00Z"
JOB, SHA = "j-000000000001", "ab" * 32


class Control:
    """Takes what the node tells."""

    def __init__(self) -> None:
        self.shares: list[tuple[str, float]] = []
        self.state = "released"

    async def releases(self) -> list[dict[str, Any]]:
        return [{"release_id": "r-1", "job_id": JOB, "sha256": SHA, "state": self.state}]

    async def share(self, release_id: str, share: float, seq: int) -> None:
        self.shares.append((release_id, share))


class Node:
    def __init__(self, folder: Path, rows: int, feed: Feed | None = None) -> None:
        self.feed = feed or Feed()
        for number in range(rows):
            self.feed.maker.consent(f"e{number}")
        self.journal = Journal(folder / "journal.sqlite")
        self.consents = Consents(self.journal, PlatformKeys(self.feed.maker.platform.public), self.feed.fetch)
        self.control = Control()
        self.recalls = Recalls(
            self.journal,
            self.consents,
            self.control,  # type: ignore[arg-type]
            PlatformKeys(self.feed.maker.platform.public),
        )
        self.hear()
        self.journal.job_started(JOB, {}, AT)
        uses = [(f"e{n}", self.id(n)) for n in range(rows)]
        self.journal.record_uses(uses, at=AT, recipient="bank_a", purpose="joint_training", content="x", reference=JOB)
        self.journal.job_ended(JOB, "succeeded", "", "", "", AT)

    def id(self, number: int) -> str:
        return self.feed.maker.events[number]["document"]["body"]["consent_id"]

    def hear(self) -> None:
        asyncio.run(self.consents.sync())

    def withdraw(self, *numbers: int) -> None:
        for number in numbers:
            self.feed.maker.withdrawal(self.feed.maker.events[number], AT)
        self.hear()

    def ask(self, number: int, **changes: Any) -> dict[str, Any]:
        fields = {
            "question_id": "q-1",
            "consent_id": self.id(number),
            "enterprise": f"e{number}",
            "issued_at": now(),
            "expires_at": "2099-01-01T00:00:00Z",
            **changes,
        }
        question = make_impact_question(changes.pop("key", self.feed.maker.platform), **fields)
        return asyncio.run(self.recalls.answer(question))[1]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, 200)


def test_only_what_was_withdrawn_and_not_given_anew_counts(node: Node) -> None:
    """PIPL §15: what has ended by time or is paused was used rightly."""
    assert node.recalls.share(JOB) == 0
    node.withdraw(0, 1, 2, 3)
    assert node.recalls.share(JOB) == 4 / 200
    node.feed.maker.transition(node.feed.maker.events[10], "pause", AT)
    node.feed.maker.transition(node.feed.maker.events[11], "expire", "2027-06-01T00:00:00Z")
    node.hear()
    assert node.recalls.share(JOB) == 4 / 200
    node.feed.maker.consent("e0", given_at="2026-06-01T00:00:00Z", valid_from="2026-06-01T00:00:00Z")
    node.hear()
    assert node.recalls.share(JOB) == 3 / 200
    node.journal.drop(JOB, ["e1"])  # left before the last fit
    assert node.recalls.share(JOB) == pytest.approx(2 / 199)
    assert node.recalls.share("j-none") == 0


def test_who_rests_on_a_person_is_counted_when_the_person_withdraws(tmp_path: Path) -> None:
    """R44: a person's own withdrawal ends what rests on it, and a new consent of the person mends it."""
    feed = Feed()
    offered = feed.maker.offer("e0")
    feed.maker.consent("e0", subject="sole_trader", persons=[feed.maker.named(offered)])
    said = feed.maker.said(offered, valid_until="2099-01-01T00:00:00Z")
    one = Node(tmp_path, 0, feed)
    name = one.id(0)
    one.journal.record_uses(
        [("e0", name)], at=AT, recipient="bank_a", purpose="joint_training", content="x", reference=JOB
    )
    assert one.recalls.share(JOB) == 0
    feed.maker.taken_back(said)
    one.hear()
    assert one.recalls.share(JOB) == 1
    feed.maker.said(offered, valid_until="2099-01-01T00:00:00Z")
    one.hear()
    assert one.recalls.share(JOB) == 0


def test_one_withdrawal_among_many_cannot_be_read_from_the_number(node: Node) -> None:
    """R51: the control plane sees each withdrawal, and must not see whom a cohort holds."""
    asyncio.run(node.recalls.report())
    assert node.control.shares == []
    node.withdraw(0)
    asyncio.run(node.recalls.report())
    node.withdraw(1)
    asyncio.run(node.recalls.report())
    asyncio.run(node.recalls.report())
    assert node.control.shares == [("r-1", 0.01)]
    assert [coarse(share) for share in (0.0, 0.004, 0.005, 0.104, 1.0)] == [0.0, 0.0, 0.01, 0.1, 1.0]


def test_a_recalled_model_is_remembered(node: Node) -> None:
    node.control.state = "recalled"
    asyncio.run(node.recalls.report())
    assert node.journal.is_recalled(SHA)
    assert node.control.shares == []


def test_who_withdrew_is_told_what_rests_on_it_and_nobody_else(node: Node) -> None:
    node.withdraw(5)
    assert node.ask(5) == {"job_ids": [JOB]}
    assert node.ask(6)["code"] == "consent_not_withdrawn"
    assert node.ask(5, enterprise="e6")["code"] == "consent_unknown"
    assert node.ask(5, consent_id="c-none")["code"] == "consent_unknown"
    assert node.ask(5, issued_at="2020-01-01T00:00:00Z", expires_at="2020-01-02T00:00:00Z")["code"] == "expired"


def test_a_strangers_question_is_refused(node: Node) -> None:
    node.withdraw(5)
    stranger = SigningKey.generate()
    question = make_impact_question(
        stranger, question_id="q-1", consent_id=node.id(5), enterprise="e5", issued_at=now(),
        expires_at="2099-01-01T00:00:00Z",
    )  # fmt: skip
    assert asyncio.run(node.recalls.answer(question))[1]["code"] == "question_refused"
