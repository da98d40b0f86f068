"""A permit for one use, before anything is read: signature, time, live consent, and the use on record.

Owns the order of these, for scores and for data alike. What a permit may hold is `consent.ticket`'s to say, what is
done with it its desk's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from consent.artefact import MalformedDocument
from consent.keys import BadSignature, VerifyingKey
from consent.policy import check
from consent.signed import Document
from enclave.endings import JobEnded
from enclave.gate import Consents, now
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from federated.relay.link import Cause


def refused(message: str, message_zh: str) -> JobEnded:
    return JobEnded(Cause("permit_refused", message, message_zh))


class Permitted:
    """One node's gate for single uses."""

    def __init__(self, platform: PlatformKeys, consents: Consents, journal: Journal) -> None:
        self._platform = platform
        self._consents = consents
        self._journal = journal

    async def read(self, document: Document, read: Callable[[Document, VerifyingKey, str], dict]) -> dict:
        """The body of a permit that the platform signed and that is current. Raises JobEnded or Denied."""
        try:
            await self._platform.learn([document])
            return read(document, self._platform.current(document), now())
        except (BadSignature, MalformedDocument) as error:
            raise refused(f"the permit was refused: {error}", "许可无效") from error

    async def use(self, permit: dict, scope: str, *, provider: str | None, content: str, **act: Any) -> None:
        """Puts the use on record, under a consent that is live by the newest word. Raises JobEnded or Denied.

        `act`: what is to be done, as `ConsentBook.facts` takes it.
        """
        await self._consents.sync()
        at, book = now(), self._consents.book
        who = (permit["enterprise"], permit["recipient"], permit["purpose"])
        used = self._journal.past_uses(permit["enterprise"], permit["permit_id"])
        check(scope, book.facts(*who, at, provider=provider, used=used, **act))
        entry = book.entry(*who)
        assert entry is not None  # or the policy had denied
        self._journal.record_uses(
            [(permit["enterprise"], entry.consent_id)],
            at=at,
            recipient=permit["recipient"],
            purpose=permit["purpose"],
            content=content,
            reference=permit["permit_id"],
        )
