"""The lab's part of a score: by a permit that it checks itself, for the bank node that the permit names (R14, R46)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consent.keys import SigningKey
from consent.signed import Document
from consent.ticket import make_permit
from consent.times import stamp
from enclave.endings import JobEnded
from enclave.gate import UNREACHABLE, Consents
from enclave.journal import Journal
from enclave.permitted import Permitted
from enclave.platform_keys import PlatformKeys
from enclave.scoring import ScoreDesk
from federated.relay.link import Cause
from federated.relay.server import Refused
from tests.enclave.feeds import Feed

# behind everything that is checked before a row is looked for
ALLOWED = "enterprise_not_held"


class Node:
    """A lab's node that holds no row; `A` has consented to being scored."""

    def __init__(self, folder: Path) -> None:
        self.feed = Feed()
        now = datetime.now(UTC)
        term = {"valid_from": stamp(now - timedelta(days=9)), "valid_until": stamp(now + timedelta(days=9))}
        self.given = self.feed.maker.consent("A", purpose="underwriting_score", **term)
        self.journal = Journal(folder / "journal.sqlite")
        keys = PlatformKeys(self.feed.maker.platform.public)
        self.consents = Consents(self.journal, keys, self.feed.fetch)
        config: Any = SimpleNamespace(name="lab-node", institution="lab", role="lab")
        side: Any = SimpleNamespace(row=lambda _: None)
        airlock: Any = SimpleNamespace(released=lambda _: {})
        self.desk = ScoreDesk(config, Permitted(keys, self.consents, self.journal), side, airlock)

    def permit(self, key: SigningKey | None = None, **changes: Any) -> Document:
        now = datetime.now(UTC)
        fields = {
            "permit_id": "p-1",
            "consent_id": self.given["document"]["body"]["consent_id"],
            "enterprise": "A",
            "recipient": "bank_a",
            "purpose": "underwriting_score",
            "release_sha256": "ab" * 32,
            "parties": {"bank": {"node": "bank-node"}, "lab": {"node": "lab-node", "institution": "lab"}},
            "reason": "loan 17",
            "user": "risk",
            "issued_at": stamp(now - timedelta(seconds=5)),
            "expires_at": stamp(now + timedelta(seconds=30)),
        }
        return make_permit(key or self.feed.maker.platform, **{**fields, **changes})

    def why_not(self, document: Any, caller: str = "bank-node") -> str:
        with pytest.raises(Refused) as refused:
            asyncio.run(self.desk.answer_part(caller, {"permit": document}))
        return refused.value.cause.code

    @property
    def uses(self) -> list[dict]:
        return self.journal.uses_of("A", "underwriting_score")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_with_a_live_consent_the_use_is_on_record_before_the_row_is_looked_for(node: Node) -> None:
    assert node.why_not(node.permit()) == ALLOWED
    assert [use["recipient"] for use in node.uses] == ["bank_a"]


def test_a_permit_serves_the_bank_node_and_the_lab_node_that_it_names(node: Node) -> None:
    assert node.why_not(node.permit(), caller="bank-b-node") == "permit_refused"
    other = {"bank": {"node": "bank-node"}, "lab": {"node": "lab-node-2", "institution": "lab"}}
    assert node.why_not(node.permit(parties=other)) == "permit_refused"
    assert node.why_not(node.permit(SigningKey.generate())) == "permit_refused"
    assert node.why_not("no permit") == "permit_refused"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"enterprise": "B"}, "no_consent"),
        ({"recipient": "bank_b"}, "no_consent"),
        ({"purpose": "post_loan_monitoring"}, "use_not_allowed"),
    ],
)
def test_without_a_live_consent_nothing_is_looked_for(node: Node, changes: dict[str, Any], code: str) -> None:
    assert node.why_not(node.permit(**changes)) == code
    assert node.uses == []


def test_after_a_withdrawal_an_issued_permit_is_worth_nothing(node: Node) -> None:
    permit = node.permit()
    assert node.why_not(permit) == ALLOWED
    node.feed.maker.withdrawal(node.given, at=stamp(datetime.now(UTC)))
    assert node.why_not(permit) == "consent_withdrawn"


def test_without_the_feed_no_part_is_given_and_the_bank_learns_why(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut_off(_: int) -> dict:
        raise JobEnded(Cause(UNREACHABLE, "no answer", "无应答"))

    monkeypatch.setattr(node.consents, "_fetch", cut_off)
    assert node.why_not(node.permit()) == "lease_lapsed"
