"""The lives of a publication and of a question."""

from __future__ import annotations

from api.db import Machine

PUBLICATION = Machine(
    kind="publication",
    initial=frozenset({"draft"}),
    transitions={
        "draft": frozenset({"submitted", "withdrawn"}),
        "submitted": frozenset({"published", "returned"}),
        "returned": frozenset({"submitted", "withdrawn"}),
        "published": frozenset({"withdrawn"}),
        "withdrawn": frozenset(),
    },
)
EDITABLE = frozenset({"draft", "returned"})

QUESTION = Machine(
    kind="question",
    initial=frozenset({"asked"}),
    transitions={
        "asked": frozenset({"assigned", "answered", "withdrawn"}),
        "assigned": frozenset({"asked", "answered", "withdrawn"}),
        "answered": frozenset({"published", "kept"}),
        "published": frozenset(),
        "kept": frozenset(),
        "withdrawn": frozenset(),
    },
)
