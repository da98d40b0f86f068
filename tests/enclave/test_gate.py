"""Whom the gate lets in, and when it closes (R14, R17, R51)."""

from __future__ import annotations

from typing import Any

import pytest

from consent import artefact
from consent.book import ConsentBook
from consent.policy import MIN_COHORT, Denied
from enclave.gate import Consents, JobGate, Moment
from enclave.journal import Journal
from tests.consent.conftest import Maker

AT = "2026-05-01T00:00:00Z"
TICKET: dict[str, Any] = {
    "purpose": "joint_training",
    "mode": "zone",
    "recipe": {"name": "boosting", "params": {}},
    "issued_at": AT,
    "expires_at": "2026-05-01T01:00:00Z",
    "parties": {"bank": {"institution": "bank_a"}, "lab": {"institution": "lab"}},
}
EVERYBODY = [f"e{n}" for n in range(MIN_COHORT)]


class Feed:
    """What a node has heard so far."""

    def __init__(self) -> None:
        self.maker, self.book = Maker(), ConsentBook()

    def hear(self) -> int:
        for event in self.maker.events[self.book.head :]:
            self.book.apply(event)
        return self.book.head


@pytest.fixture
def feed() -> Feed:
    heard = Feed()
    for one in EVERYBODY:
        heard.maker.consent(one)
    heard.maker.consent("elsewhere", provider="another_lab")
    heard.hear()
    return heard


def gate(feed: Feed, tmp_path: Any) -> JobGate:
    async def nothing(after: int) -> dict:
        return {"head": after, "events": []}

    consents = Consents(Journal(tmp_path / "journal.sqlite"), feed.maker.platform.public, nothing)
    consents.book = feed.book
    return JobGate(consents, TICKET, frozenset([*EVERYBODY, "elsewhere", "stranger"]))


def test_only_consents_to_this_labs_data_admit(feed: Feed, tmp_path: Any) -> None:
    one = gate(feed, tmp_path)
    assert one.admit(Moment(feed.book.head, AT)) == frozenset(EVERYBODY)
    assert len(one.uses()) == MIN_COHORT


def test_a_suspended_institution_stops_the_job_at_its_next_round(feed: Feed, tmp_path: Any) -> None:
    """R17: takes effect at once, running jobs included."""
    one = gate(feed, tmp_path)
    one.admit(Moment(feed.book.head, AT))
    said = artefact.institution_state(institution="bank_a", state="suspended", at=AT, ground="case 7")
    feed.maker.event(said)
    with pytest.raises(Denied) as denied:
        one.exclude(Moment(feed.hear(), AT))
    assert denied.value.code == "institution_suspended"


def test_a_paused_consent_leaves_at_the_next_round(feed: Feed, tmp_path: Any) -> None:
    feed.maker.consent("e-more")
    one = gate(feed, tmp_path)
    one._table_ids |= {"e-more"}
    feed.hear()
    one.admit(Moment(feed.book.head, AT))
    feed.maker.transition(feed.maker.events[0], "pause", AT)
    assert one.exclude(Moment(feed.hear(), AT)) == ["e0"]


def test_a_clock_that_goes_back_during_a_job_is_noticed(feed: Feed, tmp_path: Any) -> None:
    """A little back is the other organisation's clock; hours are not."""
    one = gate(feed, tmp_path)
    one.admit(Moment(feed.book.head, "2026-05-01T00:30:00Z"))
    one.exclude(Moment(feed.book.head, "2026-05-01T00:26:00Z"))
    with pytest.raises(Denied) as denied:
        one.exclude(Moment(feed.book.head, "2026-05-01T00:20:00Z"))
    assert denied.value.code == "clock_moved_back"
