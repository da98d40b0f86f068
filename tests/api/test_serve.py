"""`creditlab serve` as a real process: TLS, first run, restart, kill −9, graceful stop, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from api.client import LabClient, LabError
from api.home import Home
from consent.keys import SigningKey
from tests.api.world import Enterprise, FakeNode
from tests.support.control_plane import ControlPlane
from tests.support.papers import PAPERS


def postgres_of(home: Path) -> list[int]:
    folder = str((home / "postgres").resolve())
    return [p.pid for p in psutil.process_iter(["cmdline"]) if folder in (p.info["cmdline"] or [])]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path / "home")
    plane.prepare()
    yield plane
    if plane.process is not None and plane.process.poll() is None:
        plane.kill()


def serve_once(plane: ControlPlane) -> subprocess.CompletedProcess[str]:
    """`creditlab serve`, expected to end by itself."""
    command = [sys.executable, "-m", "api.cli", "serve", "--home", str(plane.home), "--port", str(plane.port)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, cwd=Path(__file__).parents[2],
        env={**os.environ, **plane.environment},
    )  # fmt: skip


def test_first_run_makes_keys_and_token_and_the_second_keeps_them(plane: ControlPlane) -> None:
    started = time.monotonic()
    plane.start()
    assert time.monotonic() - started < 15  # 3 s on a quiet machine
    for name in ("keys/platform.pem", "operator.token"):
        assert (plane.home / name).stat().st_mode & 0o777 == 0o600
    key, token = (plane.home / "keys/platform.pem").read_bytes(), (plane.home / "operator.token").read_text()
    assert plane.platform_key.read_text().strip() == SigningKey.from_pem(key).public.b64
    with plane.operator as operator:
        assert operator.whoami()["roles"] == ["operator"]
        operator.add_institution("bank-a", "Bank A", "bank", PAPERS)
    assert plane.stop() == 0
    assert postgres_of(plane.home) == []

    plane.start()
    assert (plane.home / "keys/platform.pem").read_bytes() == key
    assert (plane.home / "operator.token").read_text() == token
    with plane.operator as operator:
        assert [i["id"] for i in operator.institutions()] == ["bank-a", "platform"]
    assert plane.stop() == 0
    assert token.strip() not in plane.log.read_text()


def test_kill_9_loses_nothing_leaves_no_postgres_and_restarts(plane: ControlPlane) -> None:
    plane.start()
    with plane.operator as operator:
        operator.add_institution("bank-a", "Bank A", "bank", PAPERS)
        operator.add_institution("lab", "Lab", "lab", PAPERS)
    gateway = plane.account("gateway", "platform", "gateway")
    risk, owner = plane.account("risk", "bank-a", "risk"), plane.account("owner", "lab", "data_owner")
    tokens = {n: plane.account_token(n, i, "node") for n, i in (("bank-node", "bank-a"), ("lab-node", "lab"))}

    def nodes() -> list[FakeNode]:
        found = [
            FakeNode(plane.url, tokens["bank-node"], "bank-node", "bank", "bank-a"),
            FakeNode(plane.url, tokens["lab-node"], "lab-node", "lab", "lab"),
        ]
        return found

    bank, lab = nodes()
    bank.register()
    lab.register()
    gateway.import_consents([Enterprise(f"E{i}").consent(f"c-{i}") for i in range(150)])
    agreement = {"title": "t", "sha256": "ab" * 32, "signed_on": "2026-01-05"}
    risk.propose_project(
        {"id": "p", "title": "p", "lab": "lab", "label": "bad", "agreement": agreement,
         "valid_until": "2099-01-01T00:00:00Z"}
    )  # fmt: skip
    owner.decide_project("p", "fits")
    with plane.operator as operator:
        operator.decide_project("p", "in order")
    job_id = risk.propose_job(
        {"project": "p", "dataset": "sba", "bank": "bank-a", "lab": "lab", "mode": "zone",
         "recipe": {"name": "boosting"}}
    )["id"]  # fmt: skip
    owner.approve_job(job_id, "fits")
    with plane.operator as operator:
        digest = operator.approve_job(job_id, "in order")["ticket_sha256"]
    bank.state(job_id, "running")

    postgres = postgres_of(plane.home)
    assert postgres
    plane.kill()
    deadline = time.monotonic() + 15
    while postgres_of(plane.home):
        assert time.monotonic() < deadline, "PostgreSQL outlived its parent"
        time.sleep(0.05)

    plane.start()
    with plane.operator as operator:
        job = operator.job(job_id)
        assert (job["state"], job["ticket_sha256"]) == ("running", digest)
        assert job["parties"]["bank"]["state"] == "running"
        assert operator.consent_counts()["total"]["active"] == 150
        assert [e["kind"] for e in operator.job_events(job_id)["events"]].count("state") == 3
    bank, lab = nodes()
    assert lab.wait_for("job")["ticket"]["body"]["job_id"] == job_id
    assert [e["seq"] for e in lab.feed()["events"]] == list(range(1, 151))
    assert lab.state(job_id, "running")["job_state"] == "running"
    assert plane.stop() == 0


def test_sigterm_releases_long_polls_at_once(plane: ControlPlane) -> None:
    plane.start()
    with plane.operator as operator:
        operator.add_institution("lab", "Lab", "lab", PAPERS)
    node = FakeNode(plane.url, plane.account_token("lab-node", "lab", "node"), "lab-node", "lab", "lab")
    node.register()
    answers: list[list] = []
    poll = threading.Thread(target=lambda: answers.append(node.work(wait=30)))
    poll.start()
    time.sleep(0.5)
    started = time.monotonic()
    assert plane.stop() == 0
    poll.join(5)
    assert answers == [[]], "the poll was cut instead of answered"
    assert time.monotonic() - started < 8
    assert postgres_of(plane.home) == []


def test_sigterm_while_starting_leaves_nothing(plane: ControlPlane) -> None:
    command = [sys.executable, "-m", "api.cli", "serve", "--home", str(plane.home), "--port", str(plane.port)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not postgres_of(plane.home) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert postgres_of(plane.home) == []


def test_tls_13_with_the_pinned_ca_only(plane: ControlPlane, tmp_path: Path) -> None:
    plane.start()
    context = ssl.create_default_context(cafile=str(plane.ca))
    with socket.create_connection(("127.0.0.1", plane.port)) as raw, context.wrap_socket(
        raw, server_hostname="127.0.0.1"
    ) as secure:  # fmt: skip
        assert secure.version() == "TLSv1.3"
    old = ssl.create_default_context(cafile=str(plane.ca))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", plane.port)) as raw, pytest.raises(ssl.SSLError):
        old.wrap_socket(raw, server_hostname="127.0.0.1")
    stranger = ControlPlane(tmp_path / "other")
    stranger.prepare()
    with LabClient(plane.url, stranger.ca, "x") as client, pytest.raises(LabError) as refused:
        client.whoami()
    assert refused.value.code == "unreachable"
    with httpx.Client(verify=context) as client:
        assert client.get(f"{plane.url}/readyz").status_code == 200
    plane.stop()


def test_missing_certificates_name_the_command(tmp_path: Path) -> None:
    done = serve_once(ControlPlane(tmp_path / "home"))
    assert done.returncode == 1
    assert "creditlab pki issue" in done.stderr
    assert "control.crt" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_second_one_on_the_same_folder_or_port_is_refused(plane: ControlPlane, tmp_path: Path) -> None:
    plane.start()
    second = serve_once(ControlPlane(plane.home))
    assert second.returncode == 1
    assert "another control plane serves" in second.stderr
    other = ControlPlane(tmp_path / "other", port=plane.port)
    other.prepare()
    taken = serve_once(other)
    assert taken.returncode == 1
    assert str(plane.port) in taken.stderr
    assert "Traceback" not in taken.stderr
    assert postgres_of(other.home) == []
    plane.stop()


def test_an_exposed_signing_key_is_refused(plane: ControlPlane) -> None:
    home = Home(plane.home)
    home.signing_key("ed25519")
    home.platform_key.chmod(0o644)
    done = serve_once(plane)
    assert done.returncode == 1
    assert "chmod 600" in done.stderr


def test_a_key_of_another_suite_is_refused_not_replaced(plane: ControlPlane) -> None:
    home = Home(plane.home)
    before = home.signing_key("sm2").public.b64
    done = serve_once(plane)
    assert done.returncode == 1
    assert "CREDITLAB_SUITE" in done.stderr
    assert home.signing_key("sm2").public.b64 == before


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"CREDITLAB_SUITE": "rsa"}, "CREDITLAB_SUITE"),
        ({"DATABASE_URL": "sqlite:///x.db"}, "DATABASE_URL"),
        ({"CREDITLAB_LEASE_SECONDS": "-1"}, "CREDITLAB_LEASE_SECONDS"),
        ({"CREDITLAB_PORT": "http"}, "CREDITLAB_PORT"),
    ],
)
def test_a_bad_setting_is_named(plane: ControlPlane, environment: dict[str, str], name: str) -> None:
    plane.environment = environment
    command = [sys.executable, "-m", "api.cli", "serve", "--home", str(plane.home)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 1
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_any_postgresql_server_can_be_used(plane: ControlPlane, new_database: object) -> None:
    plane.environment = {"DATABASE_URL": new_database().replace("postgresql+psycopg", "postgresql")}  # type: ignore[operator]
    plane.start()
    with plane.operator as operator:
        operator.add_institution("bank-a", "Bank A", "bank", PAPERS)
    assert not (plane.home / "postgres").exists()
    assert plane.stop() == 0


def test_a_lost_operator_token_is_made_anew(plane: ControlPlane) -> None:
    plane.start()
    old = (plane.home / "operator.token").read_text()
    plane.stop()
    (plane.home / "operator.token").unlink()
    plane.start()
    assert (plane.home / "operator.token").read_text() != old
    with plane.operator as operator:
        assert operator.whoami()["name"] == "operator"
        replaced = "replaced by the token in the platform's home"
        assert any((row["action"], row["reason"]) == ("token.end", replaced) for row in operator.audit("api_token"))
    with plane.client(old.strip()) as client, pytest.raises(LabError) as refused:
        client.whoami()
    assert refused.value.status == 401
    plane.stop()
    assert json.dumps(old.strip()) not in plane.log.read_text()
