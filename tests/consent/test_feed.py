"""The feed's chain and its signed head: any change is found, silence and old answers are named."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent import feed
from consent.errors import MalformedDocument
from consent.feed import START, Head, check_chain, check_clock, check_follows, check_lease, extend, read_head, sign_head
from consent.keys import BadSignature, SigningKey
from tests.consent.conftest import Maker

KEY = SigningKey.generate()
AT, LATER = "2026-05-01T00:00:00Z", "2026-05-01T00:01:00Z"
HEAD = Head(3, bytes(range(32)), 5, AT)


def events(count: int) -> list[dict[str, Any]]:
    maker = Maker()
    for number in range(count):
        maker.consent(f"e{number}")
    return maker.events


EVENTS = events(6)
CHAIN = extend(START, EVENTS)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_feed_with_an_event_left_out_repeated_swapped_or_altered_has_another_chain(data: st.DataObject) -> None:
    changed = copy.deepcopy(EVENTS)
    place = data.draw(st.integers(0, len(EVENTS) - 2))
    how = data.draw(st.sampled_from(["out", "twice", "swap", "number", "signature"]))
    if how == "out":
        del changed[place]
    elif how == "twice":
        changed.insert(place, changed[place])
    elif how == "swap":
        changed[place], changed[place + 1] = changed[place + 1], changed[place]
    elif how == "number":
        changed[place]["seq"] += 1
    else:
        platform = changed[place]["document"]["signatures"][1]
        platform["signature"] = EVENTS[place + 1]["document"]["signatures"][1]["signature"]
    assert extend(START, changed) != CHAIN
    with pytest.raises(feed.FeedForked):
        check_chain(extend(START, changed), 6, Head(6, CHAIN, 6, AT))


def test_a_chain_goes_on_from_where_it_was() -> None:
    assert extend(extend(START, EVENTS[:2]), EVENTS[2:]) == CHAIN


@pytest.mark.parametrize("suite", ["ed25519", "sm2"])
def test_a_head_is_read_as_it_was_signed_in_either_suite(suite: str) -> None:
    key = SigningKey.generate(suite)
    assert read_head(sign_head(key, HEAD), key.public) == HEAD


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_byte_of_a_signed_head_can_be_changed(place: int, bit: int) -> None:
    raw = bytearray(json.dumps(sign_head(KEY, HEAD)).encode())
    raw[place % len(raw)] ^= 1 << bit
    try:
        document = json.loads(bytes(raw))
    except ValueError:
        return
    with pytest.raises((BadSignature, MalformedDocument, KeyError, TypeError, AttributeError)):
        read_head(document, KEY.public)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2}, {"seq": -1}, {"seq": 6}, {"seq": True}, {"last": "5"}, {"chain": "00"}, {"chain": "Z" * 64},
        {"at": "today"}, {"more": 1}, {"type": "ticket"},
    ],
)  # fmt: skip
def test_a_head_of_another_form_is_refused_though_it_is_signed(changes: dict[str, Any]) -> None:
    from consent.signed import sign

    body = {**sign_head(KEY, HEAD)["body"], **changes}
    with pytest.raises(MalformedDocument):
        read_head(sign(body, KEY, "platform"), KEY.public)


@pytest.mark.parametrize(
    ("new", "now", "error"),
    [
        (Head(3, HEAD.chain, 5, "2026-04-30T23:59:50Z"), LATER, feed.HeadReplayed),
        (Head(3, HEAD.chain, 4, LATER), LATER, feed.HeadReplayed),
        (Head(3, HEAD.chain, 5, "2026-05-01T00:06:01Z"), LATER, feed.HeadFromTheFuture),
    ],
)
def test_what_cannot_come_next_is_named(new: Head, now: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_follows(HEAD, new, now)


def test_what_may_come_next() -> None:
    for new in (HEAD, Head(3, HEAD.chain, 5, "2026-04-30T23:59:56Z"), Head(4, START, 9, LATER)):
        check_follows(HEAD, new, LATER)
    check_follows(feed.NOTHING_HEARD, HEAD, AT)


def test_a_page_that_ends_elsewhere_than_its_head_is_cut() -> None:
    with pytest.raises(feed.FeedCut):
        check_chain(HEAD.chain, 2, HEAD)


def test_a_lease_runs_from_the_platforms_word_and_a_clock_may_not_go_back() -> None:
    check_lease(HEAD, LATER, 60)
    for head, now in ((HEAD, "2026-05-01T00:01:01Z"), (feed.NOTHING_HEARD, AT)):
        with pytest.raises(feed.LeaseLapsed) as lapsed:
            check_lease(head, now, 60)
        assert lapsed.value.message_zh
    check_clock(LATER, AT)
    with pytest.raises(feed.ClockMovedBack):
        check_clock("2026-05-01T00:01:01Z", AT)


def test_an_event_that_the_platform_signed_twice_or_never_has_no_link() -> None:
    document = copy.deepcopy(EVENTS[0]["document"])
    document["signatures"].append(document["signatures"][1])
    for one in (document, {**document, "signatures": document["signatures"][:1]}):
        with pytest.raises(MalformedDocument):
            feed.link(START, 1, one)
