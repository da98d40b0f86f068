"""The lives of an application about admins and of an institution's admission: one table each."""

from __future__ import annotations

from api.db import Machine

# an application to open, revoke, reset or change the admins of an institution (R2, R5)
ADMISSION = Machine(
    kind="admission",
    initial=frozenset({"submitted"}),
    transitions={
        "submitted": frozenset({"approved", "returned", "withdrawn"}),
        "approved": frozenset({"carried_out"}),
        "carried_out": frozenset(),
        "returned": frozenset(),
        "withdrawn": frozenset(),
    },
)

# agreement signed and security assessed before access; rectify or remove after (R32, R52)
ONBOARDING = Machine(
    kind="onboarding",
    initial=frozenset({"preparing", "active"}),
    transitions={
        "preparing": frozenset({"active", "removed"}),
        "active": frozenset({"rectifying", "removed"}),
        "rectifying": frozenset({"active", "removed"}),
        "removed": frozenset(),
    },
)
