"""Runs the table of works on DBOS, in this process, over the control plane's own PostgreSQL.

DBOS keeps each flow's finished parts in its own schema, so a killed process goes on where it was when it is started
again, and another worker on the same database goes on with what a lost one left behind. Values are kept as JSON, and
only names and moments are. Owns the workers' heartbeats; what a part does belongs to its noun.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timedelta
from typing import Any

from dbos import DBOS, SetWorkflowID
from dbos._serialization import DBOSPortableJSON

from api.control import Control
from api.db import SYSTEM
from api.errors import Unavailable
from api.flows import repository
from api.flows.work import WORKS

log = logging.getLogger("creditlab.flows")

ZONE = "Asia/Shanghai"
# flows of another version are left to a worker of that version: raise it when a plan's parts change their meaning
VERSION = "1"
_CLEANING = 3600.0  # seconds between two cleanings
_BEAT = 1.0  # seconds between heartbeats
_KEPT = timedelta(days=30)  # finished flows


class PartsFailed(Exception):
    """Some parts of a flow failed for good; the others were done."""


_running: Flows | None = None


def _control() -> Control:
    if _running is None:
        raise Unavailable("this process runs no flows", "本进程未运行后台流程", code="flows_not_running")
    return _running.control


@DBOS.step(name="plan")
def _plan(name: str, at: str) -> list[str]:
    return WORKS[name].plan(_control(), datetime.fromisoformat(at))


@DBOS.step(name="part", retries_allowed=True, max_attempts=4, interval_seconds=1.0, backoff_rate=3.0)
def _part(name: str, at: str, part: str) -> str:
    return WORKS[name].do(_control(), datetime.fromisoformat(at), part)


@DBOS.workflow(name="work")
def _work(at: datetime | str, name: str) -> dict[str, str]:
    """One run of a work: its parts in order, each remembered. One that fails for good does not hold up the rest."""
    moment = at if isinstance(at, str) else at.isoformat()
    outcomes: dict[str, str] = {}
    failed: list[str] = []
    for part in _plan(name, moment):
        try:
            outcomes[part] = _part(name, moment, part)
        except Exception as error:
            log.error("flow %s, part %s failed for good: %s", name, part, type(error).__name__, exc_info=error)
            failed.append(part)
    if failed:
        raise PartsFailed(f"{name}: {len(failed)} of {len(failed) + len(outcomes)} parts failed: {', '.join(failed)}")
    return outcomes


class Flows:
    """The engine of this process; one at a time. `name` is this worker's, the same after a restart."""

    def __init__(self, control: Control, name: str) -> None:
        self.control, self.name = control, name
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None

    def launch(self) -> None:
        """Starts the engine, takes up what was interrupted, and puts the table's schedules in force."""
        global _running
        if _running is not None:
            raise RuntimeError("a process runs one engine of flows")
        _running = self
        url = self.control.db.url
        DBOS(
            config={
                "name": "creditlab",
                "system_database_url": url,
                "application_version": VERSION,
                "executor_id": self.name,
                "serializer": DBOSPortableJSON,
                "log_level": "WARNING",
                "sys_db_pool_size": 5,
                "max_executor_threads": 8,
            }
        )
        for handler in list(logging.getLogger("dbos").handlers):  # its own format would stand between our lines
            logging.getLogger("dbos").removeHandler(handler)
        logging.getLogger("dbos").propagate = True
        self._beat()
        DBOS.launch()
        DBOS.apply_schedules(
            [
                {
                    "schedule_name": work.name,
                    "workflow_fn": _work,
                    "schedule": work.cron,
                    "context": work.name,
                    "automatic_backfill": work.backfill,
                    "cron_timezone": ZONE,
                }
                for work in WORKS.values()
            ]
        )
        self._beating = threading.Thread(target=self._watch, name="creditlab-flows", daemon=True)
        self._beating.start()

    def close(self) -> None:
        global _running
        self._stop.set()
        if self._beating is not None:
            self._beating.join(_BEAT + 3)
        DBOS.destroy()
        _running = None

    def _beat(self) -> None:
        with self.control.db.unit(SYSTEM) as unit:
            repository.heard(unit.session, self.name, unit.now)

    def _watch(self) -> None:
        """Says that this worker lives, goes on with what a lost one left behind, and drops what ended long ago."""
        cleaned = float("-inf")
        while not self._stop.wait(_BEAT):
            try:
                self._beat()
                self._adopt()
                if time.monotonic() - cleaned > _CLEANING:
                    _forget(self.control.db.clock())
                    cleaned = time.monotonic()
            except Exception as error:
                log.error("flows: the watch could not work, trying again: %s", type(error).__name__)

    def _adopt(self) -> None:
        lost_after = timedelta(seconds=self.control.settings.worker_lost_seconds)
        with self.control.db.read(SYSTEM) as session:
            lost = list(repository.silent_since(session, self.control.db.clock() - lost_after))
        if not lost:
            return
        for flow in DBOS.list_workflows(status="PENDING", executor_id=lost, load_input=False, load_output=False):
            log.warning("flow %s is taken over from %s", flow.workflow_id, flow.executor_id)
            DBOS.resume_workflow(flow.workflow_id)


def start(name: str, at: datetime) -> str:
    """Runs a work now, as of `at`; the flow's id, the same for the same work and moment. Raises Unavailable."""
    _control()
    flow_id = f"now-{name}-{at.isoformat()}"
    with SetWorkflowID(flow_id):
        DBOS.start_workflow(_work, at.isoformat(), name)
    return flow_id


def recent(limit: int) -> list[dict[str, Any]]:
    """The newest flows with how they stand. Raises Unavailable."""
    _control()
    return [
        {
            "id": flow.workflow_id,
            "name": flow.input["args"][1],
            "status": flow.status,
            "worker": flow.executor_id,
            "started_at": flow.created_at,
            "parts": flow.output if isinstance(flow.output, dict) else None,
            "fault": str(flow.error) if flow.error is not None else None,
        }
        for flow in DBOS.list_workflows(name="work", limit=limit, sort_desc=True)
    ]


def _forget(now: datetime) -> None:
    """Drops flows that ended long ago."""
    before = (now - _KEPT).isoformat()
    old = DBOS.list_workflows(
        status=["SUCCESS", "ERROR", "CANCELLED"], completed_before=before, limit=1000, load_input=False,
        load_output=False,
    )  # fmt: skip
    if old:
        DBOS.delete_workflows([flow.workflow_id for flow in old])
