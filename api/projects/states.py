"""The life of a project: proposed by a bank, agreed by the lab's data owner and the operator, closed for good."""

from __future__ import annotations

from api.db import Machine

PROJECT = Machine(
    kind="project",
    initial=frozenset({"proposed"}),
    transitions={
        "proposed": frozenset({"active", "rejected", "withdrawn"}),
        "active": frozenset({"closed"}),
        "rejected": frozenset(),
        "withdrawn": frozenset(),
        "closed": frozenset(),
    },
)
