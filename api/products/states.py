"""The life of a product: reviewed before it is seen, and reviewed again after every change."""

from __future__ import annotations

from api.db import Machine

PRODUCT = Machine(
    kind="product",
    initial=frozenset({"draft"}),
    transitions={
        "draft": frozenset({"submitted", "retired"}),
        "submitted": frozenset({"approved", "returned"}),
        "returned": frozenset({"submitted", "retired"}),
        "approved": frozenset({"on_shelf", "draft", "retired"}),
        "on_shelf": frozenset({"off_shelf"}),
        "off_shelf": frozenset({"on_shelf", "draft", "retired"}),
        "retired": frozenset(),
    },
)
# what may be changed in place: nobody relies on its text yet
EDITABLE = frozenset({"draft", "returned"})
