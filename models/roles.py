"""Row roles: which rows fit a model, which calibrate it, which judge it.

Owns the rule that turns ids (and the bank's split column, if there is one) into "fit", "cal" and "test". It depends
only on ids and the ticket, so both modes and both parties get the same answer. It never looks at a feature or label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["CAL", "FIT", "TEST", "UNUSED", "roles", "unit_interval"]

FIT, CAL, TEST = "fit", "cal", "test"
UNUSED = "unused"  # a split value that the ticket names neither as train nor as test


def unit_interval(ids: Sequence[str], seed: int, purpose: str) -> np.ndarray:
    """A stable pseudo-random number in [0, 1) for each id: the first 8 bytes of sha256("seed|purpose|id") / 2**64."""
    prefix = f"{seed}|{purpose}|".encode()
    out = np.empty(len(ids), dtype=np.float64)
    for position, value in enumerate(ids):
        digest = hashlib.sha256(prefix + str(value).encode()).digest()
        out[position] = int.from_bytes(digest[:8], "big") / 2.0**64
    return out


def roles(ids: Sequence[str], split_values: Sequence[Any] | None, ticket: dict[str, Any]) -> np.ndarray:
    """Role of each row as an array of str, aligned with `ids`.

    `split_values` is the bank's split column for those rows (compared as text), or None when the ticket splits by
    hash. Raises ValueError when the ticket wants a column and none is given, or lengths differ.
    """
    split = ticket["dataset"]["split"]
    evaluation = ticket.get("evaluation", {})
    seed = int(evaluation.get("seed", 0))
    share = float(evaluation.get("calibration_share", 0.15))
    out = np.full(len(ids), FIT, dtype="U6")
    if "hash_test_share" in split:
        out[unit_interval(ids, seed, "test") < float(split["hash_test_share"])] = TEST
    else:
        if split_values is None:
            raise ValueError(f"the ticket splits by column {split['column']!r}: its values are needed")
        if len(split_values) != len(ids):
            raise ValueError(f"{len(ids)} ids but {len(split_values)} split values")
        text = np.asarray([str(value) for value in split_values], dtype=object)
        out[text == str(split["test"])] = TEST
        out[(text != str(split["test"])) & (text != str(split["train"]))] = UNUSED
    out[(out == FIT) & (unit_interval(ids, seed, "cal") < share)] = CAL
    return out
