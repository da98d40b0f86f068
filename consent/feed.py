"""How far the consent feed reaches: a chain over its events, and the platform's signed word of the last one.

Every event adds one link, so a feed that was cut, thinned out or written twice gives another chain. A *head* is signed
by the platform for the end of a page and says when, so that silence and old answers are noticed too. Pure: owns the
link, the form of a head and what refutes one; it keeps nothing and reads no clock.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from consent.errors import MalformedDocument, Refused
from consent.keys import SigningKey, VerifyingKey, decode_base64
from consent.signed import Document, sign, verify
from consent.times import BadTime, parse

VERSION = 1
START = bytes(32)  # the chain of no events
# Answers of several control plane processes may be made a moment apart; an older head than this is an old answer.
HEAD_GRACE = timedelta(seconds=5)
# Two organisations' clocks; a head from further ahead would outlive its lease.
MAX_SKEW = timedelta(seconds=300)
# A step back of the own clock that is more than a correction by NTP.
CLOCK_GRACE = timedelta(seconds=60)

_FIELDS = frozenset({"type", "version", "seq", "chain", "last", "at"})
_SHA256 = re.compile(r"[0-9a-f]{64}")


class FeedRefused(Refused):
    """The feed, or the word on how far it reaches, is not to be believed: nothing new is used until it is."""


class FeedForked(FeedRefused):
    """The events are not those that the platform signed for, or not those that it signed for before."""

    code = "feed_forked"


class FeedCut(FeedRefused):
    """Events are missing."""

    code = "feed_gap"


class HeadReplayed(FeedRefused):
    """A head that is older than one that was heard before."""

    code = "feed_head_replayed"


class HeadFromTheFuture(FeedRefused):
    """The platform's clock and the own one are too far apart."""

    code = "clock_skew"


class ClockMovedBack(FeedRefused):
    """The own clock shows an earlier time than it did."""

    code = "clock_moved_back"


class LeaseLapsed(FeedRefused):
    """The last fresh head is too old: who has withdrawn since is not known."""

    code = "lease_lapsed"


@dataclass(frozen=True, slots=True)
class Head:
    """The chain after event `seq`, of `last` events that there were at the moment `at`."""

    seq: int
    chain: bytes
    last: int
    at: str


NOTHING_HEARD = Head(0, START, 0, "")


def link(before: bytes, seq: int, document: Document) -> bytes:
    """The chain after a verified event: SHA-256(before ‖ seq, 8 bytes big endian ‖ the platform's signature, 64 bytes).

    The signature stands for the document: under one key and in either suite it fits one hash of what was signed only.
    Raises MalformedDocument where the platform has not signed exactly once.
    """
    found = [one["signature"] for one in document["signatures"] if one["role"] == "platform"]
    if len(found) != 1:
        raise MalformedDocument(f"event {seq}: one signature of the platform is needed, found {len(found)}")
    raw = decode_base64(found[0], f"the platform's signature of event {seq}")
    return hashlib.sha256(before + seq.to_bytes(8, "big") + raw).digest()


def extend(chain: bytes, events: Iterable[Mapping[str, Any]]) -> bytes:
    """The chain after all of `events` ({seq, document}, in order)."""
    for event in events:
        chain = link(chain, event["seq"], event["document"])
    return chain


def sign_head(key: SigningKey, head: Head) -> Document:
    """The platform's signed word on `head`."""
    body = {
        "type": "feed_head",
        "version": VERSION,
        "seq": head.seq,
        "chain": head.chain.hex(),
        "last": head.last,
        "at": head.at,
    }
    return sign(_checked(body), key, "platform")


def read_head(document: Document, platform: VerifyingKey) -> Head:
    """The head in a signed document. Raises BadSignature or MalformedDocument."""
    body = _checked(verify(document, "platform", platform))
    return Head(body["seq"], bytes.fromhex(body["chain"]), body["last"], body["at"])


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    if body.keys() != _FIELDS or body["type"] != "feed_head" or body["version"] != VERSION:
        raise MalformedDocument(
            f"type/version: a feed_head of version {VERSION} is needed", f"type/version：应为第 {VERSION} 版 feed_head"
        )
    for name in ("seq", "last"):
        if not isinstance(body[name], int) or isinstance(body[name], bool) or body[name] < 0:
            raise MalformedDocument(f"{name}: a whole number from 0 is needed", f"{name}：应为非负整数")
    if body["seq"] > body["last"]:
        raise MalformedDocument("seq: not beyond last", "seq：不得大于 last")
    if not isinstance(body["chain"], str) or not _SHA256.fullmatch(body["chain"]):
        raise MalformedDocument("chain: 64 hex digits are needed", "chain：应为 64 位十六进制")
    try:
        parse(body["at"])
    except BadTime as error:
        raise MalformedDocument(f"at: {error}", "at：应形如 2026-01-31T08:00:00Z") from error
    return body


def check_follows(known: Head, new: Head, now: str) -> None:
    """Raises HeadReplayed or HeadFromTheFuture unless `new` may come after `known`, at `now` by the own clock."""
    if known.at and new.at < known.at and parse(known.at) - parse(new.at) > HEAD_GRACE:
        raise HeadReplayed(
            f"the feed's head is of {new.at}, one of {known.at} was heard before: an old answer is not taken",
            f"授权事件流的签名头时间为 {new.at}，早于已收到的 {known.at}：不接受旧应答",
        )
    if new.last < known.last:
        raise HeadReplayed(
            f"the feed ends at event {new.last}, {known.last} were heard of before: was an old backup restored?",
            f"授权事件流止于第 {new.last} 条，此前已达第 {known.last} 条：请核查是否恢复了旧备份",
        )
    if new.at > now and parse(new.at) - parse(now) > MAX_SKEW:
        raise HeadFromTheFuture(
            f"the platform says {new.at}, the clock here {now}: set the clocks (NTP)",
            f"平台时间 {new.at} 与本机时间 {now} 相差过大：请校准时钟（NTP）",
        )


def check_chain(chain: bytes, seq: int, head: Head) -> None:
    """Raises FeedCut or FeedForked unless `chain` after event `seq` is what `head` says."""
    if seq != head.seq:
        raise FeedCut(
            f"the page ends at event {seq}, its signed head at {head.seq}: read the feed again",
            f"本页止于第 {seq} 条事件，签名头为第 {head.seq} 条：请重新读取",
        )
    if chain != head.chain:
        raise FeedForked(
            f"the events up to {seq} are not those that the platform signs for: keep this node's journal as evidence "
            "and tell the operator",
            f"截至第 {seq} 条的事件与平台签名不符：请保留本节点日志库作为证据并通知运营方",
        )


def check_clock(seen_at: str, now: str) -> None:
    """Raises ClockMovedBack when `now` is well before the latest time on record."""
    if now < seen_at and parse(seen_at) - parse(now) > CLOCK_GRACE:
        raise ClockMovedBack(
            f"it is {now} here, but {seen_at} is on record already: set the clock (NTP)",
            f"本机时间 {now} 早于已有记录 {seen_at}：请校准时钟（NTP）",
        )


def check_lease(head: Head, now: str, seconds: float) -> None:
    """Raises LeaseLapsed when the last head is older than `seconds`, by the platform's time of signing it."""
    if not head.at or (parse(now) - parse(head.at)).total_seconds() > seconds:
        heard = head.at or "never"
        raise LeaseLapsed(
            f"the consent feed was last heard fresh at {heard}, more than {seconds:g} s ago: nothing new is used until "
            "the control plane answers",
            f"最近一次收到有效授权事件流的时间为 {head.at or '从未'}，已超过 {seconds:g} 秒：恢复联系前不得新增使用",
        )
