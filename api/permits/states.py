"""The states of a permit."""

from __future__ import annotations

from api.db import Machine

_NONE: frozenset[str] = frozenset()

PERMIT = Machine(
    kind="permit",
    initial=frozenset({"pending"}),
    transitions={
        "pending": frozenset({"answered", "failed", "expired"}),
        "answered": _NONE,
        "failed": _NONE,
        "expired": _NONE,
    },
)
