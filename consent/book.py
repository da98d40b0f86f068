"""The book of consents: what the ordered feed of consents, refusals and withdrawals says at a moment.

In memory and pure; the control plane's table and a node's journal both replay into it. It trusts its caller to
have verified each document (`verify_event`), and it refuses a feed with a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consent import artefact
from consent.keys import BadSignature, VerifyingKey
from consent.policy import Facts, check
from consent.signed import Document, signer, verify


class FeedGap(Exception):
    """An event is missing or repeated: nothing after it may be believed until the feed is read again."""


def verify_event(event: Mapping[str, Any], platform: VerifyingKey) -> None:
    """Checks form and both signatures of one feed event. Raises BadSignature or MalformedDocument."""
    document: Document = event["document"]
    verify(document, "platform", platform)
    body = verify(document, "enterprise")
    kind = artefact.check(body)
    if kind != event["kind"]:
        raise artefact.MalformedDocument(f"kind: the feed says {event['kind']!r}, the document is a {kind}")


@dataclass(frozen=True)
class Entry:
    """One consent or refusal and what became of it."""

    body: dict[str, Any]
    key: VerifyingKey
    seq: int
    withdrawn_at: str | None = None
    withdrawn_seq: int | None = None


class ConsentBook:
    """Replays feed events in order. `head` is the sequence number of the last one."""

    def __init__(self) -> None:
        self.head = 0
        self._by_id: dict[str, Entry] = {}
        self._by_subject: dict[tuple[str, str, str], str] = {}  # (recipient, purpose, enterprise) -> newest id

    def apply(self, event: Mapping[str, Any]) -> None:
        """Takes the next event. Raises FeedGap for a wrong number, BadSignature for a stranger's withdrawal."""
        if event["seq"] != self.head + 1:
            raise FeedGap(f"event {event['seq']} follows {self.head}")
        document = event["document"]
        body = document["body"]
        key = signer(document, "enterprise")
        if event["kind"] == "withdrawal":
            entry = self._by_id.get(body["consent_id"])
            if entry is None:
                raise artefact.MalformedDocument(f"consent_id: {body['consent_id']} is not known")
            if entry.key != key or entry.body["enterprise"] != body["enterprise"]:
                raise BadSignature(f"the withdrawal of {body['consent_id']} is not signed by its enterprise")
            if entry.withdrawn_at is None:  # withdrawn is final: the first withdrawal counts
                self._by_id[body["consent_id"]] = Entry(entry.body, entry.key, entry.seq, body["at"], event["seq"])
        else:
            if body["consent_id"] in self._by_id:
                raise artefact.MalformedDocument(f"consent_id: {body['consent_id']} is used already")
            self._by_id[body["consent_id"]] = Entry(body, key, event["seq"])
            self._by_subject[(body["recipient"], body["purpose"], body["enterprise"])] = body["consent_id"]
        self.head = event["seq"]

    def entry(self, enterprise: str, recipient: str, purpose: str) -> Entry | None:
        """The newest consent or refusal of this enterprise for this recipient and purpose."""
        consent_id = self._by_subject.get((recipient, str(purpose), enterprise))
        return None if consent_id is None else self._by_id[consent_id]

    def facts(self, enterprise: str, recipient: str, purpose: str, at: str) -> Facts:
        return facts_of(self.entry(enterprise, recipient, purpose), at)

    def live(self, enterprise: str, recipient: str, purpose: str, at: str) -> dict[str, Any]:
        """The live consent's body; raises Denied with the reason when there is none."""
        entry = self.entry(enterprise, recipient, purpose)
        check("score", facts_of(entry, at))
        assert entry is not None
        return entry.body

    def covered(self, recipient: str, purpose: str, at: str, seq: int | None = None) -> frozenset[str]:
        """Every enterprise with a live consent, as of feed position `seq` (the head when None)."""
        bound = self.head if seq is None else seq
        out = []
        for (who, what, enterprise), consent_id in self._by_subject.items():
            if who != recipient or what != purpose:
                continue
            entry = self._by_id[consent_id]
            ended = entry.withdrawn_seq is not None and entry.withdrawn_seq <= bound
            if (
                not ended
                and entry.seq <= bound
                and entry.body["type"] == "consent"
                and entry.body["valid_from"] <= at < entry.body["valid_until"]
            ):
                out.append(enterprise)
        return frozenset(out)


def facts_of(entry: Entry | None, at: str) -> Facts:
    """The facts that the `score` scope asks for."""
    if entry is None:
        return Facts(at=at)
    return Facts(
        at=at,
        purpose=entry.body["purpose"],
        consent_found=True,
        refused=entry.body["type"] == "refusal",
        withdrawn_at=entry.withdrawn_at,
        valid_from=entry.body["valid_from"],
        valid_until=entry.body["valid_until"],
    )
