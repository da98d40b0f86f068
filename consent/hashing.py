"""The hash functions by the name that stands in every document that carries a hash: `sha256` and `sm3`.

Owns the names and one function each, bytes to 32 bytes. It never chooses one: a caller says which, and a name that is
not here is not known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes


def _sha256(data: bytes) -> bytes:
    """FIPS 180-4."""
    return hashlib.sha256(data).digest()


_SM3_START = hashes.Hash(hashes.SM3())


def _sm3(data: bytes) -> bytes:
    """GB/T 32905-2016."""
    state = _SM3_START.copy()  # half the cost of a new state each time
    state.update(data)
    return state.finalize()


HASHES: dict[str, Callable[[bytes], bytes]] = {"sha256": _sha256, "sm3": _sm3}
