"""A push is received whole or not at all, and taken in once, whenever the service ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from features.ingest import Intake
from features.receive.desk import ATTEMPTS, Desk
from features.receive.refused import SettingsRefused
from features.receive.spool import Pushed, Spool
from features.store import EventStore, StoreRefused
from tests.features.events import CATALOGUE
from tests.features.ingest.desk import penalty
from tests.features.receive.conftest import Service
from tests.features.receive.test_push import csv

_PLACES = {
    "before the first attempt": "features.receive.spool.Spool.attempt",
    "before the batch is pending": "features.ingest.log.Log._replace",
    "before the store's commit": "features.store.manifest.append",
    "after the store's commit": "features.ingest.log._outcome",
    "after the entry": "features.receive.spool.Spool.settle",
    "before the data is let go": "features.receive.spool.Spool.forget",
}


def desk_at(folder: Path) -> Desk:
    intake = Intake(EventStore(folder / "store", CATALOGUE))
    return Desk(intake, Spool(folder / "spool"), max_rows=100, max_bytes=1 << 20, max_waiting=5)


def receive(desk: Desk, name: str = "a" * 32) -> Pushed:
    draft = desk.spool.draft()
    (draft / "data.csv").write_bytes(csv(penalty("1"), penalty("bad", serious="x")))
    batch = Pushed(name, "justice-1", "justice", "administrative", "a", "csv", "utf-8", False, "2024-03-12T09:30:00")
    assert desk.spool.receive(draft, batch)
    return batch


def work(desk: Desk) -> None:
    """The desk's own work until nothing waits."""

    async def until_done() -> None:
        desk.resume()
        task = asyncio.create_task(desk.run())
        async with asyncio.timeout(10):
            while desk.waiting:
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(until_done())


@pytest.mark.parametrize("place", list(_PLACES))
def test_a_batch_that_was_received_is_taken_in_once_however_the_service_ends(tmp_path: Path, place: str) -> None:
    """R37: killed at any moment, the next service finishes the work; there is one record of the collection."""
    module, _, name = _PLACES[place].rpartition(".")
    program = textwrap.dedent(f"""
        import os, pkgutil, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path.cwd())!r})
        from tests.features.receive.test_killed import desk_at, receive
        desk = desk_at(Path({str(tmp_path)!r}))
        with desk.spool.alone():
            batch = receive(desk)
            def die(*arguments, **more):
                os.kill(os.getpid(), signal.SIGKILL)
            setattr(pkgutil.resolve_name({module!r}), {name!r}, die)
            desk.take(batch)
    """)
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    desk = desk_at(tmp_path)
    with desk.spool.alone():
        work(desk)
    settled = desk.spool.find("a" * 32)
    assert settled is not None
    [entry] = desk.intake.log.entries("collection")
    assert (settled.state, settled.seq) == ("taken", entry.seq)
    assert (entry.counts["written"], entry.counts["held"]) == (1, {"invalid": 1})
    assert list((tmp_path / "spool" / "waiting").iterdir()) == []
    desk.intake.log.verify()


def test_a_service_killed_while_a_body_arrives_leaves_nothing(fresh: Service) -> None:
    """R37: what was not received whole was never there."""
    fresh.start()
    body = csv(penalty("half"))
    with (
        socket.create_connection(("127.0.0.1", fresh.port)) as plain,
        fresh.context("justice-1").wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        head = "POST /intake/v1/batches?source=justice&category=administrative&object=a HTTP/1.1\r\nHost: x\r\n"
        stream.sendall(f"{head}Content-Type: text/csv\r\nContent-Length: {len(body) + 1}\r\n\r\n".encode() + body)
        until = time.monotonic() + 5
        while not fresh.left() and time.monotonic() < until:
            time.sleep(0.01)
        assert len(fresh.left()) == 1
        assert fresh.stop(signal.SIGKILL) == -signal.SIGKILL
    fresh.start()
    assert fresh.left() == []
    assert (fresh.records(), fresh.intake.log.entries()) == ([], [])
    promised = fresh.push(csv(penalty("whole")), wait=0, header_idempotency_key="k").json()
    assert fresh.stop(signal.SIGKILL) == -signal.SIGKILL
    fresh.start()
    until = time.monotonic() + 10
    while fresh.get(f"/intake/v1/batches/{promised['id']}").json()["state"] == "received" and time.monotonic() < until:
        time.sleep(0.05)
    again = fresh.push(csv(penalty("whole")), header_idempotency_key="k").json()
    assert (again["state"], len(fresh.intake.log.entries()), fresh.records()) == ("taken", 1, ["whole"])
    assert fresh.stop() == -signal.SIGTERM


def test_a_batch_that_cannot_be_processed_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = desk_at(tmp_path)
    with desk.spool.alone(), monkeypatch.context() as patched:
        batch = receive(desk)
        patched.setattr(Intake, "ingest", _raise(RuntimeError("a fault of ours")))
        for _ in range(ATTEMPTS):
            with pytest.raises(RuntimeError):
                desk.take(batch)
        desk.take(batch)
    settled = desk.spool.find(batch.id)
    assert settled is not None and settled.problem is not None
    assert (settled.state, settled.problem["code"]) == ("refused", "push_failed")


@pytest.mark.parametrize("lack", [OSError(28, "No space left on device"), StoreRefused("store_damaged", "x", "x")])
def test_a_batch_waits_for_a_store_that_cannot_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lack: Exception
) -> None:
    desk = desk_at(tmp_path)
    with desk.spool.alone():
        batch = receive(desk)
        with monkeypatch.context() as patched:
            patched.setattr(Intake, "ingest", _raise(lack))
            for _ in range(ATTEMPTS + 2):
                with pytest.raises(type(lack)):
                    desk.take(batch)
        desk.take(batch)
    settled = desk.spool.find(batch.id)
    assert settled is not None and settled.state == "taken"


def test_two_services_do_not_share_a_spool(tmp_path: Path) -> None:
    with Spool(tmp_path).alone(), pytest.raises(SettingsRefused, match="another service"), Spool(tmp_path).alone():
        pass


def _raise(error: Exception) -> object:
    def refuse(*arguments: object, **more: object) -> None:
        raise error

    return refuse
