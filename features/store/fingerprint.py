"""A fingerprint of what an event says, apart from when and in which batch it came.

Owns its form, which lies in every file of the store: a change of it is a change of the store's format. It tells apart
the events of one record; it protects nothing against who can choose the values. Never looks at a neighbouring row.

Each value becomes 64 bits (a text by its SHA-256, a number by itself), is bound to its column's name, and is mixed by
the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014); a row is the
mixed sum. An empty item adds nothing, so that a new item changes no earlier fingerprint.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from features.catalogue.model import Category


def fingerprints(category: Category, table: pa.Table) -> pa.Array:
    """One number (uint64) for each row of a table that `schema.conform` has made."""
    total = np.zeros(len(table), np.uint64)
    for name in ("uscc", "event_date", "op", "revision", *(item.name for item in category.items)):
        column = table.column(name).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        if column.null_count == len(column):
            continue
        values = _mixed(_bits(column) ^ _word(name))
        total += np.where(column.is_valid().to_numpy(zero_copy_only=False), values, np.uint64(0))
    return pa.array(_mixed(total))


def _bits(column: pa.Array) -> np.ndarray:
    """64 bits for each value; where there is none, any."""
    kind = column.type
    if pa.types.is_string(kind):
        coded = column.dictionary_encode()
        words = np.array([_word(text) for text in coded.dictionary.to_pylist()], np.uint64)
        return words[coded.indices.fill_null(0).to_numpy(zero_copy_only=False)]
    if pa.types.is_decimal(kind):
        # 18 digits fit into the lower half of the 128 bits
        halves = np.frombuffer(column.buffers()[1], np.uint64)
        return halves[2 * column.offset : 2 * (column.offset + len(column)) : 2]
    if pa.types.is_floating(kind):
        numbers = column.fill_null(0).to_numpy(zero_copy_only=False) + 0.0  # one zero only
        return numbers.view(np.uint64)
    whole = column.cast(pa.int32() if pa.types.is_date(kind) else pa.int64())
    return whole.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)


def _word(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))


def _mixed(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
