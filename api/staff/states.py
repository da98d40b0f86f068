"""The lives of a person's account, of its passkeys and of a sanction against it: one table each."""

from __future__ import annotations

from api.db import Machine

STAFF = Machine(
    kind="staff",
    initial=frozenset({"invited"}),
    transitions={
        "invited": frozenset({"active", "cancelled"}),
        "active": frozenset({"invited", "cancelled"}),  # invited again: the password was reset
        "cancelled": frozenset(),
    },
)

STAFF_PASSKEY = Machine(
    kind="staff_passkey",
    initial=frozenset({"active"}),
    transitions={"active": frozenset({"removed"}), "removed": frozenset()},
)

ACCOUNT_SANCTION = Machine(
    kind="account_sanction",
    initial=frozenset({"in_force"}),
    transitions={"in_force": frozenset({"lifted", "ended"}), "lifted": frozenset(), "ended": frozenset()},
)
