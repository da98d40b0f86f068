"""A witness cosigns what extends the last head it saw, and refuses everything else by name."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.keys import SigningKey
from consent.ledger import ClockMovedBack, Ledger, LogForked, LogShrunk, MemoryStore, ProofRefused, Witness, check_head
from consent.ledger.errors import ForgedHead, HashMixed, MalformedHead, StaleHead, WrongLog
from consent.ledger.merkle import consistency_path
from consent.signed import Document, sign
from tests.consent.ledger.conftest import KEYS, LOG_KEY, OTHER_KEY, Log, at, made

KEY = SigningKey.generate()


def witness(last: Document | None = None, name: str = "court") -> Witness:
    return Witness(name, KEY, "platform", KEYS, max_age_seconds=3600, last=last)


def path(log: Log, old: int, new: int) -> list[bytes]:
    return consistency_path(log.store, old, new, log.store.hash_name)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=6))
def test_a_witness_follows_a_growing_log(growth: list[int]) -> None:
    log, seen, size = Log(0), witness(), 0
    for count in growth:
        log.ledger.append([made(log.ledger.size + n) for n in range(count)])
        head = log.head(10 * log.ledger.size)
        cosigned = seen.cosign(head, path(log, size, log.ledger.size), at(10 * log.ledger.size))
        check_head(cosigned, KEYS, witnesses={"court": KEY.public}, quorum=1)
        assert seen.last == cosigned
        size = log.ledger.size


def test_a_witness_that_starts_again_remembers() -> None:
    log = Log(9, heads=[4, 9])
    first = witness()
    kept = first.cosign(log.heads[0], [], at(100))
    again = witness(kept)
    again.cosign(log.heads[1], path(log, 4, 9), at(100))
    with pytest.raises(LogShrunk):
        again.cosign(log.heads[0], [], at(100))


def refuses(error: type[Exception], head: Document, proof: list[bytes], now: str = at(100)) -> None:
    seen = witness(Log(9, heads=[5]).heads[0])
    before = copy.deepcopy(seen.last)
    with pytest.raises(error):
        seen.cosign(head, proof, now)
    assert seen.last == before


def test_a_shrunken_log_is_refused() -> None:
    refuses(LogShrunk, Log(4, heads=[4]).heads[0], [])


def test_a_forked_log_is_refused() -> None:
    fork = Log(0)
    fork.ledger.append([made(n + 1, second=10 * n) for n in range(9)])
    head = fork.head()
    refuses(LogForked, head, path(fork, 5, 9))
    same_size = Log(0)
    same_size.ledger.append([made(n + 1, second=10 * n) for n in range(5)])
    refuses(LogForked, same_size.head(60), [])


def test_a_head_without_its_proof_is_refused() -> None:
    refuses(ProofRefused, Log(9, heads=[9]).heads[0], [])


def test_a_clock_moved_back_is_refused() -> None:
    log = Log(5)
    refuses(ClockMovedBack, log.ledger.sign_head(LOG_KEY, at(41)), [])  # the same entries, four seconds earlier
    refuses(ClockMovedBack, Log(5).ledger.sign_head(LOG_KEY, at(5000)), [], at(100))  # in the future


def test_a_stale_head_is_refused() -> None:
    refuses(StaleHead, Log(5, heads=[5]).heads[0], [], at(3646))


def test_another_logs_another_hashs_and_another_keys_heads_are_refused() -> None:
    log = Log(5, heads=[5])
    other = Ledger(MemoryStore("other"))
    refuses(WrongLog, other.sign_head(LOG_KEY, at(50)), [])
    refuses(HashMixed, Log(5, heads=[5], hash_name="sm3").heads[0], [])
    refuses(ForgedHead, sign(log.heads[0]["body"], OTHER_KEY, "log"), [])


def test_a_witness_cosigns_a_head_once_and_beside_others() -> None:
    head = Log(5, heads=[5]).heads[0]
    first = Witness("chamber", OTHER_KEY, "platform", KEYS, max_age_seconds=3600).cosign(head, [], at(50))
    both = witness().cosign(first, [], at(50))
    check_head(both, KEYS, witnesses={"court": KEY.public, "chamber": OTHER_KEY.public}, quorum=2)
    with pytest.raises(MalformedHead, match="already"):
        witness().cosign(both, [], at(50))


def test_a_witness_has_a_plain_name() -> None:
    with pytest.raises(MalformedHead):
        witness(name="Court of Law")
