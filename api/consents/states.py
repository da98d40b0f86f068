"""The life of a consent as far as the control plane keeps it. Expiry is a fact of the clock, not a state."""

from __future__ import annotations

from api.db import Machine

CONSENT = Machine(
    kind="consent",
    initial=frozenset({"active", "refused"}),
    transitions={
        "active": frozenset({"withdrawn"}),
        "refused": frozenset(),
        "withdrawn": frozenset(),
    },
)
