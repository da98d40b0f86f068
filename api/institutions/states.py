"""The standing of an institution that was sanctioned. One without a standing on record is active."""

from __future__ import annotations

from api.db import Machine

STANDING = Machine(
    kind="institution_standing",
    initial=frozenset({"suspended", "removed"}),
    transitions={
        "active": frozenset({"suspended", "removed"}),
        "suspended": frozenset({"active", "removed"}),
        "removed": frozenset(),
    },
)
