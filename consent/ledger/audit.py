"""The audit of a whole log: every hash made anew from the raw entries, and the first thing that is wrong, named.

Owns the verdict: which entry, stored hash or head is bad, what was done to it and what to do now. It trusts nothing
that is stored, only the keys (and heads kept by witnesses) it is given. It never repairs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from consent.keys import VerifyingKey
from consent.ledger import merkle
from consent.ledger.entries import decode
from consent.ledger.errors import HashMixed, LedgerError, MalformedHead, WrongLog
from consent.ledger.faults import Fault, LedgerDamaged, Place
from consent.ledger.heads import NOBODY, Head, HeadKeys, check_head, read_head
from consent.ledger.store import Store
from consent.ledger.verdict import Difference, Judge, edited, leaf_damage, node_damage, rewritten, sequence_damage
from consent.signed import Document

BATCH = 4096


@dataclass(frozen=True)
class Checked:
    """A log in which everything fits. Entries from `covered` on stand under no signed head yet."""

    log_id: str
    hash_name: str
    size: int
    root: bytes
    heads: int
    covered: int
    first_at: str
    last_at: str


def fsck(
    store: Store,
    keys: HeadKeys,
    witnessed: Sequence[Document] = (),
    *,
    witnesses: Mapping[str, VerifyingKey] = NOBODY,
) -> Checked:
    """Checks all of a log against the keys that may sign its heads; raises LedgerDamaged with the first bad thing.

    `witnessed` are heads that somebody outside kept; one of them that is not itself valid is refused by its own name
    (ForgedHead, WrongLog, …). Reads the log once, and the entries again when something is wrong.
    """
    outside = [
        check_head(one, keys, log_id=store.log_id, hash_name=store.hash_name, witnesses=witnesses) for one in witnessed
    ]
    heads, bad_head = _read_heads(store, keys, witnesses)
    claims = [_Claim(head, "head", number) for number, head in heads]
    claims += [_Claim(head, "witnessed", number) for number, head in enumerate(outside)]
    scan = _scan(store, {claim.head.size for claim in claims})
    damage = scan.judge and scan.judge([claim.head for claim in claims])
    proved = damage.entry if damage else scan.size
    good = _check_roots(store, [claim for claim in claims if claim.head.size <= proved])
    if damage:
        raise damage
    for claim in sorted(claims, key=lambda one: one.head.size):
        if claim.head.size > scan.size:
            raise LedgerDamaged(Fault.TAIL_TRUNCATED, "entry", scan.size, good, size=claim.head.size, at=claim.head.at)
    for number, head in heads:
        if bad_head and bad_head.index < number:
            raise bad_head
        if scan.before.get(head.size, "") > head.at or scan.after.get(head.size, head.at) < head.at:
            raise LedgerDamaged(Fault.HEAD_TIME_MOVED_BACK, "head", number, max(head.size - 1, 0), at=head.at)
    if bad_head:
        raise bad_head
    return Checked(
        store.log_id,
        store.hash_name,
        scan.size,
        scan.root,
        len(heads),
        max((claim.head.size for claim in claims), default=0),
        scan.first_at,
        scan.last_at,
    )


# ---- heads -------------------------------------------------------------------------------------------------------


class _Claim(NamedTuple):
    """A verified head and where it was found."""

    head: Head
    place: Place
    number: int


def _read_heads(
    store: Store, keys: HeadKeys, witnesses: Mapping[str, VerifyingKey]
) -> tuple[list[tuple[int, Head]], LedgerDamaged | None]:
    """The heads that are valid by themselves, with their positions, and the first one that is not."""
    found: list[tuple[int, Head]] = []
    bad: LedgerDamaged | None = None
    for number, raw in enumerate(store.heads()):
        last = found[-1][1] if found else None
        reached = last.size if last else 0
        try:
            head = check_head(read_head(raw), keys, log_id=store.log_id, hash_name=store.hash_name, witnesses=witnesses)
        except LedgerError as error:
            fault = Fault.HEAD_FORGED
            if isinstance(error, MalformedHead):
                fault = Fault.HEAD_MALFORMED
            elif isinstance(error, WrongLog | HashMixed):
                fault = Fault.HEAD_OF_ANOTHER_LOG
            bad = bad or LedgerDamaged(fault, "head", number, reached, why=error.message, why_zh=error.message_zh)
            continue
        if last and head.size < last.size:
            bad = bad or LedgerDamaged(Fault.HEAD_SHRUNK, "head", number, head.size, size=head.size, before=last.size)
        elif last and head.at < last.at:
            bad = bad or LedgerDamaged(Fault.HEAD_TIME_MOVED_BACK, "head", number, last.size, at=head.at)
        found.append((number, head))
    return found, bad


def _check_roots(store: Store, claims: Iterable[_Claim]) -> int:
    """Compares the roots of heads with those of the entries; returns how many entries a head proves.

    The stored hashes that the roots are made of were found right already.
    """
    good = 0
    wrong: _Claim | None = None
    for claim in sorted(claims, key=lambda one: one.head.size):
        if merkle.root(store, claim.head.size, store.hash_name) == claim.head.root:
            good = claim.head.size
        elif wrong is None:
            wrong = claim
    if wrong is None:
        return good
    head = wrong.head
    if head.size <= good:  # another head proves these very entries: this one was signed over others
        names = ("witnessed head", "见证方保存的树头") if wrong.place == "witnessed" else ("head", "树头")
        facts: dict[str, Any] = {"size": head.size, "later": good, "name": names[0], "name_zh": names[1]}
        raise LedgerDamaged(Fault.HEAD_REPLACED, wrong.place, wrong.number, good, **facts)
    raise rewritten(
        good,
        head.size - 1,
        f"the signed head of {head.at} proves other entries",
        f"{head.at} 的签名树头证明的是其他内容",
    )


# ---- entries and stored hashes -------------------------------------------------------------------------------------


@dataclass
class _Scan:
    """What one reading of the entries found, up to the first place that does not fit. `judge` says what was done there.

    `before` and `after` are the times of the entries next to the size of a head.
    """

    size: int = 0
    root: bytes = b""
    first_at: str = ""
    last_at: str = ""
    before: dict[int, str] = field(default_factory=dict)
    after: dict[int, str] = field(default_factory=dict)
    judge: Judge | None = None


def _scan(store: Store, sizes: Collection[int]) -> _Scan:
    """Rebuilds every hash in order. `sizes` are those of the heads."""
    scan = _Scan()
    frontier = merkle.Frontier(store.hash_name)
    entries = store.entries()
    while scan.judge is None and (batch := list(islice(entries, BATCH))):
        start = frontier.size
        completed = frontier.extend([merkle.leaf_hash(raw, store.hash_name) for raw in batch])
        wrong = _first_difference(store, completed, start)
        for index, raw in enumerate(batch, start):
            if wrong and wrong.leaf <= index - (wrong.level > 0):
                scan.judge = node_damage(store, wrong) if wrong.level else leaf_damage(store, index)
                break
            at, scan.judge = _read(store, index, raw, scan.last_at)
            if scan.judge:
                break
            if index in sizes:
                scan.after[index] = at
            if index + 1 in sizes:
                scan.before[index + 1] = at
            scan.first_at, scan.last_at = scan.first_at or at, at
        else:
            if wrong:  # completed by the last entry of the batch
                scan.judge = node_damage(store, wrong)
    scan.size, scan.root = frontier.size, frontier.root()
    if scan.judge is None:
        scan.judge = _surplus(store, scan.size)
    return scan


def _read(store: Store, index: int, raw: bytes, last_at: str) -> tuple[str, Judge | None]:
    """The time of entry `index`, and what is wrong with it when it agrees with its stored hash."""
    try:
        number, made = decode(raw)
        if number == index and made.hash != store.hash_name:
            raise HashMixed(
                f"it is made with {made.hash}, the log with {store.hash_name}",
                f"该记录使用 {made.hash}，而日志使用 {store.hash_name}",
            )
    except LedgerError as error:
        return "", _certain(edited(index, error))
    if number != index:
        return made.at, sequence_damage(store, index)
    if made.at < last_at:
        back = LedgerDamaged(Fault.TIME_MOVED_BACK, "entry", index, index, at=made.at, last=last_at)
        return made.at, _certain(back)
    return made.at, None


def _certain(damage: LedgerDamaged) -> Judge:
    return lambda _heads: damage


def _first_difference(store: Store, completed: Sequence[Sequence[bytes]], start: int) -> Difference | None:
    """The stored hash that first differs from the one made of the entries, in order of completion."""
    first: Difference | None = None
    for level, hashes in enumerate(completed):
        begin = start >> level
        stored = store.nodes([(level, begin + offset) for offset in range(len(hashes))])
        if list(stored) == hashes:
            continue
        offset = next(n for n, pair in enumerate(zip(stored, hashes, strict=True)) if pair[0] != pair[1])
        position = begin + offset
        found = Difference(level, position, stored[offset] is None, ((position + 1) << level) - 1)
        if first is None or found.leaf < first.leaf:
            first = found
    return first


def _surplus(store: Store, size: int) -> Judge | None:
    """Stored hashes that no entries belong to: of a tail that was cut off, or put there by somebody."""
    levels = range(size.bit_length() + 1)
    for level, found in zip(levels, store.nodes([(level, size >> level) for level in levels]), strict=True):
        if found is None:
            continue
        if level == 0:
            return _certain(LedgerDamaged(Fault.ENTRY_DELETED, "entry", size, size))
        return _certain(LedgerDamaged(Fault.NODE_SURPLUS, "node", size >> level, size, level))
    return None
