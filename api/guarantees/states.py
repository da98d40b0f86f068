"""The life of an invitation to stand for an application."""

from __future__ import annotations

from api.db import Machine

GUARANTEE = Machine(
    kind="guarantee",
    initial=frozenset({"invited"}),
    transitions={
        "invited": frozenset({"accepted", "refused", "withdrawn"}),
        "accepted": frozenset({"withdrawn"}),
        "refused": frozenset(),
        "withdrawn": frozenset(),
    },
)
