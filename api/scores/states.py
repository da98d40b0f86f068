"""The states of a permit to score."""

from __future__ import annotations

from api.db import Machine

_NONE: frozenset[str] = frozenset()

PERMIT = Machine(
    kind="score_permit",
    initial=frozenset({"pending"}),
    transitions={
        "pending": frozenset({"answered", "failed", "expired"}),
        "answered": _NONE,
        "failed": _NONE,
        "expired": _NONE,
    },
)
