"""The gate: the one place where permission meets data.

It keeps the verified book of consents in step with the feed and answers, for one job and party, which rows of the
own table may be used now. Rows it does not admit are never read out of the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from consent.book import ConsentBook, verify_event
from consent.keys import VerifyingKey
from consent.policy import Facts, check
from consent.times import parse, stamp
from enclave.endings import JobEnded
from enclave.journal import Journal
from federated.relay.link import Cause

# Two organisations' clocks: a peer's "now" further from ours than this is refused rather than believed.
MAX_CLOCK_SKEW = 300.0


class Consents:
    """The node's copy of the consent feed: every document verified before it counts, kept in the journal."""

    def __init__(
        self,
        journal: Journal,
        platform: VerifyingKey,
        fetch: Callable[[int], Awaitable[dict]],
        refused: frozenset[str] = frozenset(),
    ) -> None:
        self.book = ConsentBook(refused)
        self._journal = journal
        self._platform = platform
        self._fetch = fetch
        self._lock = asyncio.Lock()
        for event in journal.events():
            self.book.apply(event)

    def _take(self, events: list[dict]) -> None:
        for event in events:
            verify_event(event, self._platform)
            self.book.apply(event)
        self._journal.append_events(events)

    async def sync(self, at_least: int = 0) -> int:
        """Reads the feed up to its head, at least to `at_least`. Returns the head; raises JobEnded when it cannot."""
        async with self._lock:
            while True:
                page = await self._fetch(self.book.head)
                await asyncio.to_thread(self._take, page["events"])
                if self.book.head >= page["head"] or not page["events"]:
                    break
        if self.book.head < at_least:
            raise JobEnded(
                Cause(
                    "feed_behind",
                    f"the peer has seen consent event {at_least}, the control plane gives us {self.book.head}",
                    f"对方已见授权事件 {at_least}，本节点仅收到 {self.book.head}",
                )
            )
        return self.book.head


@dataclass(frozen=True)
class Moment:
    """A position of the feed and a time that both nodes agreed on."""

    seq: int
    at: str


class JobGate:
    """One job's gate at one party: `admit` once at the start, `exclude` before every phase."""

    def __init__(self, consents: Consents, ticket: dict, ids: frozenset[str]) -> None:
        self._book = consents.book
        self._ticket = ticket
        self._table_ids = ids
        self.recipient: str = ticket["parties"]["bank"]["institution"]
        self.purpose: str = ticket["purpose"]
        self.provider: str = ticket["parties"]["lab"]["institution"]
        self.admitted: frozenset[str] = frozenset()
        self._latest: str | None = None

    def _facts(self, moment: Moment, cohort: int) -> Facts:
        seen, self._latest = self._latest, max(moment.at, self._latest or moment.at)
        # an agreed moment may be the peer's, the next our own: only a step beyond the tolerated skew is a step back
        earliest = None if seen is None else stamp(parse(seen) - timedelta(seconds=MAX_CLOCK_SKEW))
        return Facts(
            at=moment.at,
            last_seen_at=earliest,
            institution=self._book.institution_state(self.recipient, moment.seq),
            purpose=self.purpose,
            mode=self._ticket["mode"],
            recipe=self._ticket["recipe"]["name"],
            valid_from=self._ticket["issued_at"],
            valid_until=self._ticket["expires_at"],
            cohort=cohort,
        )

    def _covered(self, moment: Moment) -> frozenset[str]:
        return self._book.covered(self.recipient, self.purpose, moment.at, moment.seq, provider=self.provider)

    def admit(self, moment: Moment) -> frozenset[str]:
        """The ids of the own table that may enter the job. Raises Denied (scope job.start)."""
        admitted = self._table_ids & self._covered(moment)
        check("job.start", self._facts(moment, len(admitted)))
        self.admitted = admitted
        return admitted

    def exclude(self, moment: Moment) -> list[str]:
        """The admitted ids whose consent has ended, sorted.

        A common enterprise is admitted on both sides and the moment is agreed, so both sides drop the same common
        rows without either naming an enterprise to the other. Raises Denied (scope job.round) when too few remain.
        """
        covered = self._covered(moment)
        check("job.round", self._facts(moment, len(self.admitted & covered)))
        return sorted(self.admitted - covered)

    def uses(self) -> list[tuple[str, str]]:
        """(enterprise, consent id) of every admitted row."""
        out = []
        for enterprise in sorted(self.admitted):
            entry = self._book.entry(enterprise, self.recipient, self.purpose)
            assert entry is not None
            out.append((enterprise, entry.consent_id))
        return out


def agree(own: Moment, peer: Moment) -> Moment:
    """The later of two positions and of two moments. Raises JobEnded for clocks too far apart."""
    if abs((parse(own.at) - parse(peer.at)).total_seconds()) > MAX_CLOCK_SKEW:
        raise JobEnded(
            Cause(
                "clock_skew",
                f"the two nodes' clocks differ by more than {MAX_CLOCK_SKEW:.0f} s ({own.at} / {peer.at})",
                f"双方时钟相差超过 {MAX_CLOCK_SKEW:.0f} 秒（{own.at} / {peer.at}）",
            )
        )
    return Moment(max(own.seq, peer.seq), max(own.at, peer.at))
