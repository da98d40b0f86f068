"""The feed of signed documents: one order, no gap, a chain over all of it, and a signed word of how far it reaches.

Whoever appends holds the feed's head until the transaction ends. What the platform itself has to say (a term that is
over, a sanctioned institution) is signed and appended here; enterprises' documents come through `service`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from api.consents import repository
from api.consents.repository import FeedEvent
from api.control import Control
from api.db import SYSTEM, Unit
from api.ledger import service as ledger
from consent import artefact
from consent.feed import Head, link, sign_head
from consent.keys import SigningKey
from consent.signed import Document, sign
from consent.times import stamp

FEED_TOPIC = "feed"


class Writer:
    """Appends to the feed in one transaction. `close` writes; before it nothing is in the table."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._head = repository.lock_head(unit.session)
        self.seq, self.chain = self._head.seq, self._head.chain
        self.events: list[dict[str, Any]] = []

    def add(self, document: Document, name: str, text: str | None = None) -> int:
        """The place of a document that the platform has signed; `name` is its consent or institution."""
        self.chain = link(self.chain, self.seq + 1, document)
        self.seq += 1
        ledger.append(self._unit, None, document, of=("feed", str(self.seq)))
        self.events.append(
            {
                "seq": self.seq,
                "kind": document["body"]["type"],
                "consent_id": name,
                "document": text or json.dumps(document, ensure_ascii=False, separators=(",", ":")),
                "chain": self.chain,
                "recorded_at": self._unit.now,
            }
        )
        return self.seq

    def close(self) -> None:
        if not self.events:
            return
        self._unit.session.execute(sa.insert(FeedEvent), self.events)
        self._head.seq, self._head.chain = self.seq, self.chain
        self._unit.session.flush()
        self._unit.notify(FEED_TOPIC)


def say(writer: Writer, key: SigningKey, body: dict[str, Any], name: str) -> int:
    """Appends what the platform says by itself. Raises MalformedDocument."""
    artefact.check(body)
    return writer.add(sign(body, key, "platform"), name)


def page(control: Control, after: int, limit: int) -> Iterator[str]:
    """The text of one page. The stored documents are passed on as they were signed, never parsed.

    `signed_head` is for the last event of this page and says how many there are in all.
    """
    with control.db.read(SYSTEM) as session:
        rows = repository.events(session, after, limit)
        last = repository.head(session)
        seq = rows[-1].seq if rows else min(after, last)
        chain = rows[-1].chain if rows else repository.chain_at(session, seq)
    assert chain is not None, "the feed has a gap"
    signed = sign_head(control.key, Head(seq, chain, last, stamp(control.db.clock())))
    yield f'{{"head":{last},"signed_head":{json.dumps(signed)},"events":['
    for i, row in enumerate(rows):
        yield f'{"," if i else ""}{{"seq":{row.seq},"kind":"{row.kind}","document":{row.document}}}'
    yield "]}"
