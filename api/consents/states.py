"""The life of a consent as the control plane keeps it: the table of `consent.lifecycle`, nothing of its own."""

from __future__ import annotations

from api.db import Machine
from consent.lifecycle import FIRST, TRANSITIONS

CONSENT = Machine(
    kind="consent",
    initial=frozenset(str(state) for state in FIRST.values()),
    transitions={str(state): frozenset(str(after) for after in moves.values()) for state, moves in TRANSITIONS.items()},
)
