"""A node follows the platform's keys from the one it was given, and nobody else's (R14, R51; key rotation)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.canonical import canonical
from consent.errors import Refused
from consent.keyring import RECOVERY, KeyNotValid, Keyring, KeyringForked, KeyringRefused, KeyringRolledBack, UnknownKey
from consent.keys import BadSignature, SigningKey
from consent.ticket import check_impact_question, make_impact_question
from consent.times import stamp
from enclave.endings import JobEnded
from enclave.gate import UNREACHABLE, Consents
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from federated.relay.link import Cause
from tests.enclave.feeds import Feed

START = datetime(2026, 5, 1, tzinfo=UTC)


def at(days: float) -> str:
    return stamp(START + timedelta(days=days))


class Platform:
    """A platform whose keys change, its keyring as `creditlab keyring` makes it, and its feed."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.day = 0.0
        self.first = self.key = self.feed.maker.platform
        self.ring = Keyring.found(self.key, platform="creditlab", at=at(0), valid_until=at(1000))
        self.fetched = 0
        self.cut_off = False

    def rotate(self, day: float) -> SigningKey:
        old, new = self.key, SigningKey.generate()
        begins = day + 1 / 86_400
        self.ring = self.ring.add(old, new.public, at=at(day), valid_from=at(begins), valid_until=at(day + 1000))
        self.ring = self.ring.retire(new, old.public.key_id, at=at(begins))
        self.key = self.feed.maker.platform = new
        self.go(day + 2 / 86_400)
        return new

    def go(self, day: float) -> None:
        self.day = day
        self.feed.at = at(day)

    def clock(self) -> str:
        return at(self.day)

    async def keyring(self) -> bytes:
        self.fetched += 1
        if self.cut_off:
            raise JobEnded(Cause(UNREACHABLE, "no answer", "无应答"))
        return self.ring.to_json()


class Node:
    def __init__(self, platform: Platform, folder: Path, pinned: SigningKey | None = None) -> None:
        self.platform, self.folder = platform, folder
        self.pinned = (pinned or platform.first).public
        platform.go(platform.day)
        self.start()

    def start(self) -> None:
        journal = Journal(self.folder / "journal.sqlite")
        self.keys = PlatformKeys(self.pinned, journal, self.platform.keyring, self.platform.clock)
        self.consents = Consents(journal, self.keys, self.platform.feed.fetch, clock=self.platform.clock)

    def hear(self) -> int:
        return asyncio.run(self.consents.sync())

    def refused(self) -> str:
        with pytest.raises(Refused) as caught:
            self.hear()
        return caught.value.code

    def question(self, key: SigningKey, day: float) -> dict[str, Any]:
        """Anything that the platform asks of a node today, checked as the node checks it."""
        document = make_impact_question(
            key, question_id="q-1", consent_id="c", enterprise="e", issued_at=at(day), expires_at=at(day + 400)
        )
        return self.question_of(document)

    def question_of(self, document: dict[str, Any]) -> dict[str, Any]:
        asyncio.run(self.keys.learn([document]))
        return check_impact_question(document, self.keys.current(document), self.platform.clock())


@pytest.fixture
def platform() -> Platform:
    one = Platform()
    one.feed.maker.consent("e1")
    return one


def test_a_new_key_is_believed_once_the_old_one_has_signed_it(platform: Platform, tmp_path: Path) -> None:
    node = Node(platform, tmp_path)
    assert node.hear() == 1
    assert platform.fetched == 0
    new = platform.rotate(10)
    platform.feed.maker.consent("e2")
    assert node.hear() == 2
    assert platform.fetched == 1
    assert node.question(new, platform.day)["question_id"] == "q-1"
    platform.rotate(20)
    platform.feed.maker.consent("e3")
    assert node.hear() == 3
    assert platform.fetched == 2


def test_a_key_that_the_old_one_has_not_signed_is_refused(platform: Platform, tmp_path: Path) -> None:
    node = Node(platform, tmp_path)
    node.hear()
    stranger = SigningKey.generate()
    platform.feed.maker.platform = stranger
    platform.feed.maker.consent("e2")
    assert node.refused() == "unknown_key"
    with pytest.raises(UnknownKey):
        node.question(stranger, 0)
    assert node.consents.book.head == 1


def test_a_keyring_of_somebody_elses_is_refused_though_it_names_our_key(platform: Platform, tmp_path: Path) -> None:
    """Anybody can put another's public key on a keyring of his own: only its signature counts."""
    node = Node(platform, tmp_path)
    node.hear()
    thief = SigningKey.generate()
    ring = Keyring.found(thief, platform="creditlab", at=at(0), valid_until=at(1000))
    platform.ring = ring.add(thief, platform.first.public, at=at(1), valid_from=at(1), valid_until=at(1000))
    platform.feed.maker.platform = thief
    platform.feed.maker.consent("e2")
    assert node.refused() == "keyring_refused"
    assert node.keys._journal is not None and node.keys._journal.keyring() is None


def test_what_was_learned_is_kept_over_a_restart_and_a_shorter_or_other_history_refused(
    platform: Platform, tmp_path: Path
) -> None:
    node, before = Node(platform, tmp_path), platform.ring
    node.hear()
    new = platform.rotate(10)
    node.hear()
    node.start()
    assert platform.fetched == 1
    assert node.question(new, platform.day)
    longer = platform.ring
    platform.ring = before
    with pytest.raises(KeyringRolledBack):
        asyncio.run(node.keys.refresh())
    other = SigningKey.generate()
    platform.ring = before.add(platform.first, other.public, at=at(10), valid_from=at(10), valid_until=at(99))
    platform.ring = platform.ring.retire(other, platform.first.public.key_id, at=at(10))
    with pytest.raises(KeyringForked):
        asyncio.run(node.keys.refresh())
    platform.ring = longer
    asyncio.run(node.keys.refresh())


def test_a_new_node_replays_what_earlier_keys_have_countersigned(platform: Platform, tmp_path: Path) -> None:
    """Whether it was given the first key or the present one."""
    platform.rotate(10)
    platform.feed.maker.consent("e2")
    platform.rotate(20)
    platform.feed.maker.consent("e3")
    for name, pinned in (("first", platform.first), ("present", platform.key)):
        (tmp_path / name).mkdir()
        assert Node(platform, tmp_path / name, pinned).hear() == 3


def test_a_key_that_is_over_signs_no_fresh_head_and_soon_nothing_is_carried_out_for_it(
    platform: Platform, tmp_path: Path
) -> None:
    node = Node(platform, tmp_path)
    node.hear()
    new = platform.rotate(10)
    node.hear()
    assert node.question(platform.first, 10)  # signed just before the rotation, heard just after
    with pytest.raises(KeyNotValid):
        node.question(platform.first, platform.day)
    platform.feed.maker.platform = platform.first
    assert node.refused() == "key_not_valid"
    platform.feed.maker.platform = new
    platform.go(12)
    with pytest.raises(KeyNotValid, match="not carried out any more"):
        node.question(platform.first, 10)


def test_a_compromised_key_counts_no_more_and_the_feed_it_signed_stays(platform: Platform, tmp_path: Path) -> None:
    node = Node(platform, tmp_path)
    node.hear()
    new = platform.rotate(10)
    platform.ring = platform.ring.compromise(new, platform.first.public.key_id, since=at(5), at=at(11))
    platform.go(11)
    asyncio.run(node.keys.refresh())
    for day in (1, 7):
        with pytest.raises(KeyNotValid):
            node.question(platform.first, day)
    (tmp_path / "new").mkdir()
    assert Node(platform, tmp_path / "new", new).hear() == 1  # the head by the new key vouches for what it heads


def test_a_recovery_key_signs_keyrings_and_nothing_else(platform: Platform, tmp_path: Path) -> None:
    node, offline = Node(platform, tmp_path), SigningKey.generate()
    platform.ring = platform.ring.add(
        platform.first, offline.public, at=at(1), valid_from=at(1), valid_until=at(900), use=RECOVERY
    )
    platform.go(2)
    with pytest.raises(KeyNotValid, match="keyrings only"):
        node.question(offline, 2)
    platform.feed.maker.platform = offline
    platform.feed.maker.consent("e2")
    platform.feed.maker.platform = platform.first
    assert node.refused() == "key_not_valid"


def test_without_the_control_plane_an_unknown_key_is_not_believed(platform: Platform, tmp_path: Path) -> None:
    node = Node(platform, tmp_path)
    node.hear()
    new = platform.rotate(10)
    platform.cut_off = True
    with pytest.raises(JobEnded) as ended:
        node.question(new, platform.day)
    assert ended.value.cause.code == UNREACHABLE


def test_another_pinned_key_begins_anew(platform: Platform, tmp_path: Path) -> None:
    """Who runs the node decides: a keyring on record that does not belong to the pinned key is set aside."""
    node = Node(platform, tmp_path)
    asyncio.run(node.keys.refresh())
    other = Platform()
    again = PlatformKeys(other.first.public, Journal(tmp_path / "journal.sqlite"), other.keyring, other.clock)
    document = make_impact_question(
        other.first, question_id="q-1", consent_id="c", enterprise="e", issued_at=at(0), expires_at=at(1)
    )
    assert again.current(document) == other.first.public
    asyncio.run(again.refresh())
    assert again.current(document) == other.first.public


RING = Platform().ring


@given(st.data())
def test_any_changed_byte_of_a_keyring_is_refused(data: st.DataObject) -> None:
    raw = RING.to_json()
    place = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:place] + bytes([raw[place] ^ data.draw(st.integers(1, 255))]) + raw[place + 1 :]
    with pytest.raises(BadSignature):
        Keyring.read_for(changed, RING.first)


@pytest.mark.parametrize("document", [{}, {"signatures": 1}, {"body": [], "signatures": []}])
def test_what_is_no_signed_document_is_refused_by_name(
    platform: Platform, tmp_path: Path, document: dict[str, Any]
) -> None:
    node = Node(platform, tmp_path)
    with pytest.raises(BadSignature):
        node.question_of(document)


def test_a_keyring_that_is_none_is_refused(platform: Platform) -> None:
    for raw in (b"[]", b"{}", b"x", canonical([{"body": {}, "signatures": []}])):
        with pytest.raises(BadSignature):
            Keyring.read_for(raw, platform.first.public)
    with pytest.raises(KeyringRefused, match="none of the keyring"):
        Keyring.read_for(platform.ring.to_json(), SigningKey.generate().public)
