"""The states of a dispute or complaint."""

from __future__ import annotations

from api.db import Machine

DISPUTE = Machine(
    kind="dispute",
    initial=frozenset({"open"}),
    transitions={
        "open": frozenset({"answered", "withdrawn"}),
        "answered": frozenset({"open", "closed", "withdrawn"}),
        "closed": frozenset(),
        "withdrawn": frozenset(),
    },
)
# the clock runs or the enterprise has not accepted the answer yet
PENDING = frozenset({"open", "answered"})
