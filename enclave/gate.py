"""The gate: the one place where permission meets data.

It keeps the verified book of consents in step with the feed and answers, for one job and party, which rows of the
own table may be used now, and whether that has changed since. Rows it does not admit are never read out of the table.
A feed that was cut, forked, replayed or silent for longer than the lease opens no gate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consent import feed
from consent.book import FeedGap, verify_event
from consent.policy import Facts, check
from consent.times import parse, stamp
from enclave.control import UNREACHABLE
from enclave.endings import JobEnded
from enclave.journal import Heard, Journal
from enclave.platform_keys import PlatformKeys
from enclave.use_log import Used
from federated.relay.link import Cause

# Two organisations' clocks: a peer's "now" further from ours than this is refused rather than believed.
MAX_CLOCK_SKEW = 300.0
LEASE_SECONDS = 60.0
SLICE = 200  # events between two breaths of the loop


def now() -> str:
    return stamp(datetime.now(UTC))


def _heard_of(reading: asyncio.Future[None]) -> None:
    """Takes note of an end that nobody waits for any more."""
    if not reading.cancelled():
        reading.exception()


@dataclass(frozen=True)
class News:
    """Whom new events concern."""

    enterprises: frozenset[str]
    institutions: frozenset[str]


class Consents:
    """The node's copy of the consent feed: every document verified before it counts, kept in the journal.

    `lease` is for how many seconds after the platform signed it a head permits new work and rounds.
    """

    def __init__(
        self,
        journal: Journal,
        platform: PlatformKeys,
        fetch: Callable[[int], Awaitable[dict]],
        refused: frozenset[str] = frozenset(),
        *,
        lease: float = LEASE_SECONDS,
        clock: Callable[[], str] = now,
    ) -> None:
        self._journal = journal
        self._platform = platform
        self._fetch = fetch
        self._refused = refused
        self._lease = lease
        self._clock = clock
        self._lock = asyncio.Lock()
        self._watchers: set[Callable[[News], None]] = set()
        self._read()

    def _read(self) -> None:
        self.book = self._journal.book(self._refused)
        self._heard = self._journal.heard()
        chain = self._journal.chain(self.book.head)
        assert chain is not None, "every event on record has its link"
        self._chain = chain

    # -- hearing -----------------------------------------------------------------------------------------------

    @property
    def stale_seconds(self) -> float:
        """How long ago the platform signed the last head that was heard."""
        at = self._heard.head.at
        return float("inf") if not at else (parse(self._clock()) - parse(at)).total_seconds()

    def watch(self, watcher: Callable[[News], None]) -> Callable[[], None]:
        """Calls `watcher` after new events were taken, until the returned function is called."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def _checked(self, page: dict) -> tuple[Heard, dict[int, bytes]]:
        """What a page says, verified in itself and against everything heard before; and the links of its events."""
        at, events = self._clock(), page["events"]
        feed.check_clock(self._heard.seen_at, at)
        head = feed.read_head(page["signed_head"], self._platform.current(page["signed_head"]))
        feed.check_follows(self._heard.head, head, at)
        chain, links, seq = self._chain, {}, self.book.head
        for event in events:
            if event["seq"] != seq + 1:
                raise FeedGap(f"event {event['seq']} follows {seq}: read the feed again from there")
            verify_event(event, self._platform.ever(event["document"]))
            seq = event["seq"]
            chain = links[seq] = feed.link(chain, seq, event["document"])
        feed.check_chain(chain, seq, head)
        if not events and head.last > seq:
            raise feed.FeedCut(
                f"the feed reaches to event {head.last}, and nothing after {seq} was given",
                f"授权事件流已至第 {head.last} 条，但未返回第 {seq} 条之后的事件",
            )
        return Heard(head, max(at, self._heard.seen_at)), links

    async def _take(self, page: dict) -> tuple[feed.Head, News]:
        """One page: verified and kept beside the loop, counted in it, so that no reader sees half an event."""
        await self._platform.learn([page["signed_head"], *(event["document"] for event in page["events"])])
        heard, links = await asyncio.to_thread(self._checked, page)
        events, document = page["events"], page["signed_head"]
        try:
            for number, event in enumerate(events, start=1):
                self.book.apply(event)
                if number % SLICE == 0:
                    await asyncio.sleep(0)
            if events:
                await asyncio.to_thread(self._journal.append_events, events, self.book, heard, document, links)
                self._chain = links[self.book.head]
            elif heard != self._heard:
                await asyncio.to_thread(self._journal.hear, heard, document)
        except BaseException:
            self._read()  # memory never knows more than the journal
            raise
        self._heard = heard
        return heard.head, self._news(events)

    def _news(self, events: list[dict]) -> News:
        bodies = [event["document"]["body"] for event in events]
        return News(
            frozenset(body["enterprise"] for body in bodies if "enterprise" in body),
            frozenset(body["institution"] for body in bodies if body["type"] == "institution_state"),
        )

    async def sync(self, at_least: int = 0) -> int:
        """Reads the feed up to its head, at least to `at_least`. Returns the head.

        While the control plane does not answer, what was heard within the lease still counts. Raises JobEnded, a
        Refused of `consent.feed` or of the documents, or FeedGap.
        """
        # whoever is cancelled meanwhile leaves half a page behind to nobody
        reading = asyncio.ensure_future(self._catch_up())
        reading.add_done_callback(_heard_of)
        await asyncio.shield(reading)
        if self.book.head < at_least:
            raise JobEnded(
                Cause(
                    "feed_behind",
                    f"the peer has seen consent event {at_least}, the control plane gives us {self.book.head}",
                    f"对方已见授权事件 {at_least}，本节点仅收到 {self.book.head}",
                )
            )
        return self.book.head

    async def _catch_up(self) -> None:
        async with self._lock:
            try:
                while True:
                    head, news = await self._take(await self._fetch(self.book.head))
                    if news.enterprises or news.institutions:
                        for watcher in tuple(self._watchers):
                            watcher(news)
                    if head.seq == head.last:
                        break
            except JobEnded as error:
                if error.cause.code != UNREACHABLE:
                    raise
            self.check_lease()

    def check_lease(self) -> None:
        """Raises LeaseLapsed or ClockMovedBack when what was heard is too old to permit anything new."""
        at = self._clock()
        feed.check_clock(self._heard.seen_at, at)
        feed.check_lease(self._heard.head, at, self._lease)

    @property
    def lapsed(self) -> bool:
        """Whether `check_lease` would raise now."""
        try:
            self.check_lease()
        except feed.FeedRefused:
            return True
        return False

    def chain(self, seq: int) -> str | None:
        """The chain after event `seq`, for a peer to compare with its own; None for an event not heard of."""
        found = self._chain if seq == self.book.head else self._journal.chain(seq)
        return None if found is None else found.hex()


@dataclass(frozen=True)
class Moment:
    """A position of the feed and a time that both nodes agreed on."""

    seq: int
    at: str


class JobGate:
    """One job's gate at one party: `admit` once at the start, `exclude` before every phase.

    Between two of these, `heard` takes the news and `behind` says whether somebody ought to have left since.
    """

    def __init__(self, consents: Consents, ticket: dict, ids: frozenset[str]) -> None:
        self._consents = consents
        self._ticket = ticket
        self._table_ids = ids
        self.recipient: str = ticket["parties"]["bank"]["institution"]
        self.purpose: str = ticket["purpose"]
        self.provider: str = ticket["parties"]["lab"]["institution"]
        self.admitted: frozenset[str] = frozenset()
        self.gone: frozenset[str] = frozenset()  # admitted, and excluded at some gate
        self._lost: set[str] = set()  # admitted, not covered by the newest word, and not excluded yet
        self._sanctioned = False
        self._latest: str | None = None

    def _institution(self, seq: int) -> str:
        """The state that forbids most, of the bank and of the lab."""
        book = self._consents.book
        states = {book.institution_state(one, seq) for one in (self.recipient, self.provider)}
        return next((state for state in ("removed", "suspended") if state in states), "active")

    def _facts(self, moment: Moment, cohort: int) -> Facts:
        seen, self._latest = self._latest, max(moment.at, self._latest or moment.at)
        # an agreed moment may be the peer's, the next our own: only a step beyond the tolerated skew is a step back
        earliest = None if seen is None else stamp(parse(seen) - timedelta(seconds=MAX_CLOCK_SKEW))
        return Facts(
            at=moment.at,
            last_seen_at=earliest,
            institution=self._institution(moment.seq),
            purpose=self.purpose,
            mode=self._ticket["mode"],
            recipe=self._ticket["recipe"]["name"],
            valid_from=self._ticket["issued_at"],
            valid_until=self._ticket["expires_at"],
            cohort=cohort,
        )

    def _covered(self, moment: Moment) -> frozenset[str]:
        return self._consents.book.covered(self.recipient, self.purpose, moment.at, moment.seq, provider=self.provider)

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
        left = self.leaving(moment)
        check("job.round", self._facts(moment, len(self.admitted) - len(left)))
        return sorted(left)

    def leaving(self, moment: Moment) -> frozenset[str]:
        """The admitted ids whose consent has ended; the policy is not asked."""
        left = self.admitted - self._covered(moment)
        self.gone |= left
        self._lost -= left
        return left

    def heard(self, news: News, at: str) -> bool:
        """Takes the news; whether a row that is in use must leave, or the job must stop, at the next round."""
        book = self._consents.book
        for enterprise in news.enterprises:
            if enterprise not in self.admitted or enterprise in self.gone:
                continue
            if not book.covers(enterprise, self.recipient, self.purpose, at, provider=self.provider):
                self._lost.add(enterprise)
        if news.institutions & {self.recipient, self.provider}:
            self._sanctioned = self._institution(book.head) != "active"
        return self.behind

    @property
    def behind(self) -> bool:
        """Whether rows are in use that the newest word no longer covers, or that word is too old to tell."""
        return bool(self._lost) or self._sanctioned or self._consents.lapsed

    def uses(self) -> list[Used]:
        """Every admitted row."""
        out = []
        for enterprise in sorted(self.admitted):
            entry = self._consents.book.entry(enterprise, self.recipient, self.purpose)
            assert entry is not None
            out.append(Used(enterprise, entry.consent_id, entry.terms.data))
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
