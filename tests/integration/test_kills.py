"""kill −9 of the control plane and of nodes at random moments of a job's life, from proposal to release (R17, R46).

Whatever is killed, the job ends in a right state, with one ticket and one release, and no event of it is lost. The
people's client repeats what it did not hear, as a bank's system does. `CREDITLAB_KILLS` sets how many (default 3).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from api.client import LabError
from tests.integration.conftest import consented, ids, write_tables
from tests.support.control_plane import free_port
from tests.support.lab import Lab, running_lab

KILLS = int(os.environ.get("CREDITLAB_KILLS", "3"))
SEED = int(os.environ.get("CREDITLAB_SEED", "20261122"))
TINY = {"name": "boosting", "params": {"rounds": 8, "max_depth": 2}}
# how a repeated act is refused that had its effect the first time
HAD = ("already_decided", "illegal_transition", "already_reviewed", "idempotency_effect_had", "conflict")
LIFE = 9.0  # seconds that a job's life takes here, roughly
pytestmark = pytest.mark.timeout(120 + 60 * KILLS)


def insist[T](act: Callable[[], T], seconds: float = 60) -> T:
    """What a careful caller does: again while the control plane is away, and for what has happened already."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except LabError as error:
            if error.status not in (0, 503) or time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def already[T](act: Callable[[], T]) -> T | None:
    """An act that may have had its effect before its answer was lost for good."""
    try:
        return insist(act)
    except LabError as error:
        if error.code in HAD:
            return None
        raise


class Life:
    """One job from proposal to release, driven while a killer is about."""

    def __init__(self, lab: Lab, bank: str) -> None:
        self.lab, self.bank = lab, bank
        self.risk = lab.clients[f"risk-{bank}"]
        self.jobs: list[str] = []

    def run(self) -> dict:
        job_id = insist(lambda: self.lab.propose("tiny", self.bank, recipe=TINY, lab=f"lab-{self.bank}"))
        for _ in range(6):
            self.jobs.append(job_id)
            for person in ("owner", "operator"):
                already(lambda who=person, one=job_id: self.lab.clients[who].approve_job(one, "in order"))
            ended = self.wait(job_id)
            if ended["state"] == "succeeded":
                return self.release(job_id)
            assert ended["state"] == "failed", ended
            assert ended["cause"]["code"], ended
            job_id = insist(lambda one=job_id: self.risk.retry_job(one, "once more"))["id"]
        raise AssertionError("six attempts and no success")

    def wait(self, job_id: str) -> dict:
        deadline = time.monotonic() + 90
        while True:
            job = insist(lambda: self.lab.clients["operator"].job(job_id))
            if job["state"] in ("succeeded", "failed", "cancelled", "stopped_by_consent"):
                return job
            assert time.monotonic() < deadline, f"the job hangs as {job['state']}"
            time.sleep(0.2)

    def release(self, job_id: str) -> dict:
        asked = already(lambda: self.risk.request_release(job_id, "to serve it"))
        releases = insist(lambda: self.lab.clients["operator"].releases())
        release_id = asked["id"] if asked else next(one["id"] for one in releases if one["job_id"] == job_id)
        for name in ("reviewer1", "reviewer2"):
            already(lambda who=name: self.lab.clients[who].review_release(release_id, "approve", "sound"))
        already(lambda: self.lab.clients["operator"].approve_release(release_id, "in order"))
        deadline = time.monotonic() + 60
        while True:
            release = insist(lambda: self.lab.clients["operator"].release(release_id))
            if release["state"] == "released":
                return release
            assert release["state"] == "approved", release
            assert time.monotonic() < deadline, "the release hangs"
            time.sleep(0.2)


def killer(lab: Lab, bank: str, draw: random.Random, stop: threading.Event, kills: list[str], most: int) -> None:
    """Kills one of the three at random moments and starts it again, until enough or the life is over."""
    while len(kills) < most and not stop.wait(draw.uniform(0.3, LIFE)):
        victim = draw.choice(["control", f"lab-{bank}", f"{bank}-node"])
        if victim == "control":
            lab.control.kill()
            lab.control.start()
        else:
            lab.nodes[victim].kill()
            lab.nodes[victim].start()
        kills.append(victim)


def proofs(lab: Lab, life: Life) -> None:
    """What the database says: one ticket for each approved job, one release, every event in its place."""
    url = f"postgresql://postgres@/postgres?host={lab.control.home / 'postgres'}"
    with psycopg.connect(url) as connection:
        for job_id in life.jobs:
            tickets = connection.execute(
                "SELECT count(*) FROM ledger_subject WHERE object_kind = 'ticket' AND object_id = %s", (job_id,)
            ).fetchone()
            assert tickets == (1,), job_id
            numbers = [
                row[0]
                for row in connection.execute("SELECT seq FROM job_events WHERE job_id = %s ORDER BY seq", (job_id,))
            ]
            assert numbers == list(range(1, len(numbers) + 1)), job_id
            moves = connection.execute(
                "SELECT to_state FROM audit WHERE object_kind = 'job' AND object_id = %s AND to_state IS NOT NULL "
                "ORDER BY seq", (job_id,),
            ).fetchall()  # fmt: skip
            states = [row[0] for row in moves]
            assert len(states) == len(set(states)), f"{job_id}: a state was entered twice: {states}"
        releases = connection.execute(
            "SELECT state, count(*) FROM releases WHERE job_id = ANY(%s) GROUP BY state", (life.jobs,)
        ).fetchall()
        assert releases == [("released", 1)]
        confirmed = connection.execute(
            "SELECT count(*) FROM release_confirmations c JOIN releases r ON r.id = c.release_id "
            "WHERE r.job_id = ANY(%s)",
            (life.jobs,),
        ).fetchone()
        assert confirmed == (2,)


def test_a_jobs_life_survives_kills_at_random_moments(tmp_path_factory: pytest.TempPathFactory) -> None:
    draw = random.Random(SEED)
    tables = write_tables(tmp_path_factory.mktemp("tables"), ids(0, 700), ids(0, 800))
    kills: list[str] = []
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        number = 0
        while len(kills) < KILLS:
            number += 1
            bank = f"bank{number}"
            lab.admit(bank)
            lab.relay_port = free_port()
            consented(lab, bank, ids(0, 700))
            lab.add_node("lab", tables / "lab", name=f"lab-{bank}")
            lab.add_node(bank, tables / "bank")
            lab.wait_nodes(f"lab-{bank}", f"{bank}-node")
            life, stop = Life(lab, bank), threading.Event()
            most = min(KILLS, len(kills) + 4)
            thread = threading.Thread(target=killer, args=(lab, bank, draw, stop, kills, most), daemon=True)
            thread.start()
            try:
                life.run()
            finally:
                stop.set()
                thread.join(60)
            proofs(lab, life)
            lab.stop()
    print(f"seed {SEED}: {len(kills)} kills over {number} lives: {kills}")
