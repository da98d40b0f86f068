"""Whom the gate lets in, when it closes, and what it makes of a feed that is not to be believed (R14, R17, R51)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consent import artefact
from consent.errors import Refused
from consent.feed import sign_head
from consent.keys import BadSignature, SigningKey
from consent.person import Given
from consent.policy import MIN_COHORT, Denied
from consent.signed import countersign
from consent.times import stamp
from enclave.endings import JobEnded
from enclave.gate import UNREACHABLE, Consents, JobGate, Moment, News
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from federated.relay.link import Cause
from tests.consent.conftest import Maker
from tests.enclave.feeds import Feed
from tests.support.authenticator import Passkey

AT = "2026-05-01T00:00:00Z"
TICKET: dict[str, Any] = {
    "purpose": "joint_training",
    "mode": "zone",
    "recipe": {"name": "boosting", "params": {}},
    "issued_at": AT,
    "expires_at": "2026-05-01T01:00:00Z",
    "parties": {"bank": {"institution": "bank_a"}, "lab": {"institution": "lab"}},
}
AT_OVER = "2026-05-01T00:10:00Z"
EVERYBODY = [f"e{n}" for n in range(MIN_COHORT)]


def after(seconds: float) -> str:
    return stamp(datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=seconds))


class Clock:
    def __init__(self) -> None:
        self.at = AT

    def __call__(self) -> str:
        return self.at


class Node:
    """A node's consents over a feed, with both clocks in the test's hand."""

    def __init__(self, folder: Path, feed: Feed) -> None:
        self.feed, self.clock, self.folder = feed, Clock(), folder
        feed.at = AT
        self.cut_off = False
        self.open()

    def open(self) -> None:
        journal = Journal(self.folder / "journal.sqlite")
        key = PlatformKeys(self.feed.maker.platform.public)
        self.consents = Consents(journal, key, self._fetch, lease=60, clock=self.clock)

    async def _fetch(self, after: int) -> dict:
        if self.cut_off:
            raise JobEnded(Cause(UNREACHABLE, "no answer", "无应答"))
        return await self.feed.fetch(after)

    def sync(self) -> int:
        return asyncio.run(self.consents.sync())

    def refused(self) -> str:
        with pytest.raises((Refused, JobEnded)) as caught:
            self.sync()
        error = caught.value
        return error.code if isinstance(error, Refused) else error.cause.code

    def hear(self) -> int:
        self.feed.at = self.clock.at
        return self.sync()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    feed = Feed()
    for one in EVERYBODY:
        feed.maker.consent(one)
    feed.maker.consent("elsewhere", provider="another_lab")
    heard = Node(tmp_path, feed)
    heard.sync()
    return heard


def gate(node: Node) -> JobGate:
    return JobGate(node.consents, TICKET, frozenset([*EVERYBODY, "e-more", "elsewhere", "stranger"]))


def sanction(maker: Maker, institution: str = "bank_a", state: str = "suspended") -> None:
    maker.event(artefact.institution_state(institution=institution, state=state, at=AT, ground="case 7"))


# ---- admission and rounds


def test_only_consents_to_this_labs_data_admit(node: Node) -> None:
    one = gate(node)
    assert one.admit(Moment(node.consents.book.head, AT)) == frozenset(EVERYBODY)
    assert len(one.uses()) == MIN_COHORT


@pytest.mark.parametrize(("institution", "state"), [("bank_a", "suspended"), ("lab", "suspended"), ("lab", "removed")])
def test_a_sanctioned_institution_stops_the_job_at_its_next_round(node: Node, institution: str, state: str) -> None:
    """R17: takes effect at once, running jobs included; the bank's and the lab's alike."""
    one = gate(node)
    one.admit(Moment(node.consents.book.head, AT))
    sanction(node.feed.maker, institution, state)
    head = node.hear()
    assert one.heard(News(frozenset(), frozenset({institution})), AT)
    with pytest.raises(Denied) as denied:
        one.exclude(Moment(head, AT))
    assert denied.value.code == f"institution_{state}"


def test_a_paused_consent_leaves_at_the_next_round(node: Node) -> None:
    node.feed.maker.consent("e-more")
    node.hear()
    one = gate(node)
    one.admit(Moment(node.consents.book.head, AT))
    node.feed.maker.transition(node.feed.maker.events[0], "pause", AT)
    assert one.exclude(Moment(node.hear(), AT)) == ["e0"]


def test_news_of_a_row_in_use_call_for_the_gate_until_it_has_been_excluded(node: Node) -> None:
    """PIPL §15: between two phases too; what concerns nobody in this job calls for nothing."""
    node.feed.maker.consent("e-more")
    node.hear()
    one = gate(node)
    one.admit(Moment(node.consents.book.head, AT))
    told: list[bool] = []
    node.consents.watch(lambda news: told.append(one.heard(news, AT)))
    node.feed.maker.withdrawal(node.feed.maker.events[MIN_COHORT])  # to another lab's data
    node.feed.maker.consent("stranger-2")
    node.hear()
    assert told == [False] and not one.behind
    node.feed.maker.withdrawal(node.feed.maker.events[3])
    head = node.hear()
    assert told == [False, True] and one.behind
    assert one.exclude(Moment(head - 1, AT)) == []  # agreed on before the withdrawal
    assert one.behind
    assert one.exclude(Moment(head, AT)) == ["e3"]
    assert not one.behind
    assert one.gone == {"e3"}


def test_a_clock_that_goes_back_during_a_job_is_noticed(node: Node) -> None:
    """A little back is the other organisation's clock; hours are not."""
    one = gate(node)
    one.admit(Moment(node.consents.book.head, "2026-05-01T00:30:00Z"))
    one.exclude(Moment(node.consents.book.head, "2026-05-01T00:26:00Z"))
    with pytest.raises(Denied) as denied:
        one.exclude(Moment(node.consents.book.head, "2026-05-01T00:20:00Z"))
    assert denied.value.code == "clock_moved_back"


# ---- the feed and its signed head


def test_pages_join_to_one_chain_that_a_restart_goes_on_with(node: Node) -> None:
    node.feed.limit = 7
    for n in range(40):
        node.feed.maker.consent(f"later-{n}")
    assert node.hear() == len(node.feed.maker.events)
    chain = node.consents.chain(node.consents.book.head)
    node.open()
    assert node.consents.chain(node.consents.book.head) == chain
    node.feed.maker.consent("after the restart")
    assert node.hear() == len(node.feed.maker.events)


def test_a_feed_that_leaves_an_event_out_is_refused(node: Node) -> None:
    """The event after the gap is genuine, and the head is the platform's: neither makes up for what is missing."""
    before = node.consents.book.head
    node.feed.maker.consent("x")
    node.feed.maker.consent("y")
    page = node.feed.page(before)
    page["events"] = [{**page["events"][1], "seq": before + 1}]

    async def cut(_after: int) -> dict:
        return page

    node.consents._fetch = cut
    assert node.refused() == "feed_gap"
    page["signed_head"] = node.feed.page(before + 1)["signed_head"]
    page["events"] = page["events"] + [{**page["events"][0], "seq": before + 2}]
    assert node.refused() == "feed_forked"
    assert node.consents.book.head == before
    assert node.consents.book.entry("y", "bank_a", "joint_training") is None


def test_a_feed_that_holds_its_newest_events_back_is_refused(node: Node) -> None:
    before = node.consents.book.head
    node.feed.maker.consent("x")
    node.feed.limit = 0
    empty = node.feed.page(before)

    async def nothing(_after: int) -> dict:
        return {**empty, "events": []}

    node.consents._fetch = nothing
    assert node.refused() == "feed_gap"


def test_another_history_is_refused_by_name(node: Node) -> None:
    """A fork: the platform key signs a second history under the same numbers."""
    fork = Feed(Maker())
    fork.maker.platform = node.feed.maker.platform
    for one in [*EVERYBODY, "elsewhere", "and one more"]:
        fork.maker.consent(one)
    fork.at = AT
    node.consents._fetch = fork.fetch
    assert node.refused() == "feed_forked"


def test_an_older_head_and_a_shorter_feed_are_refused(node: Node) -> None:
    node.clock.at = after(30)
    node.hear()
    node.feed.at = after(10)
    assert node.refused() == "feed_head_replayed"
    node.feed.at, node.feed.last = after(30), len(node.feed.maker.events) - 1
    page = node.feed.page(node.feed.last)

    async def shorter(_after: int) -> dict:
        return page

    node.consents._fetch = shorter
    assert node.refused() == "feed_head_replayed"


def test_a_strangers_head_is_refused(node: Node) -> None:
    page = node.feed.page(node.consents.book.head)
    stranger = SigningKey.generate()

    async def forged(_after: int) -> dict:
        from consent.feed import read_head

        head = read_head(page["signed_head"], node.feed.maker.platform.public)
        return {**page, "signed_head": sign_head(stranger, head)}

    node.consents._fetch = forged
    assert node.refused() == "unknown_key"


# ---- the lease


def test_silence_is_borne_for_the_lease_and_no_longer(node: Node) -> None:
    node.cut_off = True
    node.clock.at = after(59)
    assert node.sync() == node.consents.book.head
    node.clock.at = after(61)
    assert node.refused() == "lease_lapsed"
    node.cut_off = False
    node.hear()
    assert node.sync()


def test_the_same_head_again_does_not_renew_the_lease(node: Node) -> None:
    """Who answers with what the platform said a minute ago is as silent as who answers nothing."""
    node.clock.at = after(61)
    assert node.refused() == "lease_lapsed"


def test_a_node_that_never_heard_admits_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path, Feed())
    node.cut_off = True
    assert node.refused() == "lease_lapsed"


def test_a_clock_that_is_moved_back_does_not_stretch_the_lease(node: Node) -> None:
    node.clock.at = after(50)
    node.hear()
    node.cut_off = True
    node.clock.at = after(-3600)
    assert node.refused() == "clock_moved_back"
    node.open()  # a restart does not forget what time it was
    assert node.refused() == "clock_moved_back"


def test_a_platform_far_ahead_is_not_believed(node: Node) -> None:
    node.feed.at = after(3600)
    assert node.refused() == "clock_skew"


def test_a_journal_that_cannot_be_written_leaves_memory_at_what_is_kept(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = node.consents.book.head
    node.feed.maker.consent("x")
    with monkeypatch.context() as broken:
        broken.setattr(node.consents._journal, "append_events", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            node.hear()
    assert node.consents.book.head == before
    assert node.hear() == before + 1


def test_who_is_cancelled_while_the_feed_is_read_leaves_it_whole(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled job must cost neither the events under way nor a new reading of the whole book."""
    before = node.consents.book.head
    for number in range(30):
        node.feed.maker.consent(f"later-{number}")
    node.feed.at = node.clock.at
    monkeypatch.setattr(node.consents, "_read", lambda: pytest.fail("the book was read anew"))

    async def cancelled() -> None:
        reading = asyncio.ensure_future(node.consents.sync())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await node.consents.sync() == before + 30

    asyncio.run(cancelled())


# ---- a person's own consent


def sole_trader(node: Node, name: str = "e-trader") -> tuple[dict[str, Any], dict[str, Any]]:
    """A sole trader's consent to training; returns its event and what is offered to the person."""
    offered = node.feed.maker.offer(name)
    given = node.feed.maker.consent(name, subject="sole_trader", persons=[node.feed.maker.named(offered)])
    return given, offered


def test_a_row_whose_person_has_not_consented_enters_no_cohort(node: Node) -> None:
    """PIPL §13, §29, R44: the enterprise's consent alone admits nobody; the person's own opens the gate."""
    _, offered = sole_trader(node)
    node.hear()
    one = JobGate(node.consents, TICKET, frozenset([*EVERYBODY, "e-trader"]))
    assert "e-trader" not in one.admit(Moment(node.consents.book.head, AT))
    node.feed.maker.said(offered, passkey=Passkey())
    node.hear()
    assert "e-trader" in one.admit(Moment(node.consents.book.head, AT))
    node.open()  # a restart reads what the person said from the journal's rows
    again = JobGate(node.consents, TICKET, frozenset([*EVERYBODY, "e-trader"]))
    assert "e-trader" in again.admit(Moment(node.consents.book.head, AT))


def test_a_persons_withdrawal_takes_the_row_out_at_the_next_round(node: Node) -> None:
    """PIPL §15, R44: heard as news of a row in use, excluded at the next gate, and still out after a restart."""
    key = Passkey()
    _, offered = sole_trader(node)
    said = node.feed.maker.said(offered, passkey=key)
    node.hear()
    one = JobGate(node.consents, TICKET, frozenset([*EVERYBODY, "e-trader"]))
    one.admit(Moment(node.consents.book.head, AT))
    told: list[bool] = []
    node.consents.watch(lambda news: told.append(one.heard(news, AT)))
    node.feed.maker.taken_back(said, AT, passkey=key)
    head = node.hear()
    assert told == [True]
    assert one.exclude(Moment(head, AT)) == ["e-trader"]
    node.open()
    assert "e-trader" not in JobGate(node.consents, TICKET, one.admitted).admit(Moment(head, AT))


def test_a_persons_consent_that_runs_out_takes_the_row_out_between_two_rounds(node: Node) -> None:
    """PIPL §14: the platform's word calls for the gate as that of an enterprise's expiry does."""
    _, offered = sole_trader(node)
    said = node.feed.maker.said(offered, valid_until=AT_OVER)
    node.hear()
    one = JobGate(node.consents, TICKET, frozenset([*EVERYBODY, "e-trader"]))
    one.admit(Moment(node.consents.book.head, AT))
    told: list[bool] = []
    node.consents.watch(lambda news: told.append(one.heard(news, AT_OVER)))
    node.feed.maker.ran_out(said, AT_OVER)
    head = node.hear()
    assert told == [True]
    assert one.exclude(Moment(head, AT_OVER)) == ["e-trader"]
    node.open()  # a restart reads the same
    entry = node.consents.book.entry("e-trader", "bank_a", "joint_training")
    assert entry is not None
    assert node.consents.book.persons(entry.consent_id, AT) is Given.MISSING


def test_a_persons_document_that_the_person_did_not_sign_is_not_taken(node: Node) -> None:
    """The platform's word alone makes no person's consent: the node checks the signature itself."""
    _, offered = sole_trader(node)
    said = node.feed.maker.said(offered, passkey=Passkey())
    signatures = node.feed.maker.said(offered, passkey=Passkey())["document"]["signatures"]
    del node.feed.maker.events[-1]
    body = said["document"]["body"]
    said["document"] = countersign({"body": body, "signatures": signatures[:1]}, node.feed.maker.platform, "platform")
    with pytest.raises(BadSignature):
        node.hear()
