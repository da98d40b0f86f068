"""Appending: positions without gaps, time that never runs back, nothing half done, no head over a changed store."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.ledger import (
    ClockMovedBack,
    Entry,
    FolderStore,
    Kind,
    Ledger,
    LogForked,
    LogShrunk,
    MemoryStore,
    decode,
    entry,
    matches,
    verify_consistency,
)
from consent.ledger.errors import AppendConflict, HashMixed, MalformedEntry, NodeMissing
from consent.ledger.merkle import consistency_path
from tests.consent.ledger.conftest import LOG_KEY, Log, at, made


def test_entries_get_their_positions_in_order() -> None:
    log = Ledger(MemoryStore("platform"))
    assert log.append([made(0), made(1)]) == range(0, 2)
    assert log.append([]) == range(2, 2)
    assert log.append([made(2)]) == range(2, 3)
    assert [decode(raw) for raw in log.store.entries()] == [(n, made(n)) for n in range(3)]
    assert list(log.store.entries(1, 2)) == [list(log.store.entries())[1]]


def test_each_use_of_data_is_written_and_found_again() -> None:
    """R46: the owner of the record shows it beside its entry; nobody else can read it there."""
    record, salt = {"user": "u-1", "institution": "bank_a", "purpose": "underwriting_score"}, bytes(32)
    log = Ledger(MemoryStore("platform"))
    (position,) = log.append([entry(Kind.DATA_USE, at(0), record, salt)])
    (raw,) = log.store.entries(position, position + 1)
    matches(decode(raw).entry, record, salt)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), max_size=8), st.sampled_from(["sha256", "sm3"]))
def test_a_log_taken_up_again_goes_on_as_if_it_had_stayed_open(batches: list[int], name: str) -> None:
    stays, store = Ledger(MemoryStore("platform", name)), MemoryStore("platform", name)
    roots = [(0, stays.root())]
    for count in batches:
        entries = [made(stays.size + n, name) for n in range(count)]
        assert stays.append(entries) == Ledger(store).append(entries)
        assert Ledger(store).root() == stays.root()
        roots.append((stays.size, stays.root()))
    for size, root in roots:
        verify_consistency(size, root, stays.size, stays.root(), consistency_path(store, size, stays.size, name), name)


def test_an_entry_before_the_last_one_is_refused_and_nothing_is_written() -> None:
    log = Ledger(MemoryStore("platform"))
    log.append([made(5)])
    with pytest.raises(ClockMovedBack, match="nothing was written"):
        log.append([made(6), made(4)])
    assert (log.size, log.store.size()) == (1, 1)
    log.append([made(5)])  # the same second is in order


def test_the_clock_does_not_move_back_behind_a_head_either() -> None:
    log = Log(2).ledger
    log.sign_head(LOG_KEY, at(100))
    for reopened in (log, Ledger(log.store)):
        with pytest.raises(ClockMovedBack):
            reopened.append([made(2, second=99)])
        with pytest.raises(ClockMovedBack):
            reopened.sign_head(LOG_KEY, at(99))
    assert len(list(log.store.heads())) == 1
    with pytest.raises(ClockMovedBack):
        Log(2).ledger.sign_head(LOG_KEY, at(9))  # the last entry is of second 10


def test_an_entry_made_with_the_other_hash_is_refused() -> None:
    with pytest.raises(HashMixed):
        Ledger(MemoryStore("platform", "sm3")).append([made(0, "sha256")])


def test_a_malformed_entry_is_refused_before_anything_is_written() -> None:
    log = Ledger(MemoryStore("platform"))
    with pytest.raises(MalformedEntry):
        log.append([made(0), Entry("payment", at(0), "sha256", "0" * 64)])
    assert log.size == log.store.size() == 0


def test_of_two_writers_one_is_refused_and_can_go_on() -> None:
    store = MemoryStore("platform")
    first, second = Ledger(store), Ledger(store)
    first.append([made(0)])
    with pytest.raises(AppendConflict):
        second.append([made(0)])
    assert second.size == 0
    assert Ledger(store).append([made(1)]) == range(1, 2)


def test_nothing_is_signed_over_a_store_that_was_changed() -> None:
    log = Log(7, heads=[5])
    log.store._entries[2] = log.raws[2].replace(b"data_use", b"consent")
    log.rehash()
    with pytest.raises(LogForked):
        Ledger(log.store).sign_head(LOG_KEY, at(100))
    assert len(list(log.store.heads())) == 1


def test_nothing_is_signed_over_a_store_that_was_cut_off() -> None:
    log = Log(7, heads=[5])
    del log.store._entries[4:]
    log.rehash()
    with pytest.raises(LogShrunk):
        Ledger(log.store).sign_head(LOG_KEY, at(100))


def test_a_store_without_its_hashes_is_not_taken_up() -> None:
    log = Log(6)
    log.store._levels[1] = log.store._levels[1][:64]
    with pytest.raises(NodeMissing):
        Ledger(log.store)


def test_an_empty_log_has_a_head(tmp_path: Path) -> None:
    for store in (MemoryStore("platform"), FolderStore.create(tmp_path / "log", "platform")):
        head = Ledger(store).sign_head(LOG_KEY, at(0))
        assert head["body"]["size"] == 0
        assert head["body"]["root"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
