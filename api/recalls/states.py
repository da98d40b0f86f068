"""The states of a retraining notice."""

from __future__ import annotations

from api.db import Machine

_NONE: frozenset[str] = frozenset()

NOTICE = Machine(
    kind="retraining_notice",
    initial=frozenset({"open"}),
    transitions={
        "open": frozenset({"retrained", "closed"}),
        "retrained": _NONE,
        "closed": _NONE,
    },
)
