"""What a release has become, as the ledger is told: the signed order at its approval, its state afterwards."""

from __future__ import annotations

from api.db import Unit
from api.ledger import service as ledger
from api.releases.repository import Release
from consent.ledger import Kind
from consent.times import stamp


def record(unit: Unit, release: Release) -> None:
    """Adds the ledger entry of a release that has just been approved, released or recalled, to this transaction."""
    of = ("release", f"{release.id}/{release.state}")
    if release.state == "approved":
        assert release.release_order is not None
        ledger.append(unit, Kind.RELEASE, release.release_order, of=of)
        return
    document = {
        "type": "release_state",
        "version": 1,
        "release_id": release.id,
        "job_id": release.job_id,
        "sha256": release.sha256,
        "state": release.state,
        "cause": release.cause,
        "at": stamp(unit.now),
    }
    ledger.append(unit, Kind.RELEASE, document, of=of, keep=True)
