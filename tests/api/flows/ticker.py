"""A worker of its own for tests: runs a work every second for some seconds. Not a test itself.

Usage: ticker.py DATABASE_URL NAME SECONDS
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import cast

from api.control import Control, utc_now
from api.db import SYSTEM, Database
from api.flows import runtime, work
from api.settings import Settings

url, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])


def tick(control: Control, at: datetime, part: str) -> str:
    with control.db.unit(SYSTEM) as unit:
        unit.note("tick", "test", at.isoformat(), part, detail={"worker": name})
    return name


work.WORKS.clear()
work.WORKS["tick"] = work.Work("tick", "Tick", "滴答", "* * * * * *", tick)
database = Database(url, utc_now)


class Few:
    """As much of a control plane as flows need."""

    db = database
    settings = Settings(home=Path("unused"), worker_lost_seconds=3)


flows = runtime.Flows(cast(Control, Few()), name)
flows.launch()
print("running", flush=True)
time.sleep(seconds)
flows.close()
