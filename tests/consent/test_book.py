"""The book answers who is covered, at any position of the feed (R14, R43–R44, PIPL §14–16, §23)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.artefact import MalformedDocument
from consent.book import ConsentBook, FeedGap, verify_event
from consent.keys import BadSignature, SigningKey
from consent.policy import Denied
from tests.consent.conftest import Maker

AT = "2026-05-01T00:00:00Z"


def book_of(make: Maker) -> ConsentBook:
    book = ConsentBook()
    for event in make.events:
        verify_event(event, make.platform.public)
        book.apply(event)
    return book


def test_a_consent_covers_its_recipient_and_purpose_only(make: Maker) -> None:
    """R14, PIPL §23: consent is separate per recipient and purpose."""
    make.consent("e1")
    book = book_of(make)
    assert book.covered("bank_a", "joint_training", AT) == {"e1"}
    assert book.covered("bank_b", "joint_training", AT) == frozenset()
    assert book.covered("bank_a", "underwriting_score", AT) == frozenset()
    with pytest.raises(Denied) as denied:
        book.live("e1", "bank_a", "underwriting_score", AT)
    assert denied.value.code == "no_consent"


def test_a_refusal_covers_nothing_and_is_named(make: Maker) -> None:
    make.refusal("e1")
    with pytest.raises(Denied) as denied:
        book_of(make).live("e1", "bank_a", "joint_training", AT)
    assert denied.value.code == "consent_refused"


def test_withdrawal_ends_cover_from_its_position_on(make: Maker) -> None:
    """PIPL §15: withdrawn is final; what was true at an earlier feed position stays answerable."""
    consent = make.consent("e1")
    make.withdrawal(consent)
    book = book_of(make)
    assert book.covered("bank_a", "joint_training", AT) == frozenset()
    assert book.covered("bank_a", "joint_training", AT, seq=1) == {"e1"}
    with pytest.raises(Denied) as denied:
        book.live("e1", "bank_a", "joint_training", AT)
    assert denied.value.code == "consent_withdrawn"


def test_a_new_consent_after_withdrawal_covers_again(make: Maker) -> None:
    make.withdrawal(make.consent("e1"))
    make.consent("e1")
    assert book_of(make).covered("bank_a", "joint_training", AT) == {"e1"}


@pytest.mark.parametrize(
    ("at", "code"), [("2025-12-31T23:59:59Z", "not_yet_valid"), ("2027-01-01T00:00:00Z", "expired")]
)
def test_validity_bounds_are_kept(make: Maker, at: str, code: str) -> None:
    make.consent("e1")
    book = book_of(make)
    assert book.covered("bank_a", "joint_training", at) == frozenset()
    with pytest.raises(Denied) as denied:
        book.live("e1", "bank_a", "joint_training", at)
    assert denied.value.code == code


def test_a_stranger_cannot_withdraw(make: Maker) -> None:
    event = make.withdrawal(make.consent("e1"), key=SigningKey.generate())
    book = ConsentBook()
    book.apply(make.events[0])
    with pytest.raises(BadSignature, match="not signed by its enterprise"):
        book.apply(event)


def test_a_gap_or_a_repetition_in_the_feed_is_refused(make: Maker) -> None:
    make.consent("e1"), make.consent("e2")
    book = ConsentBook()
    with pytest.raises(FeedGap):
        book.apply(make.events[1])
    book.apply(make.events[0])
    with pytest.raises(FeedGap):
        book.apply(make.events[0])


def test_a_consent_without_the_platform_or_under_another_kind_is_refused(make: Maker) -> None:
    event = make.consent("e1")
    with pytest.raises(BadSignature):
        verify_event(event, SigningKey.generate().public)
    with pytest.raises(MalformedDocument, match="kind"):
        verify_event({**event, "kind": "refusal"}, make.platform.public)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["consent", "refusal", "withdraw"])), max_size=12))
def test_cover_is_what_the_last_word_of_each_enterprise_says(history: list[tuple[str, str]]) -> None:
    make, last, newest = Maker(), {}, {}
    for who, act in history:
        if act == "withdraw":
            if who in newest:
                make.withdrawal(newest[who])
                if last[who] == "consent":
                    last[who] = "withdrawn"
        else:
            newest[who] = getattr(make, act)(who)
            last[who] = act
    expected = {who for who, act in last.items() if act == "consent"}
    assert book_of(make).covered("bank_a", "joint_training", AT) == expected
