"""The states of a webhook."""

from __future__ import annotations

from api.db import Machine

WEBHOOK = Machine(
    kind="webhook",
    initial=frozenset({"active"}),
    transitions={
        "active": frozenset({"removed"}),
        "removed": frozenset(),
    },
)
