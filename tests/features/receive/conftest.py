"""A running service of the real command, with certificates of a real authority."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from enclave import pki
from features.ingest import Intake
from features.store import EventStore
from tests.features.events import CATALOGUE

UNITS = ("justice-1", "tax-1", "stranger")
SETTINGS = """
host = "127.0.0.1"
port = 0
store = "store"
spool = "spool"
ca = "pki/ca.crt"
cert = "pki/intake.crt"
key = "pki/intake.key"
{more}
[[allow]]
unit = "justice-1"
source = "justice"
categories = ["administrative", "judicial"]
[[allow]]
unit = "tax-1"
source = "tax_bureau"
categories = ["tax"]
"""


@dataclass
class Service:
    """One process of `creditlab features receive` over the store in `folder`."""

    folder: Path
    more: str = ""
    port: int = 0
    process: subprocess.Popen[str] = field(init=False)

    def start(self, *program: str) -> Service:
        (self.folder / "receive.toml").write_text(SETTINGS.format(more=self.more))
        command = program or ("-m", "tests.features.receive.serve")
        self.process = subprocess.Popen(
            [sys.executable, *command, str(self.folder / "receive.toml")], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr
        for line in self.process.stderr:
            if "receiving on" in line:
                self.port = int(line.rsplit(":", 1)[1])
                break
        else:
            raise AssertionError("the service did not start")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    def context(self, unit: str | None, folder: str = "pki") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.folder / "pki" / "ca.crt")
        if unit:
            context.load_cert_chain(self.folder / folder / f"{unit}.crt", self.folder / folder / f"{unit}.key")
        return context

    def client(self, unit: str = "justice-1") -> httpx.Client:
        return httpx.Client(base_url=f"https://127.0.0.1:{self.port}", verify=self.context(unit), timeout=30)

    def push(self, body: Any, unit: str = "justice-1", wait: int = 20, **said: Any) -> httpx.Response:
        """Pushes a CSV unless `content_type` says otherwise; `said`: parameters, or headers with `header_` before."""
        headers = {name[7:].replace("_", "-"): said.pop(name) for name in list(said) if name.startswith("header_")}
        headers["Content-Type"] = said.pop("content_type", "text/csv")
        if wait:
            headers["Prefer"] = f"wait={wait}"
        params = {"source": "justice", "category": "administrative", "object": "一次测试 a test", **said}
        with self.client(unit) as client:
            return client.post("/intake/v1/batches", params=params, headers=headers, content=body)

    def get(self, path: str, unit: str = "justice-1") -> httpx.Response:
        with self.client(unit) as client:
            return client.get(path)

    @property
    def store(self) -> EventStore:
        return EventStore(self.folder / "store", CATALOGUE)

    @property
    def intake(self) -> Intake:
        return Intake(self.store)

    def records(self) -> list[str]:
        import duckdb

        snapshot = self.store.snapshot()
        files = snapshot.of("administrative")
        return (
            [one for (one,) in duckdb.sql(f"SELECT record_id FROM {snapshot.table(files)} ORDER BY ALL").fetchall()]
            if files
            else []
        )

    def left(self) -> list[str]:
        """Everything in the spool but what is settled."""
        spool = self.folder / "spool"
        return [
            path.relative_to(spool).as_posix() for name in ("drafts", "waiting") for path in (spool / name).iterdir()
        ]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intake-pki")
    for name, units in (("pki", ("intake", *UNITS)), ("foreign", ("justice-1",))):
        (folder / f"{name}-ca").mkdir()
        pki.create_ca(folder / f"{name}-ca")
        for unit in units:
            pki.issue(folder / f"{name}-ca", unit, ["127.0.0.1"], folder / name)
    return folder


@contextmanager
def site(folder: Path, certificates: Path, more: str = "") -> Iterator[Service]:
    """A folder with an empty store; the service is yet to be started, and is ended afterwards."""
    EventStore(folder / "store", CATALOGUE)
    for name in ("pki", "foreign"):
        (folder / name).symlink_to(certificates / name)
    service = Service(folder, more)
    try:
        yield service
    finally:
        if hasattr(service, "process") and service.process.poll() is None:
            service.process.kill()
            service.process.wait()


@pytest.fixture
def fresh(tmp_path: Path, certificates: Path) -> Iterator[Service]:
    with site(tmp_path, certificates) as service:
        yield service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Service]:
    """One service for all tests of a module, with small bounds."""
    more = "max_body_mb = 1\nmax_rows = 200\nbody_seconds = 2\nmax_waiting = 3"
    with site(tmp_path_factory.mktemp("intake"), certificates, more) as service:
        yield service.start()
