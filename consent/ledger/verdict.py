"""What was done at the first place where a log does not fit: edited, deleted, inserted, reordered, or a hash changed.

Owns the judgement. It compares what the entries hash to with what is stored, and where those two disagree it asks the
hash above and the signed heads which of them was changed. It never searches for the place: `consent.ledger.audit` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from consent.ledger import merkle
from consent.ledger.entries import decode
from consent.ledger.errors import LedgerError
from consent.ledger.faults import Fault, LedgerDamaged
from consent.ledger.heads import Head
from consent.ledger.store import Store

_READ = 4096

Judge = Callable[[Sequence[Head]], LedgerDamaged]  # given every head whose signatures verify


class Difference(NamedTuple):
    """A stored hash that is not the one made of the entries. `leaf` is the entry that completes its subtree."""

    level: int
    position: int
    missing: bool
    leaf: int


def edited(index: int, error: LedgerError) -> LedgerDamaged:
    """The entry agrees with its stored hash, but the log never writes an entry like this."""
    return LedgerDamaged(Fault.ENTRY_EDITED, "entry", index, index, why=error.message, why_zh=error.message_zh)


def sequence_damage(store: Store, index: int) -> Judge:
    """Entry and stored hash agree, but the entry carries another number: both were written anew."""

    def judge(_heads: Sequence[Head]) -> LedgerDamaged:
        found = [_number(raw) for raw in store.entries()]
        return _entry(verdict(found, range(max(found) + 1), index), index)

    return judge


def leaf_damage(store: Store, index: int) -> Judge:
    """The entry does not hash to what is stored for it: the stored hashes tell what stood there."""

    def judge(heads: Sequence[Head]) -> LedgerDamaged:
        found = [merkle.leaf_hash(raw, store.hash_name) for raw in store.entries()]
        expected = _stored_leaves(store, len(found))
        if index < len(expected) and expected[index] is not None:
            fault = verdict(found, expected, index)
            if fault is not Fault.ENTRY_EDITED:
                return _entry(fault, index)
        which = _which(store, 0, index, found, heads)
        if which == "node":
            missing = index >= len(expected) or expected[index] is None
            return LedgerDamaged(Fault.NODE_MISSING if missing else Fault.NODE_CHANGED, "node", index, index, 0)
        if index >= len(expected):
            return _entry(Fault.ENTRY_INSERTED, index)
        (raw,) = store.entries(index, index + 1)
        # an entry that the log cannot have written settles it
        fault = Fault.ENTRY_EDITED if which == "entry" or _number(raw) != index else Fault.ENTRY_OR_NODE
        return _entry(fault, index)

    return judge


def node_damage(store: Store, wrong: Difference) -> Judge:
    """Every hash below agrees with the entries, this one does not."""

    def judge(heads: Sequence[Head]) -> LedgerDamaged:
        first = wrong.position << wrong.level
        found = [merkle.leaf_hash(raw, store.hash_name) for raw in store.entries()]
        which = _which(store, wrong.level, wrong.position, found, heads)
        if which == "node" or wrong.missing:
            fault = Fault.NODE_MISSING if wrong.missing else Fault.NODE_CHANGED
            return LedgerDamaged(fault, "node", wrong.position, first, wrong.level)
        if which == "entry":
            return rewritten(
                first,
                wrong.leaf,
                f"the hash at level {wrong.level}, position {wrong.position} proves other entries",
                f"第 {wrong.level} 层第 {wrong.position} 个杂凑值证明的是其他内容",
            )
        return LedgerDamaged(Fault.ENTRY_OR_NODE, "entry", first, first)

    return judge


def rewritten(first: int, last: int, why: str, why_zh: str) -> LedgerDamaged:
    """An entry was changed together with hashes above it: which one of `first` … `last` cannot be told any more."""
    return LedgerDamaged(Fault.HISTORY_REWRITTEN, "entry", first, first, last=last, why=why, why_zh=why_zh)


def verdict[Token](found: Sequence[Token], expected: Sequence[Token], at: int) -> Fault:
    """What turned `expected` into `found` at their first difference `at`.

    Tokens are unique in `expected`: the hash of an entry, or its number.
    """
    here = found[at]
    moved_to = _position(found, expected[at], at + 1) if at < len(expected) else None
    came_from = _position(expected, here, 0)
    if moved_to is not None:
        if came_from is None or came_from < at or _position(found, here, at + 1) is not None:
            return Fault.ENTRY_INSERTED
        return Fault.ENTRY_REORDERED
    next_fits = list(found[at + 1 : at + 2]) == list(expected[at + 1 : at + 2]) != []
    if came_from is None or came_from < at or next_fits:
        return Fault.ENTRY_EDITED
    return Fault.ENTRY_DELETED


def _position[Token](row: Sequence[Token], token: Token, start: int) -> int | None:
    try:
        return row.index(token, start) if start else row.index(token)  # a range takes no second argument
    except ValueError:
        return None


def _number(raw: bytes) -> int:
    try:
        return decode(raw).sequence
    except LedgerError:
        return -1


def _stored_leaves(store: Store, least: int) -> list[bytes | None]:
    """All stored leaf hashes; one that is missing in between is None."""
    out: list[bytes | None] = []
    while True:
        row = store.nodes([(0, len(out) + n) for n in range(_READ)])
        out += row
        if len(out) >= least and row[-1] is None:
            break
    while out and out[-1] is None:
        out.pop()
    return out


def _which(store: Store, level: int, position: int, leaves: Sequence[bytes], heads: Sequence[Head]) -> str | None:
    """Whether the stored hash was changed ("node") or the entries below it ("entry"); None when nothing tells."""
    left = position & ~1
    mine = _row(leaves[left << level : (left + 2) << level], level, store.hash_name)
    above, *theirs = store.nodes([(level + 1, position >> 1), (level, left), (level, left + 1)])
    if above is not None:
        entries_fit, nodes_fit = (_joined(pair, store.hash_name) == above for pair in (mine, theirs))
        if entries_fit != nodes_fit:
            return "node" if entries_fit else "entry"
    last = ((position + 1) << level) - 1
    for head in sorted(heads, key=lambda one: one.size):
        if last < head.size <= len(leaves):
            frontier = merkle.Frontier(store.hash_name)
            frontier.extend(leaves[: head.size])
            return "node" if frontier.root() == head.root else "entry"
    return None


def _row(leaves: Sequence[bytes], level: int, hash_name: str) -> Sequence[bytes]:
    """The complete subtrees of 2^level leaves among leaves that start at one."""
    completed = merkle.Frontier(hash_name).extend(leaves)
    return completed[level] if level < len(completed) else []


def _joined(pair: Sequence[bytes | None], hash_name: str) -> bytes | None:
    if len(pair) != 2 or pair[0] is None or pair[1] is None:
        return None
    return merkle.node_hash(pair[0], pair[1], hash_name)


def _entry(fault: Fault, index: int) -> LedgerDamaged:
    why, why_zh = "its bytes are not those that were hashed", "其内容与写入时的杂凑值不符"
    return LedgerDamaged(fault, "entry", index, index, why=why, why_zh=why_zh)
