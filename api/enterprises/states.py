"""The lives of an enterprise's account, of the people who act for it and of their passkeys: one table each."""

from __future__ import annotations

from enum import StrEnum

from api.db import Machine


class Right(StrEnum):
    """What a person may do for the enterprise. `manage` is to name others and to remove them."""

    VIEW = "view"
    DECIDE = "decide"
    WITHDRAW = "withdraw"
    MANAGE = "manage"


# invited: on record, but nobody has proved yet to act for it (R19: verified before the first login)
ENTERPRISE = Machine(
    kind="enterprise",
    initial=frozenset({"invited", "registered"}),
    transitions={
        # registered by itself: nothing is issued before somebody has verified it (R19)
        "registered": frozenset({"invited", "rejected"}),
        "rejected": frozenset({"registered"}),
        "invited": frozenset({"active", "closed"}),
        "active": frozenset({"suspended", "closed"}),
        "suspended": frozenset({"active", "closed"}),
        "closed": frozenset(),
    },
)

PERSON = Machine(
    kind="enterprise_person",
    initial=frozenset({"invited"}),
    transitions={
        "invited": frozenset({"active", "removed"}),
        "active": frozenset({"removed"}),
        "removed": frozenset(),
    },
)

PASSKEY = Machine(
    kind="passkey",
    initial=frozenset({"active"}),
    transitions={"active": frozenset({"removed"}), "removed": frozenset()},
)

# an institution says that it has met the enterprise where it is (R12)
CERTIFICATION = Machine(
    kind="certification",
    initial=frozenset({"standing"}),
    transitions={"standing": frozenset({"revoked"}), "revoked": frozenset({"standing"})},
)

# an institution prompts, the enterprise corrects, the institution follows up (R13)
CORRECTION = Machine(
    kind="correction",
    initial=frozenset({"prompted"}),
    transitions={
        "prompted": frozenset({"corrected", "withdrawn"}),
        "corrected": frozenset({"closed", "prompted"}),
        "closed": frozenset(),
        "withdrawn": frozenset(),
    },
)
