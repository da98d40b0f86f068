"""The tree is that of RFC 6962: published roots and proofs, and every proof of every tree, for both hash functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.hashing import HASHES
from consent.ledger import MemoryStore, ProofRefused, leaf_hash, verify_consistency, verify_inclusion
from consent.ledger.errors import BeyondTree, MalformedProof, NodeMissing, RootMismatch, UnknownHash
from consent.ledger.merkle import Frontier, consistency_path, empty_root, inclusion_path, node_hash, root

# The reference tree of certificate-transparency (its merkletree tests; today transparency-dev/merkle, testonly)
INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
LARGEST = 70
names = st.sampled_from(sorted(HASHES))


def tree(inputs: list[bytes], hash_name: str = "sha256") -> MemoryStore:
    store = MemoryStore("tree", hash_name)
    store.append(0, inputs, Frontier(hash_name).extend([leaf_hash(one, hash_name) for one in inputs]))
    return store


def by_definition(leaves: list[bytes], hash_name: str) -> bytes:
    """MTH of RFC 6962 §2.1, word by word."""
    hashed = HASHES[hash_name]
    if not leaves:
        return hashed(b"")
    if len(leaves) == 1:
        return hashed(b"\x00" + leaves[0])
    split = max(1 << k for k in range(32) if 1 << k < len(leaves))
    return hashed(b"\x01" + by_definition(leaves[:split], hash_name) + by_definition(leaves[split:], hash_name))


LEAVES = [b"leaf %d" % number for number in range(LARGEST)]
TREES = {name: tree(LEAVES, name) for name in HASHES}
ROOTS_OF = {name: [by_definition(LEAVES[:size], name) for size in range(LARGEST + 1)] for name in HASHES}


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    frontier = Frontier("sha256")
    frontier.extend([leaf_hash(one, "sha256") for one in INPUTS[:size]])
    assert frontier.root().hex() == ROOTS[size]
    assert root(tree(INPUTS), size, "sha256").hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_published_inclusion_proofs(index: int, size: int, path: list[str]) -> None:
    found = inclusion_path(tree(INPUTS), index, size, "sha256")
    assert [one.hex() for one in found] == path
    verify_inclusion(leaf_hash(INPUTS[index], "sha256"), index, size, found, bytes.fromhex(ROOTS[size]), "sha256")


@pytest.mark.parametrize(("old", "new", "path"), CONSISTENCY)
def test_published_consistency_proofs(old: int, new: int, path: list[str]) -> None:
    found = consistency_path(tree(INPUTS), old, new, "sha256")
    assert [one.hex() for one in found] == path
    verify_consistency(old, bytes.fromhex(ROOTS[old]), new, bytes.fromhex(ROOTS[new]), found, "sha256")


@pytest.mark.parametrize("name", HASHES)
def test_every_root_is_that_of_the_definition(name: str) -> None:
    for size in range(LARGEST + 1):
        assert root(TREES[name], size, name) == ROOTS_OF[name][size]


@pytest.mark.parametrize("name", HASHES)
def test_every_inclusion_proof_verifies(name: str) -> None:
    for size in range(1, LARGEST + 1):
        for index in range(size):
            path = inclusion_path(TREES[name], index, size, name)
            assert len(path) <= (size - 1).bit_length()
            verify_inclusion(leaf_hash(LEAVES[index], name), index, size, path, ROOTS_OF[name][size], name)


@pytest.mark.parametrize("name", HASHES)
def test_every_consistency_proof_verifies(name: str) -> None:
    for new in range(LARGEST + 1):
        for old in range(new + 1):
            path = consistency_path(TREES[name], old, new, name)
            assert len(path) <= new.bit_length() + 1
            verify_consistency(old, ROOTS_OF[name][old], new, ROOTS_OF[name][new], path, name)


@given(names, st.lists(st.integers(0, 9), max_size=12))
def test_the_frontier_equals_a_recomputation_however_leaves_arrive(name: str, batches: list[int]) -> None:
    frontier = Frontier(name)
    rows: list[list[bytes]] = []
    for count in batches:
        before = frontier.size
        hashes = [leaf_hash(LEAVES[(before + n) % LARGEST], name) for n in range(count)]
        for level, row in enumerate(frontier.extend(hashes)):
            if level == len(rows):
                rows.append([])
            assert len(rows[level]) == before >> level
            rows[level] += row
        leaves = [LEAVES[n % LARGEST] for n in range(frontier.size)]
        assert frontier.root() == by_definition(leaves, name)
    whole = Frontier(name)
    assert whole.extend([leaf_hash(LEAVES[n % LARGEST], name) for n in range(frontier.size)]) == rows


@given(names, st.integers(0, LARGEST))
def test_a_frontier_is_taken_up_from_the_store(name: str, size: int) -> None:
    frontier = Frontier.read(TREES[name], size, name)
    assert (frontier.size, frontier.root()) == (size, ROOTS_OF[name][size])
    frontier.extend([leaf_hash(one, name) for one in LEAVES[size:]])
    assert frontier.root() == ROOTS_OF[name][LARGEST]


def flipped(value: bytes, byte: int, change: int) -> bytes:
    changed = bytearray(value)
    changed[byte % len(changed)] ^= change
    return bytes(changed)


@given(names, st.data(), st.integers(0, 31), st.integers(1, 255))
def test_any_changed_byte_of_an_inclusion_proof_is_refused(
    name: str, data: st.DataObject, byte: int, change: int
) -> None:
    size = data.draw(st.integers(1, LARGEST))
    index = data.draw(st.integers(0, size - 1))
    parts = [leaf_hash(LEAVES[index], name), ROOTS_OF[name][size], *inclusion_path(TREES[name], index, size, name)]
    which = data.draw(st.integers(0, len(parts) - 1))
    parts[which] = flipped(parts[which], byte, change)
    with pytest.raises(RootMismatch):
        verify_inclusion(parts[0], index, size, parts[2:], parts[1], name)


@given(names, st.data(), st.integers(0, 31), st.integers(1, 255))
def test_any_changed_byte_of_a_consistency_proof_is_refused(
    name: str, data: st.DataObject, byte: int, change: int
) -> None:
    new = data.draw(st.integers(1, LARGEST))
    old = data.draw(st.integers(1, new))
    parts = [ROOTS_OF[name][old], ROOTS_OF[name][new], *consistency_path(TREES[name], old, new, name)]
    which = data.draw(st.integers(0, len(parts) - 1))
    parts[which] = flipped(parts[which], byte, change)
    with pytest.raises(RootMismatch):
        verify_consistency(old, parts[0], new, parts[1], parts[2:], name)


@given(st.data())
def test_a_proof_at_another_position_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, LARGEST))
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index))
    path = inclusion_path(TREES["sha256"], index, size, "sha256")
    with pytest.raises(ProofRefused):
        verify_inclusion(leaf_hash(LEAVES[index], "sha256"), other, size, path, ROOTS_OF["sha256"][size], "sha256")


@given(st.data())
def test_a_path_too_long_or_too_short_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, LARGEST))
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(TREES["sha256"], index, size, "sha256")
    changed = data.draw(st.sampled_from([path[:-1], [*path, bytes(32)]]))
    with pytest.raises(MalformedProof):
        verify_inclusion(leaf_hash(LEAVES[index], "sha256"), index, size, changed, ROOTS_OF["sha256"][size], "sha256")
    old = data.draw(st.integers(1, size - 1))
    path = consistency_path(TREES["sha256"], old, size, "sha256")
    changed = data.draw(st.sampled_from([path[:-1], [*path, bytes(32)]]))
    with pytest.raises(ProofRefused):
        verify_consistency(old, ROOTS_OF["sha256"][old], size, ROOTS_OF["sha256"][size], changed, "sha256")


@given(st.integers(1, LARGEST))
def test_the_two_hash_functions_never_mix(size: int) -> None:
    """R48."""
    path = inclusion_path(TREES["sha256"], size - 1, size, "sha256")
    leaf = leaf_hash(LEAVES[size - 1], "sha256")
    if size > 1:
        with pytest.raises(RootMismatch):
            verify_inclusion(leaf, size - 1, size, path, ROOTS_OF["sha256"][size], "sm3")
    with pytest.raises(RootMismatch):
        verify_inclusion(leaf, size - 1, size, path, ROOTS_OF["sm3"][size], "sm3")


def test_leaves_and_nodes_cannot_be_taken_for_each_other() -> None:
    left, right = leaf_hash(b"a", "sha256"), leaf_hash(b"b", "sha256")
    assert node_hash(left, right, "sha256") != leaf_hash(left + right, "sha256")


def test_an_old_empty_log_is_extended_by_every_log_and_only_by_an_empty_path() -> None:
    empty, some = empty_root("sha256"), ROOTS_OF["sha256"][5]
    verify_consistency(0, empty, 5, some, [], "sha256")
    verify_consistency(0, empty, 0, empty, [], "sha256")
    with pytest.raises(MalformedProof):
        verify_consistency(0, empty, 5, some, [some], "sha256")
    with pytest.raises(RootMismatch):
        verify_consistency(0, some, 5, some, [], "sha256")
    with pytest.raises(RootMismatch):
        verify_consistency(0, some, 0, some, [], "sha256")


@pytest.mark.parametrize(
    ("index", "size", "error"),
    [(5, 5, BeyondTree), (-1, 5, MalformedProof), (True, 5, MalformedProof), (1, 1 << 60, MalformedProof)],
)
def test_positions_outside_are_refused(index: int, size: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        verify_inclusion(bytes(32), index, size, [], bytes(32), "sha256")


def test_a_consistency_proof_backwards_is_refused() -> None:
    with pytest.raises(BeyondTree):
        verify_consistency(5, bytes(32), 4, bytes(32), [], "sha256")
    with pytest.raises(BeyondTree):
        consistency_path(TREES["sha256"], 5, 4, "sha256")
    with pytest.raises(BeyondTree):
        inclusion_path(TREES["sha256"], 4, 4, "sha256")


@pytest.mark.parametrize("bad", [b"short", "text", bytes(33), None])
def test_a_hash_of_another_length_is_refused(bad: bytes) -> None:
    for leaf, path, top in ((bad, [], bytes(32)), (bytes(32), [bad], bytes(32)), (bytes(32), [], bad)):
        with pytest.raises(MalformedProof):
            verify_inclusion(leaf, 0, 1, path, top, "sha256")


@pytest.mark.parametrize("name", ["md5", "SHA256", "", None, []])
def test_an_unknown_hash_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnknownHash):
        verify_inclusion(bytes(32), 0, 1, [], bytes(32), name)


def test_a_missing_node_is_named() -> None:
    store = tree(LEAVES[:5])
    store._levels.pop()
    with pytest.raises(NodeMissing, match="2/0"):
        root(store, 5, "sha256")


class Counting:
    """Counts what a proof reads."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.reads, self.calls = store, 0, 0

    def nodes(self, keys: list[tuple[int, int]]) -> list[bytes | None]:
        self.reads, self.calls = self.reads + len(keys), self.calls + 1
        return list(self.store.nodes(keys))


@given(st.integers(1, 2000), st.data())
def test_a_proof_reads_a_logarithm_of_nodes_at_once(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    reader = Counting(BIG)
    inclusion_path(reader, index, size, "sha256")
    consistency_path(reader, index + 1, size, "sha256")
    assert reader.calls <= 2
    assert reader.reads <= 4 * size.bit_length() + 2


BIG = tree([b"%d" % number for number in range(2000)])
