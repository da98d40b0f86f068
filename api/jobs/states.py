"""The states of a job and of one party's part in it."""

from __future__ import annotations

from api.db import Machine

_NONE: frozenset[str] = frozenset()

JOB = Machine(
    kind="job",
    initial=frozenset({"draft", "proposed"}),
    transitions={
        "draft": frozenset({"proposed", "cancelled"}),
        "proposed": frozenset({"approved", "cancelled"}),
        "approved": frozenset({"running", "failed", "cancelled", "stopped_by_consent"}),
        "running": frozenset({"succeeded", "failed", "cancelled", "stopped_by_consent"}),
        "succeeded": _NONE,
        "failed": _NONE,
        "cancelled": _NONE,
        "stopped_by_consent": _NONE,
    },
)

PARTY = Machine(
    kind="job_party",
    initial=frozenset({"pending"}),
    transitions={
        "pending": frozenset({"running", "failed", "cancelled", "stopped_by_consent"}),
        "running": frozenset({"succeeded", "failed", "cancelled", "stopped_by_consent"}),
        "succeeded": _NONE,
        "failed": _NONE,
        "cancelled": _NONE,
        "stopped_by_consent": _NONE,
    },
)
