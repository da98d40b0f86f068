"""The Merkle tree of RFC 6962: leaf and node hashes, the compact frontier of an append, paths and their verification.

Owns the arithmetic of the tree over either hash function. It never reads or writes a store (paths are planned here and
read through a `Reader`), never signs, and its verification raises, it never returns a bool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from consent.hashing import HASHES
from consent.ledger.errors import BeyondTree, MalformedProof, NodeMissing, RootMismatch, UnknownHash

HASH_BYTES = 32
MAX_SIZE = 1 << 53  # the largest whole number that every reader of JSON keeps exactly

Key = tuple[int, int]  # (level, position): the root of the complete subtree over leaves position·2^level …


class Reader(Protocol):
    def nodes(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        """The stored hash of each complete subtree, None where there is none."""
        ...


def hash_function(hash_name: str) -> Callable[[bytes], bytes]:
    """Raises UnknownHash for a name that is not in HASHES."""
    try:
        return HASHES[hash_name]
    except (KeyError, TypeError) as error:
        known = ", ".join(HASHES)
        raise UnknownHash(
            f"hash {hash_name!r} is not known: one of {known} is needed", f"未知的杂凑算法 {hash_name!r}，可用 {known}"
        ) from error


def leaf_hash(data: bytes, hash_name: str) -> bytes:
    """H(00 ‖ data), RFC 6962 §2.1."""
    return hash_function(hash_name)(b"\x00" + data)


def node_hash(left: bytes, right: bytes, hash_name: str) -> bytes:
    """H(01 ‖ left ‖ right), RFC 6962 §2.1."""
    return hash_function(hash_name)(b"\x01" + left + right)


def empty_root(hash_name: str) -> bytes:
    """The root of a tree without leaves: H of nothing."""
    return hash_function(hash_name)(b"")


def cover(start: int, stop: int) -> list[Key]:
    """The complete subtrees, left to right, that make up leaves start … stop-1 of a subtree of RFC 6962."""
    out: list[Key] = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        out.append((level, start >> level))
        start += 1 << level
    return out


def _fold(hashes: Sequence[bytes], hash_name: str) -> bytes:
    """One hash from the complete subtrees of a range: the right ones are joined first."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root, hash_name)
    return root


def _read(reader: Reader, keys: Sequence[Key]) -> list[bytes]:
    out: list[bytes] = []
    for key, found in zip(keys, reader.nodes(keys), strict=True):
        if found is None:
            level, position = key
            raise NodeMissing(
                f"node {level}/{position} is not stored: run `creditlab ledger fsck` on an export of the log",
                f"缺少节点 {level}/{position}：请导出日志并运行 creditlab ledger fsck",
            )
        out.append(found)
    return out


def root(reader: Reader, size: int, hash_name: str) -> bytes:
    """The root over the first `size` leaves, from O(log size) stored nodes. Raises NodeMissing."""
    return _fold(_read(reader, cover(0, size)), hash_name) if size else empty_root(hash_name)


def _paths(reader: Reader, ranges: Sequence[tuple[int, int]], hash_name: str) -> list[bytes]:
    covers = [cover(*one) for one in ranges]
    fetched = iter(_read(reader, [key for keys in covers for key in keys]))
    return [_fold([next(fetched) for _ in keys], hash_name) for keys in covers]


def _split(start: int, stop: int) -> int:
    """Where RFC 6962 divides a tree: after the largest power of two below its size."""
    return start + (1 << ((stop - start - 1).bit_length() - 1))


def inclusion_path(reader: Reader, index: int, size: int, hash_name: str) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962 §2.1.1, leaf side first. Raises BeyondTree or NodeMissing."""
    if not 0 <= index < size:
        raise _beyond(index, size)
    ranges: list[tuple[int, int]] = []
    start, stop = 0, size
    while stop - start > 1:
        split = _split(start, stop)
        if index < split:
            ranges.append((split, stop))
            stop = split
        else:
            ranges.append((start, split))
            start = split
    return _paths(reader, ranges[::-1], hash_name)


def consistency_path(reader: Reader, old_size: int, new_size: int, hash_name: str) -> list[bytes]:
    """PROOF(old_size, D[new_size]) of RFC 6962 §2.1.2; empty from nothing or between equal sizes."""
    if not 0 <= old_size <= new_size:
        raise _beyond(old_size, new_size)
    if old_size == 0:
        return []
    ranges: list[tuple[int, int]] = []
    start, stop, whole = 0, new_size, True
    while old_size != stop:
        split = _split(start, stop)
        if old_size <= split:
            ranges.append((split, stop))
            stop = split
        else:
            ranges.append((start, split))
            start, whole = split, False
    if not whole:
        ranges.append((start, stop))
    return _paths(reader, ranges[::-1], hash_name)


class Frontier:
    """The roots of the complete subtrees at the right edge: all that an append has to know of the tree before it.

    `size` leaves; O(log size) memory. `Frontier.read` takes up a stored tree where it ends.
    """

    def __init__(self, hash_name: str) -> None:
        self._hash = hash_function(hash_name)
        self.hash_name, self.size = hash_name, 0
        self._peaks: dict[int, bytes] = {}  # level -> root of the complete subtree that ends at `size`

    @classmethod
    def read(cls, reader: Reader, size: int, hash_name: str) -> Frontier:
        """Raises NodeMissing when the stored tree does not reach `size`."""
        made = cls(hash_name)
        keys = cover(0, size)
        made._peaks = {level: found for (level, _), found in zip(keys, _read(reader, keys), strict=True)}
        made.size = size
        return made

    def extend(self, leaves: Sequence[bytes]) -> list[list[bytes]]:
        """Appends leaf hashes; returns, per level, the hashes of the subtrees that this completed, left to right.

        The first new one of level k has position (size before) >> k. A single leaf costs O(log size), a batch one hash
        for each leaf and O(log size) more.
        """
        new = list(leaves)
        completed: list[list[bytes]] = []
        level, hashed = 0, self._hash
        while new:
            completed.append(new)
            left = self._peaks.pop(level, None)
            row = new if left is None else [left, *new]
            if len(row) % 2:
                self._peaks[level] = row[-1]
            new = [hashed(b"\x01" + a + b) for a, b in zip(row[0::2], row[1::2], strict=False)]
            level += 1
        self.size += len(leaves)
        return completed

    def copy(self) -> Frontier:
        made = Frontier(self.hash_name)
        made.size, made._peaks = self.size, dict(self._peaks)
        return made

    def root(self) -> bytes:
        if not self.size:
            return empty_root(self.hash_name)
        return _fold([self._peaks[level] for level in sorted(self._peaks, reverse=True)], self.hash_name)


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes, hash_name: str
) -> None:
    """Raises a ProofRefused unless leaf `index` of the `size` leaves under `root` is `leaf_hash` (RFC 9162 §2.1.3.2).

    All hashes are 32 bytes; `hash_name` is the one that the head names.
    """
    hashed = hash_function(hash_name)
    _numbers(index, size)
    _hashes([leaf_hash, root, *path])
    if index >= size:
        raise _beyond(index, size)
    node, last, found = index, size - 1, leaf_hash
    for sibling in path:
        if last == 0:
            raise _length(len(path))
        if node & 1 or node == last:
            found = hashed(b"\x01" + sibling + found)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            found = hashed(b"\x01" + found + sibling)
        node >>= 1
        last >>= 1
    if last:
        raise _length(len(path))
    if found != root:
        raise RootMismatch(
            f"entry {index} is not in the tree of {size} entries with this root: its path leads to {found.hex()[:16]}…",
            f"第 {index} 条记录不在该树根（共 {size} 条）之下：其路径得到 {found.hex()[:16]}…",
        )


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes], hash_name: str
) -> None:
    """Raises a ProofRefused unless the tree of `new_size` leaves extends that of `old_size` (RFC 9162 §2.1.4.2).

    From an empty tree and between equal sizes the path is empty.
    """
    hashed = hash_function(hash_name)
    _numbers(old_size, new_size)
    _hashes([old_root, new_root, *path])
    if old_size > new_size:
        raise _beyond(old_size, new_size)
    if old_size in (0, new_size):
        if path:
            raise _length(len(path))
        if old_root != (empty_root(hash_name) if old_size == 0 else new_root):
            raise _apart(old_size, new_size, "old")
        if new_size == 0 and new_root != empty_root(hash_name):
            raise _apart(old_size, new_size, "new")
        return
    if not path:
        raise _length(0)
    steps = [old_root, *path] if old_size & (old_size - 1) == 0 else list(path)
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            raise _length(len(path))
        if node & 1 or node == last:
            old, new = hashed(b"\x01" + sibling + old), hashed(b"\x01" + sibling + new)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new = hashed(b"\x01" + new + sibling)
        node >>= 1
        last >>= 1
    if last:
        raise _length(len(path))
    if old != old_root:
        raise _apart(old_size, new_size, "old")
    if new != new_root:
        raise _apart(old_size, new_size, "new")


def _numbers(*values: int) -> None:
    for value in values:
        if type(value) is not int or not 0 <= value < MAX_SIZE:
            raise MalformedProof(
                f"{value!r} is not a position or size: a whole number from 0 is needed",
                f"{value!r} 不是有效的序号或条数",
            )


def _hashes(values: Sequence[bytes]) -> None:
    for value in values:
        if not isinstance(value, bytes) or len(value) != HASH_BYTES:
            raise MalformedProof(
                f"a hash of the proof is not {HASH_BYTES} bytes long", f"证明中的杂凑值长度不是 {HASH_BYTES} 字节"
            )


def _beyond(index: int, size: int) -> BeyondTree:
    return BeyondTree(f"{index} lies outside a tree of {size} entries", f"{index} 超出共 {size} 条记录的日志")


def _length(count: int) -> MalformedProof:
    return MalformedProof(f"a path of {count} hashes does not fit these sizes", f"路径含 {count} 个杂凑值，与条数不符")


def _apart(old_size: int, new_size: int, which: str) -> RootMismatch:
    name = {"old": "旧", "new": "新"}[which]
    return RootMismatch(
        f"the tree of {new_size} entries does not extend the one of {old_size}: the {which} root differs",
        f"{new_size} 条的日志并非 {old_size} 条日志的延伸：{name}树根不符",
    )
