"""The states of a release."""

from __future__ import annotations

from api.db import Machine

_NONE: frozenset[str] = frozenset()

RELEASE = Machine(
    kind="release",
    initial=frozenset({"pending", "submitted"}),
    transitions={
        "pending": frozenset({"submitted"}),
        "submitted": frozenset({"partially_reviewed", "rejected", "withdrawn"}),
        "partially_reviewed": frozenset({"reviewed", "rejected", "withdrawn"}),
        "reviewed": frozenset({"approved", "returned", "rejected", "withdrawn"}),
        "approved": frozenset({"released", "returned", "rejected"}),
        "released": frozenset({"recalled"}),
        "returned": _NONE,
        "rejected": _NONE,
        "withdrawn": _NONE,
        "recalled": _NONE,
    },
)

# a release in one of these stands in the way of another for the same job
OPEN = frozenset({"pending", "submitted", "partially_reviewed", "reviewed", "approved", "released"})
# both reviews are in: they may be shown
UNBLINDED = frozenset({"reviewed", "approved", "released", "returned", "recalled"})
