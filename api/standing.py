"""How the platform stands now, in numbers, for its metrics: counts by state, queues and backlogs. Names nobody."""

from __future__ import annotations

import sqlalchemy as sa

from api.consents.repository import Consent
from api.control import Control
from api.db import SYSTEM
from api.incidents.repository import Incident
from api.jobs.repository import Job
from api.releases.repository import Release
from api.web.metrics import Gauges


def gauges(control: Control) -> Gauges:
    with control.db.read(SYSTEM) as session:
        found: Gauges = {}
        for name, table in (("jobs", Job), ("releases", Release), ("consents", Consent), ("incidents", Incident)):
            rows = session.execute(sa.select(table.state, sa.func.count()).group_by(table.state))
            found[f"creditlab_{name}"] = (f"{name.capitalize()} by state.", "state", {s: float(n) for s, n in rows})
    pool = control.db.engine.pool
    found["creditlab_database_connections"] = (
        "Connections of this process.", "use", {"busy": float(pool.checkedout())},  # type: ignore[attr-defined]
    )  # fmt: skip
    return found
