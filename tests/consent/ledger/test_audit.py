"""`fsck` names the first bad thing, whatever was done to whichever entry, stored hash or head of whichever log."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consent.canonical import canonical
from consent.keys import SigningKey
from consent.ledger import (
    Fault,
    FolderStore,
    Head,
    Ledger,
    LedgerDamaged,
    MemoryStore,
    NamedKeys,
    encode,
    export,
    fsck,
)
from consent.ledger.audit import BATCH
from consent.ledger.errors import ForgedHead, WrongLog
from consent.ledger.heads import sign_head, witness_role
from consent.ledger.merkle import Frontier, leaf_hash
from consent.signed import countersign, sign
from tests.consent.ledger.conftest import KEYS, LOG_KEY, OTHER_KEY, Log, at, made


def damage(log: Log | MemoryStore, *witnessed: dict) -> LedgerDamaged:
    store = log.store if isinstance(log, Log) else log
    with pytest.raises(LedgerDamaged) as caught:
        fsck(store, KEYS, witnessed)
    found = caught.value
    assert found.message and found.message_zh and found.remedy and found.remedy_zh
    assert not re.search(r"\{[a-z_]+\}", found.message + found.message_zh)  # every placeholder was filled
    return found


def verdict(log: Log, *witnessed: dict) -> tuple[Fault, int]:
    found = damage(log, *witnessed)
    assert found.place == "entry"
    assert f" {found.index}" in found.message
    return found.fault, found.index


@st.composite
def logs(draw: st.DrawFn, least: int = 1, covered: bool = False) -> Log:
    """A log of up to 40 entries with a few heads; with `covered`, the last head covers all of it."""
    size = draw(st.integers(least, 40))
    heads = draw(st.lists(st.integers(0, size), max_size=3))
    return Log(size, heads=[*heads, size] if covered else heads, hash_name=draw(st.sampled_from(["sha256", "sm3"])))


few = settings(max_examples=60, deadline=None)


# ---- a whole log


@few
@given(logs(least=0))
def test_a_whole_log_passes(log: Log) -> None:
    checked = fsck(log.store, KEYS, log.heads)
    assert (checked.size, checked.root, checked.heads) == (log.ledger.size, log.ledger.root(), len(log.heads))
    assert checked.covered == max((head["body"]["size"] for head in log.heads), default=0)


def test_an_audit_crosses_its_batches() -> None:
    size = 2 * BATCH + 7
    store = MemoryStore("platform")
    log = Ledger(store)
    log.append([made(n, second=n // 100) for n in range(BATCH + 1)])
    log.sign_head(LOG_KEY, at(90))
    log.append([made(n, second=100 + n // 100) for n in range(BATCH + 1, size)])
    log.sign_head(LOG_KEY, at(900))
    assert fsck(store, KEYS).size == size
    original = store._entries[BATCH]
    for index in (BATCH - 1, BATCH, size - 1):
        kept = store._entries[index]
        store._entries[index] = kept.replace(b"data_use", b"consent")
        found = damage(store)
        assert (found.fault, found.index) == (Fault.ENTRY_EDITED, index)
        store._entries[index] = kept
    del store._entries[BATCH]
    assert (damage(store).fault, damage(store).index) == (Fault.ENTRY_DELETED, BATCH)
    store._entries.insert(size - 3, original)
    assert (damage(store).fault, damage(store).index) == (Fault.ENTRY_REORDERED, BATCH)


# ---- entries changed in the store


@few
@given(logs(covered=True), st.data())
def test_an_edited_entry_is_named(log: Log, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, log.ledger.size - 1))
    log.raws[index] = encode(made(1000 + index, log.store.hash_name, second=10 * index), index)
    assert verdict(log) == (Fault.ENTRY_EDITED, index)


@few
@given(logs(), st.data(), st.integers(1, 255))
def test_any_changed_byte_of_an_entry_is_found(log: Log, data: st.DataObject, change: int) -> None:
    index = data.draw(st.integers(0, log.ledger.size - 1))
    raw = bytearray(log.raws[index])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= change
    log.raws[index] = bytes(raw)
    assert damage(log).entry == index


@few
@given(logs(least=2), st.data())
def test_the_first_of_several_edited_entries_is_named(log: Log, data: st.DataObject) -> None:
    edited = data.draw(st.sets(st.integers(0, log.ledger.size - 1), min_size=2))
    for index in edited:
        log.raws[index] = encode(made(1000 + index, log.store.hash_name, second=10 * index), index)
    assert verdict(log)[1] == min(edited)


@few
@given(logs(least=2), st.data())
def test_deleted_entries_are_named(log: Log, data: st.DataObject) -> None:
    size = log.ledger.size
    first = data.draw(st.integers(0, size - 1))
    count = data.draw(st.integers(1, size - first))
    del log.raws[first : first + count]
    assert verdict(log) == (Fault.ENTRY_DELETED, first)


@few
@given(logs(), st.data())
def test_inserted_entries_are_named(log: Log, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, log.ledger.size))
    foreign = encode(made(1000, log.store.hash_name, second=10 * index), index)
    copied = log.raws[data.draw(st.integers(0, log.ledger.size - 1))]
    raw = data.draw(st.sampled_from([foreign, copied]))
    assume(index == log.ledger.size or raw != log.raws[index])
    same_before = index > 0 and raw == log.raws[index - 1]
    log.raws.insert(index, raw)
    assert verdict(log) == (Fault.ENTRY_INSERTED, index), same_before


@few
@given(logs(least=2), st.data())
def test_reordered_entries_are_named(log: Log, data: st.DataObject) -> None:
    first, second = sorted(data.draw(st.sets(st.integers(0, log.ledger.size - 1), min_size=2, max_size=2)))
    if data.draw(st.booleans()):
        log.raws[first], log.raws[second] = log.raws[second], log.raws[first]
    else:
        log.raws.insert(second, log.raws.pop(first))
    assert verdict(log) == (Fault.ENTRY_REORDERED, first)


@few
@given(logs(covered=True), st.data())
def test_a_changed_stored_hash_is_named_and_the_entries_are_cleared(log: Log, data: st.DataObject) -> None:
    level = data.draw(st.integers(0, len(log.store._levels) - 1))
    position = data.draw(st.integers(0, len(log.store._levels[level]) // 32 - 1))
    log.flip(level, position)
    found = damage(log)
    assert (found.fault, found.place, found.level, found.index) == (Fault.NODE_CHANGED, "node", level, position)
    assert found.entry == position << level


@few
@given(logs(least=2), st.data())
def test_a_missing_stored_hash_is_named(log: Log, data: st.DataObject) -> None:
    level = data.draw(st.integers(1, len(log.store._levels) - 1))
    del log.store._levels[level][-32:]
    found = damage(log)
    assert (found.fault, found.level) == (Fault.NODE_MISSING, level)
    assert found.index == (log.ledger.size >> level) - 1


def test_a_missing_leaf_hash_is_told_from_an_entry_the_log_never_finished() -> None:
    covered, uncovered = Log(5, heads=[5]), Log(5, heads=[4])
    for log in (covered, uncovered):
        del log.store._levels[0][-32:]
    assert damage(covered).fault is Fault.NODE_MISSING
    assert verdict(uncovered) == (Fault.ENTRY_INSERTED, 4)


@few
@given(logs(), st.data())
def test_a_stored_hash_that_belongs_to_no_entries_is_named(log: Log, data: st.DataObject) -> None:
    level = data.draw(st.integers(1, len(log.store._levels)))
    if level == len(log.store._levels):
        log.store._levels.append(bytearray())
    log.store._levels[level] += bytes(32)
    found = damage(log)
    assert (found.fault, found.level, found.index) == (Fault.NODE_SURPLUS, level, log.ledger.size >> level)


def test_without_a_head_or_a_hash_above_neither_side_is_accused() -> None:
    log = Log(5, heads=[4])
    log.raws[4] = encode(made(1000, second=40), 4)
    assert verdict(log) == (Fault.ENTRY_OR_NODE, 4)


def test_without_any_head_the_hash_above_tells_which_was_changed() -> None:
    log = Log(5)
    log.raws[2] = encode(made(1000, second=20), 2)
    assert verdict(log) == (Fault.ENTRY_EDITED, 2)
    log = Log(5)
    log.flip(0, 2)
    found = damage(log)
    assert (found.fault, found.level, found.index) == (Fault.NODE_CHANGED, 0, 2)


def test_an_entry_that_no_log_can_have_written_settles_it() -> None:
    log = Log(5)
    log.raws[4] = b"{}"
    assert verdict(log) == (Fault.ENTRY_EDITED, 4)
    log.raws[4] = encode(made(4), 7)
    assert verdict(log) == (Fault.ENTRY_EDITED, 4)


def test_of_two_changed_hashes_the_one_over_earlier_entries_is_named() -> None:
    log = Log(12)
    log.flip(0, 9)
    log.flip(1, 1)
    found = damage(log)
    assert (found.fault, found.level, found.index) == (Fault.NODE_CHANGED, 1, 1)


# ---- entries changed together with the hashes stored for them


@few
@given(logs(), st.data())
def test_a_rewritten_entry_is_narrowed_down_by_the_heads(log: Log, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, log.ledger.size - 1))
    log.raws[index] = encode(made(1000 + index, log.store.hash_name, second=10 * index), index)
    log.rehash()
    sizes = sorted({0, *(head["body"]["size"] for head in log.heads)})
    later = [size for size in sizes if size > index]
    if not later:
        assert fsck(log.store, KEYS).covered <= index  # nothing was promised about it yet
        return
    found = damage(log)
    assert (found.fault, found.index) == (Fault.HISTORY_REWRITTEN, max(size for size in sizes if size <= index))
    assert f"{found.index} to {later[0] - 1}" in found.message


@few
@given(logs(least=2), st.data())
def test_deleting_or_reordering_shows_in_the_numbers_though_all_hashes_were_made_anew(
    log: Log, data: st.DataObject
) -> None:
    size = log.ledger.size
    index = data.draw(st.integers(0, size - 2))
    what = data.draw(st.sampled_from([Fault.ENTRY_DELETED, Fault.ENTRY_REORDERED, Fault.ENTRY_INSERTED]))
    if what is Fault.ENTRY_DELETED:
        del log.raws[index]
    elif what is Fault.ENTRY_REORDERED:
        log.raws[index], log.raws[size - 1] = log.raws[size - 1], log.raws[index]
    else:
        log.raws.insert(index, log.raws[size - 1])
    log.rehash()
    proved = max((head["body"]["size"] for head in log.heads), default=0)
    fault, first = verdict(log)
    assert (fault, first) == (what, index), proved


@few
@given(logs(least=2, covered=True), st.data())
def test_deleting_and_renumbering_shows_in_the_heads(log: Log, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, log.ledger.size - 1))
    del log.raws[index]
    log.renumber()
    log.rehash()
    found = damage(log)
    assert found.fault in (Fault.HISTORY_REWRITTEN, Fault.TAIL_TRUNCATED)
    assert found.entry <= index  # nothing from there on is called proved


@few
@given(logs(covered=True), st.data())
def test_an_entry_rewritten_with_some_of_the_hashes_above_is_found(log: Log, data: st.DataObject) -> None:
    """The hashes of the lower levels agree with the forged entry, those above do not."""
    index = data.draw(st.integers(0, log.ledger.size - 1))
    levels = data.draw(st.integers(1, len(log.store._levels)))
    kept = [bytes(row) for row in log.store._levels]
    log.raws[index] = encode(made(1000 + index, log.store.hash_name, second=10 * index), index)
    log.rehash()
    for level in range(levels, len(kept)):
        log.store._levels[level] = bytearray(kept[level])
    fault, first = verdict(log)
    assert fault is Fault.HISTORY_REWRITTEN
    assert first <= index


def test_another_number_in_place_is_no_deletion() -> None:
    log = Log(6)
    log.raws[2] = encode(made(2), 9)
    log.rehash()
    assert verdict(log) == (Fault.ENTRY_EDITED, 2)


def test_a_back_dated_entry_is_named() -> None:
    log = Log(6, heads=[2])
    log.raws[4] = encode(made(4, second=29), 4)
    log.rehash()
    assert verdict(log) == (Fault.TIME_MOVED_BACK, 4)


def test_a_malformed_entry_is_named_with_what_is_wrong() -> None:
    log = Log(6, heads=[2])
    log.raws[4] = log.raws[4].replace(b'"version":1', b'"version":9')
    log.rehash()
    assert verdict(log) == (Fault.ENTRY_EDITED, 4)
    assert "version" in damage(log).message
    log.raws[4] = encode(made(4, "sm3"), 4)
    log.rehash()
    assert verdict(log) == (Fault.ENTRY_EDITED, 4)
    assert "sm3" in damage(log).message


def test_the_earlier_of_two_bad_things_comes_first() -> None:
    log = Log(20, heads=[5, 10, 20])
    log.raws[2] = encode(made(1002, second=20), 2)
    log.rehash()
    log.raws[15] = encode(made(1015, second=150), 15)
    assert verdict(log) == (Fault.HISTORY_REWRITTEN, 0)


# ---- the tail


@few
@given(logs(least=2, covered=True), st.data())
def test_a_truncated_tail_is_found_by_the_head_that_covers_it(log: Log, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, log.ledger.size - 1))
    del log.raws[size:]
    log.rehash()
    assert verdict(log) == (Fault.TAIL_TRUNCATED, size)


@few
@given(logs(least=2, covered=True), st.data())
def test_a_tail_cut_off_with_its_heads_is_found_by_a_witness(log: Log, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, log.ledger.size - 1))
    witnessed = log.heads[-1]
    del log.raws[size:]
    log.rehash()
    log.store._heads[:] = [canonical(head) for head in log.heads if head["body"]["size"] <= size]
    assert fsck(log.store, KEYS).size == size  # without the witness nothing shows
    assert verdict(log, witnessed) == (Fault.TAIL_TRUNCATED, size)


# ---- heads


def test_a_replaced_head_is_named_when_others_prove_the_entries() -> None:
    log = Log(20, heads=[5, 10, 20])
    log.put_head(1, sign_head(Head("platform", "sha256", 10, bytes(32), at(95)), LOG_KEY))
    found = damage(log)
    assert (found.fault, found.place, found.index) == (Fault.HEAD_REPLACED, "head", 1)
    log = Log(20, heads=[20, 20])
    log.put_head(1, sign_head(Head("platform", "sha256", 20, bytes(32), at(195)), LOG_KEY))
    assert (damage(log).fault, damage(log).index) == (Fault.HEAD_REPLACED, 1)
    log = Log(0, heads=[0])
    log.put_head(0, sign_head(Head("platform", "sha256", 0, bytes(32), at(0)), LOG_KEY))
    assert (damage(log).fault, damage(log).index) == (Fault.HEAD_REPLACED, 0)


def test_a_log_that_showed_a_witness_another_history_is_found() -> None:
    log, other = Log(20, heads=[5, 20]), Log(0)
    other.ledger.append([made(n + 1, second=10 * n) for n in range(12)])
    shown = other.head()
    found = damage(log, shown)
    assert (found.fault, found.place, found.index) == (Fault.HEAD_REPLACED, "witnessed", 0)
    assert verdict(Log(20, heads=[5]), shown) == (Fault.HISTORY_REWRITTEN, 5)


def test_a_forged_head_is_named() -> None:
    log = Log(20, heads=[5, 10, 20])
    log.put_head(1, sign(log.heads[1]["body"], OTHER_KEY, "log"))
    found = damage(log)
    assert (found.fault, found.place, found.index) == (Fault.HEAD_FORGED, "head", 1)
    fsck(log.store, NamedKeys())  # only whoever knows the key can tell


def test_a_forged_cosignature_is_named() -> None:
    log, name = Log(20, heads=[5, 20]), SigningKey.generate()
    log.put_head(1, countersign(log.heads[1], OTHER_KEY, witness_role("court")))
    fsck(log.store, KEYS)
    with pytest.raises(LedgerDamaged) as caught:
        fsck(log.store, KEYS, witnesses={"court": name.public})
    assert (caught.value.fault, caught.value.index) == (Fault.HEAD_FORGED, 1)


@few
@given(st.integers(0, 2), st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_of_a_head_is_found(number: int, position: int, change: int) -> None:
    log = Log(20, heads=[5, 10, 20])
    raw = bytearray(log.store._heads[number])
    raw[position % len(raw)] ^= change
    log.store._heads[number] = bytes(raw)
    found = damage(log)
    assert (found.place, found.index) == ("head", number)
    assert found.fault in (Fault.HEAD_FORGED, Fault.HEAD_MALFORMED)


def test_a_head_of_another_log_or_hash_is_named() -> None:
    for foreign in (
        sign_head(Head("other", "sha256", 10, bytes(32), at(95)), LOG_KEY),
        sign_head(Head("platform", "sm3", 10, bytes(32), at(95)), LOG_KEY),
    ):
        log = Log(20, heads=[5, 10, 20])
        log.put_head(1, foreign)
        assert (damage(log).fault, damage(log).index) == (Fault.HEAD_OF_ANOTHER_LOG, 1)


def test_heads_out_of_order_are_named() -> None:
    log = Log(20, heads=[5, 10, 20])
    log.store._heads[1:] = log.store._heads[:0:-1]
    assert (damage(log).fault, damage(log).index) == (Fault.HEAD_SHRUNK, 2)
    log = Log(5, heads=[5])
    log.head(100)
    log.store._heads.reverse()
    assert (damage(log).fault, damage(log).index) == (Fault.HEAD_TIME_MOVED_BACK, 1)


@pytest.mark.parametrize("second", [39, 51])
def test_a_head_dated_outside_the_entries_around_it_is_named(second: int) -> None:
    """Entry 4 is of second 40, entry 5 of second 50: the head over five entries lies between."""
    log = Log(8)
    root = Frontier("sha256")
    root.extend([leaf_hash(raw, "sha256") for raw in log.raws[:5]])
    log.store.append_head(canonical(sign_head(Head("platform", "sha256", 5, root.root(), at(second)), LOG_KEY)))
    found = damage(log)
    assert (found.fault, found.index) == (Fault.HEAD_TIME_MOVED_BACK, 0)


def test_the_first_of_several_bad_heads_is_named() -> None:
    log = Log(20, heads=[5, 10, 20])
    for number in (1, 2):
        log.put_head(number, sign(log.heads[number]["body"], OTHER_KEY, "log"))
    assert damage(log).index == 1
    misdated = sign_head(Head("platform", "sha256", 20, log.ledger.root(), at(50)), LOG_KEY)
    log.put_head(0, sign(log.heads[0]["body"], OTHER_KEY, "log"))
    log.put_head(1, misdated)
    assert (damage(log).fault, damage(log).index) == (Fault.HEAD_FORGED, 0)
    log.put_head(0, misdated)
    assert (damage(log).fault, damage(log).index) == (Fault.HEAD_TIME_MOVED_BACK, 0)


def test_a_witnessed_head_that_is_itself_bad_is_refused_by_its_own_name() -> None:
    log = Log(5, heads=[5])
    with pytest.raises(ForgedHead):
        fsck(log.store, KEYS, [sign(log.heads[0]["body"], OTHER_KEY, "log")])
    with pytest.raises(WrongLog):
        fsck(log.store, KEYS, [Ledger(MemoryStore("other")).sign_head(LOG_KEY, at(0))])


def test_nothing_is_repaired() -> None:
    log = Log(9, heads=[9])
    log.flip(1, 2)
    before = copy.deepcopy((log.store._entries, log.store._levels, log.store._heads))
    damage(log)
    assert before == (log.store._entries, log.store._levels, log.store._heads)


# ---- the same on files


@few
@given(st.data())
def test_any_changed_byte_of_an_exported_folder_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """R46: if an update is forced by hand, it is found."""
    folder = tmp_path_factory.mktemp("log") / "out"
    export(Log(9, heads=[4, 9]).store, folder)
    names = ["entries.jsonl", "heads.jsonl", *(f"nodes/level-0{level}.bin" for level in range(4))]
    path = folder / data.draw(st.sampled_from(names))
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    with FolderStore(folder) as store, pytest.raises(LedgerDamaged):
        fsck(store, KEYS)


@pytest.mark.parametrize(
    ("edit", "fault", "index"),
    [
        (lambda lines: lines.pop(3), Fault.ENTRY_DELETED, 3),
        (lambda lines: lines.insert(3, lines[7]), Fault.ENTRY_INSERTED, 3),
        (lambda lines: lines.insert(3, b"{}\n"), Fault.ENTRY_INSERTED, 3),
        (lambda lines: lines.insert(3, b"\n"), Fault.ENTRY_INSERTED, 3),
        (lambda lines: lines.append(lines[8]), Fault.ENTRY_INSERTED, 9),
        (lambda lines: lines.reverse(), Fault.ENTRY_REORDERED, 0),
        (lambda lines: lines.pop(), Fault.ENTRY_DELETED, 8),
        (lambda lines: lines.clear(), Fault.ENTRY_DELETED, 0),
        (lambda lines: lines.__setitem__(8, lines[8][:40]), Fault.ENTRY_EDITED, 8),
    ],
)
def test_lines_edited_by_hand_are_named(tmp_path: Path, edit: object, fault: Fault, index: int) -> None:
    export(Log(9, heads=[4, 9]).store, tmp_path / "out")
    path = tmp_path / "out/entries.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    edit(lines)
    path.write_bytes(b"".join(lines))
    with FolderStore(tmp_path / "out") as store, pytest.raises(LedgerDamaged) as caught:
        fsck(store, KEYS)
    assert (caught.value.fault, caught.value.index) == (fault, index)


def test_every_fault_is_explained_to_auditors() -> None:
    page = (Path(__file__).parents[3] / "docs/ledger.md").read_text(encoding="utf-8")
    for fault in Fault:
        assert f"`{fault}`" in page
