"""The two hash functions give the published values."""

from __future__ import annotations

import pytest

from consent.hashing import HASHES

# GB/T 32905-2016, annex A.1 and A.2; FIPS 180-4 examples
PUBLISHED = [
    ("sm3", b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
    ("sm3", b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
    ("sha256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("sha256", b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
]


@pytest.mark.parametrize(("name", "data", "digest"), PUBLISHED)
def test_published_vectors(name: str, data: bytes, digest: str) -> None:
    """R48: SM3 where it is required."""
    assert HASHES[name](data).hex() == digest
    assert HASHES[name](data).hex() == digest  # a call leaves no state behind


def test_only_these_two_are_known() -> None:
    assert set(HASHES) == {"sha256", "sm3"}
