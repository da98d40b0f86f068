"""A real control plane as a subprocess with TLS and embedded PostgreSQL, for tests that need one over the wire."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from api.client import LabClient
from enclave import pki

START_SECONDS = 30


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@dataclass
class ControlPlane:
    """`creditlab serve` over `home`. Use as a context manager, or `start` and `stop`/`kill` by hand."""

    home: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        return self.home / "pki" / "ca.crt"

    @property
    def platform_key(self) -> Path:
        """The base64 public key that nodes are given."""
        return self.home / "keys" / "platform.pub"

    @property
    def log(self) -> Path:
        return self.home / "serve.log"

    def prepare(self) -> None:
        """Certificates for loopback, from a throwaway CA beside the home folder."""
        self.home.mkdir(parents=True, exist_ok=True)
        ca = self.home.parent / f"{self.home.name}-ca"
        ca.mkdir(exist_ok=True)
        pki.create_ca(ca)
        if not (self.home / "pki" / "control.crt").exists():
            pki.issue(ca, "control", ["127.0.0.1", "localhost"], self.home / "pki")

    def start(self) -> ControlPlane:
        self.prepare()
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", "serve", "--home", str(self.home), "--port", str(self.port)],
                stdout=log,
                stderr=log,
                text=True,
                cwd=Path(__file__).parents[2],
                env={**os.environ, **self.environment},
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the control plane did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)
        return self

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> int:
        """SIGTERM; the exit code once it has gone."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL: no chance to say goodbye."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def __enter__(self) -> ControlPlane:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def client(self, token: str) -> LabClient:
        return LabClient(self.url, self.ca, token)

    @property
    def operator(self) -> LabClient:
        return self.client((self.home / "operator.token").read_text().strip())

    def account(self, name: str, institution: str, *roles: str) -> LabClient:
        """A client of a new account."""
        with self.operator as operator:
            return self.client(operator.add_account(name, institution, roles)["token"])

    def account_token(self, name: str, institution: str, *roles: str) -> str:
        with self.operator as operator:
            return operator.add_account(name, institution, roles)["token"]
