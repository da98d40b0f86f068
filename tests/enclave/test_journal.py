"""What the node's own memory keeps: past uses (R46), the book as it stood, and whom a model rests on."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent import artefact
from enclave.gate import Consents
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from tests.enclave.feeds import Feed

AT = "2026-05-01T00:00:00Z"


def test_past_uses_count_each_reference_once_and_never_the_present_one(tmp_path: Path) -> None:
    """A permit that comes twice is one use, and its own first coming is no reason to refuse the second."""
    journal = Journal(tmp_path / "journal.sqlite")
    for at, consent_id, reference in (
        ("2026-01-01T00:00:00Z", "c-1", "p-1"),
        ("2026-01-01T00:00:09Z", "c-1", "p-1"),
        ("2026-01-02T00:00:00Z", "c-1", "p-2"),
        ("2026-01-03T00:00:00Z", "c-2", "p-3"),
    ):
        journal.record_uses(
            [("e1", consent_id)],
            at=at, recipient="bank_a", purpose="underwriting_score", content="score", reference=reference,
        )  # fmt: skip
    assert journal.past_uses("e1", "p-2") == {"c-1": ["2026-01-01T00:00:00Z"], "c-2": ["2026-01-03T00:00:00Z"]}
    assert journal.past_uses("e2", "p-2") == {}
    journal.close()


def consents(path: Path, feed: Feed) -> Consents:
    return Consents(Journal(path), PlatformKeys(feed.maker.platform.public), feed.fetch)


def act(feed: Feed, number: int, what: str) -> None:
    """One more event: whatever `what` asks of enterprise `number`, where its life allows it."""
    maker, who = feed.maker, f"e{number}"
    own = [e for e in maker.events if e["document"]["body"].get("enterprise") == who]
    words = [e for e in own if e["kind"] in ("consent", "refusal")]
    last = own[-1]["document"]["body"] if own else {}
    if what == "sanction":
        state = ("suspended", "active")[number % 2]
        maker.event(artefact.institution_state(institution="bank_a", state=state, at=AT, ground="case"))
    elif not own or last["type"] == "refusal" or last.get("action") == "withdraw":
        maker.refusal(who, given_at=AT) if what == "refuse" else maker.consent(who, given_at=AT)
    elif what == "renew" and words[-1]["kind"] == "consent":
        before = words[-1]["document"]["body"]["consent_id"]
        maker.consent(who, given_at=AT, valid_from=AT, supersedes=before)
    elif what == "turn":
        maker.transition(own[-1], "resume" if last.get("action") == "pause" else "pause", AT)
    else:
        maker.withdrawal(words[-1], AT)


@settings(max_examples=25, deadline=None)
@given(
    acts=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["grant", "refuse", "turn", "withdraw", "renew", "sanction"])),
        max_size=25,
    ),
    page=st.integers(1, 9),
)
def test_the_book_read_from_its_rows_is_the_book_that_was_replayed(acts: list[tuple[int, str]], page: int) -> None:
    feed = Feed()
    feed.limit = page
    for number, what in acts:
        act(feed, number, what)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        one = consents(path, feed)
        asyncio.run(one.sync())
        again = consents(path, feed)
        assert list(again.book.dump()) == list(one.book.dump())
        for seq in range(len(feed.maker.events) + 1):
            both = [c.book.covered("bank_a", "joint_training", AT, seq) for c in (one, again)]
            assert both[0] == both[1]


def test_a_start_reads_rows_and_replays_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    feed = Feed()
    for number in range(20):
        feed.maker.consent(f"e{number}")
    asyncio.run(consents(tmp_path / "journal.sqlite", feed).sync())
    from consent.book import ConsentBook

    monkeypatch.setattr(ConsentBook, "apply", lambda *_: (_ for _ in ()).throw(AssertionError("replayed")))
    again = consents(tmp_path / "journal.sqlite", feed)
    assert again.book.head == 20
    assert len(again.book.covered("bank_a", "joint_training", AT)) == 20


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE book_first SET row = '[99, 5, {}]'",
        "UPDATE book SET row = replace(row, '\"active\"', '\"unheard of\"') WHERE seq = 3",
    ],
)
def test_rows_that_cannot_be_read_are_set_aside_and_the_feed_replayed(tmp_path: Path, damage: str) -> None:
    feed = Feed()
    for number in range(5):
        feed.maker.consent(f"e{number}")
    one = consents(tmp_path / "journal.sqlite", feed)
    asyncio.run(one.sync())
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        assert db.execute(damage).rowcount == 1
    again = consents(tmp_path / "journal.sqlite", feed)
    assert again.book.head == 5
    assert again.chain(5) == one.chain(5)
    assert len(again.book.covered("bank_a", "joint_training", AT)) == 5


def test_a_journal_without_rows_is_replayed_once(tmp_path: Path) -> None:
    feed = Feed()
    for number in range(5):
        feed.maker.consent(f"e{number}")
    one = consents(tmp_path / "journal.sqlite", feed)
    asyncio.run(one.sync())
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        for table in ("book_first", "book", "book_terms", "chain", "head"):
            db.execute(f"DELETE FROM {table}")
    again = consents(tmp_path / "journal.sqlite", feed)
    assert (again.book.head, again.chain(5)) == (5, one.chain(5))


def test_a_model_rests_on_who_was_admitted_and_did_not_leave_before_the_last_fit(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    for job_id, end in (("j-1", "succeeded"), ("j-2", "failed")):
        journal.job_started(job_id, {}, AT)
        journal.record_uses(
            [("e1", "c-1"), ("e2", "c-2")],
            at=AT, recipient="bank_a", purpose="joint_training", content="x", reference=job_id,
        )  # fmt: skip
        journal.job_ended(job_id, end, "", "", "", AT)
    journal.drop("j-1", ["e2"])
    assert journal.rests_on("j-1") == [("e1", "c-1")]
    assert journal.jobs_resting_on("c-1") == ["j-1"]
    assert journal.jobs_resting_on("c-2") == []
    assert (journal.recall("a" * 64, AT), journal.recall("a" * 64, AT)) == (True, False)
    assert journal.is_recalled("a" * 64) and not journal.is_recalled("b" * 64)
