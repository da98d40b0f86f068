"""Two lives: of what an enterprise asks for, and of each referral of it to one institution.

An application for a product has one referral; an open need has one for each institution, and each is decided apart.
"""

from __future__ import annotations

from api.db import Machine

APPLICATION = Machine(
    kind="application",
    initial=frozenset({"draft"}),
    transitions={
        "draft": frozenset({"submitted", "withdrawn"}),
        "submitted": frozenset({"pushed", "returned", "withdrawn"}),
        "returned": frozenset({"submitted", "withdrawn"}),
        "pushed": frozenset({"closed", "withdrawn"}),
        "closed": frozenset(),
        "withdrawn": frozenset(),
    },
)
EDITABLE = frozenset({"draft", "returned"})

REFERRAL = Machine(
    kind="referral",
    initial=frozenset({"received"}),
    transitions={
        "received": frozenset({"accepted", "refused", "withdrawn"}),
        "accepted": frozenset({"followed_up", "withdrawn"}),
        "followed_up": frozenset({"approved", "declined", "withdrawn"}),
        "approved": frozenset({"granted", "withdrawn"}),
        "granted": frozenset(),
        "refused": frozenset(),
        "declined": frozenset(),
        "withdrawn": frozenset(),
    },
)
# an institution has taken it up: what an enterprise may choose
TAKEN_UP = frozenset({"accepted", "followed_up", "approved", "granted"})

# the clock that runs in a state, and nowhere else (R10, R11)
CLOCK_OF = {"received": "accept", "accepted": "follow_up", "approved": "report"}
