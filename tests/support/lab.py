"""A whole lab on one machine for tests: control plane, lab node, bank nodes, enterprises' consents. Real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from api.client import LabClient
from consent import artefact, templates
from consent.keys import SigningKey
from consent.signed import sign
from consent.times import stamp
from enclave import pki
from enclave.processes import alive, tree
from tests.support.control_plane import ControlPlane, free_port
from tests.support.papers import PAPERS

PROJECT = Path(__file__).parents[2]
CREDITLAB = str(Path(sys.executable).with_name("creditlab"))


@dataclass
class Enterprises:
    """Keys and consents of the enterprises of one test."""

    keys: dict[str, SigningKey] = field(default_factory=dict)
    consents: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _number: int = 0

    def consent(
        self,
        enterprise: str,
        bank: str,
        purpose: str = "joint_training",
        kind: str = "consent",
        valid: int = 3600,
        **terms: object,
    ) -> bytes:
        self._number += 1
        key = self.keys.setdefault(enterprise, SigningKey.generate())
        now = datetime.now(UTC)
        fields = {
            "consent_id": f"c-{bank}-{self._number}",
            "enterprise": enterprise,
            "recipient": bank,
            "provider": "lab",
            "valid_from": stamp(now - timedelta(seconds=60)),
            "valid_until": stamp(now + timedelta(seconds=valid)),
            "given_at": stamp(now),
            "evidence": {"kind": "import", "reference": "0" * 64},
            **templates.terms(purpose),
            **terms,
        }
        body = artefact.consent(**fields) if kind == "consent" else artefact.refusal(**fields)
        self.consents[(enterprise, bank, purpose)] = body["consent_id"]
        return json.dumps(sign(body, key, "enterprise")).encode() + b"\n"

    def withdrawal(self, enterprise: str, bank: str, purpose: str = "joint_training") -> bytes:
        body = artefact.withdrawal(
            consent_id=self.consents[(enterprise, bank, purpose)],
            enterprise=enterprise,
            at=stamp(datetime.now(UTC)),
        )
        return json.dumps(sign(body, self.keys[enterprise], "enterprise")).encode() + b"\n"


@dataclass
class Node:
    """One node process. `settings` are further lines of node.toml."""

    name: str
    folder: Path
    process: subprocess.Popen | None = None

    @property
    def log(self) -> Path:
        return self.folder / "node.log"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> Node:
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [CREDITLAB, "node", "run", "--config", str(self.folder / "node.toml")],
                stdout=log,
                stderr=log,
                cwd=PROJECT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary)},
            )
        return self

    def processes(self) -> list[int]:
        assert self.process is not None
        return [pid for pid in tree(self.process.pid) if pid != self.process.pid and alive(pid)]

    def stop(self) -> None:
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        self.kill()

    def kill(self) -> None:
        if self.running:
            self.process.kill()
            self.process.wait(10)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)


@dataclass
class Lab:
    """Starts everything under `root`; nodes are made with `add_node` and belong to the test."""

    root: Path
    control: ControlPlane
    nodes: dict[str, Node] = field(default_factory=dict)
    clients: dict[str, LabClient] = field(default_factory=dict)
    relay_port: int = field(default_factory=free_port)

    @property
    def ca(self) -> Path:
        return self.control.home.parent / f"{self.control.home.name}-ca"

    def admit(self, bank: str = "bank_a") -> None:
        operator = self.control.operator
        known = {one["id"] for one in operator.institutions()}
        if "lab" not in known:
            operator.add_institution("lab", "Public credit lab", "lab", PAPERS)
            self.clients["owner"] = self.control.account("owner", "lab", "data_owner")
            for name in ("reviewer1", "reviewer2"):
                self.clients[name] = self.control.account(name, "platform", "reviewer")
            self.clients["gateway"] = self.control.account("gateway", "platform", "gateway")
            self.clients["operator"] = operator
        if bank not in known:
            operator.add_institution(bank, bank, "bank", PAPERS)
            self.clients[f"risk-{bank}"] = self.control.account(f"risk-{bank}", bank, "risk")
            self._agree(bank)

    def _agree(self, bank: str) -> None:
        """An active project of the bank and the lab, named after the bank."""
        now = datetime.now(UTC)
        agreement = {"title": "test", "sha256": "ab" * 32, "signed_on": str(now.date())}
        self.clients[f"risk-{bank}"].propose_project(
            {
                "id": f"test-{bank}", "title": "test", "lab": "lab", "label": "as in the bank's table",
                "agreement": agreement, "valid_until": stamp(now + timedelta(days=30)),
            }
        )  # fmt: skip
        self.clients["owner"].decide_project(f"test-{bank}", "our data fit")
        self.clients["operator"].decide_project(f"test-{bank}", "in order")

    def add_node(
        self,
        institution: str,
        data: Path,
        *,
        name: str | None = None,
        party: str | None = None,
        relay_port: int | None = None,
        limits: str = "",
        certificate: tuple[Path, Path] | None = None,
        start: bool = True,
    ) -> Node:
        """A node of `institution` ("lab" or a bank), registered with an account of its own name."""
        role = "lab" if institution == "lab" else "bank"
        name = name or f"{institution}-node"
        folder = self.root / name
        folder.mkdir(parents=True)
        token = self.control.account_token(name, institution, "node")
        (folder / "token").write_text(token)
        (folder / "token").chmod(0o600)
        cert, key = certificate or pki.issue(self.ca, name, ["127.0.0.1", "localhost"], folder / "pki")
        lines = {
            "name": name,
            "institution": institution,
            "role": role,
            "data": str(data.resolve()),
            "control_url": self.control.url,
            "ca": str(self.control.ca),
            "cert": str(cert),
            "key": str(key),
            "token_file": "token",
            "platform_key": str(self.control.platform_key),
            "state_dir": "state",
        }
        if role == "lab":
            lines["relay"] = f"127.0.0.1:{relay_port or self.relay_port}"
        if party:
            lines["party"] = party
        text = "\n".join(f'{key} = "{value}"' for key, value in lines.items())
        (folder / "node.toml").write_text(f"{text}\n{limits}\n")
        node = Node(name, folder)
        self.nodes[name] = node
        if start:
            node.start()
        return node

    def wait_nodes(self, *names: str, seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not set(names) <= {one["name"] for one in self.clients["operator"].nodes()}:
            for name in names:
                process = self.nodes[name].process
                assert process is not None
                assert process.poll() is None, self.nodes[name].log.read_text()[-2000:]
            assert time.monotonic() < deadline, "nodes did not register"
            time.sleep(0.2)

    def consent(self, documents: Iterable[bytes]) -> dict:
        return self.clients["gateway"].import_consents(list(documents))

    def propose(self, data: str, institution: str = "bank_a", **changes: object) -> str:
        """A job of a bank with the lab; its id. `changes` are fields of the proposal, `bank` and `lab` its nodes."""
        proposal = {
            "project": f"test-{institution}",
            "dataset": data,
            "bank": f"{institution}-node",
            "lab": "lab-node",
            "mode": "zone",
            "recipe": {"name": "boosting", "params": {}},
            "evaluation": {"bootstrap": 50},
            "reason": "test",
        }
        job = self.clients[f"risk-{institution}"].propose_job({**proposal, **changes})
        return job["id"]

    def approve(self, job_id: str) -> None:
        self.clients["owner"].approve_job(job_id, "fit for purpose")
        self.clients["operator"].approve_job(job_id, "in order")

    def run(self, data: str, institution: str = "bank_a", seconds: float = 240, **changes: object) -> dict:
        job_id = self.propose(data, institution, **changes)
        self.approve(job_id)
        return self.wait(job_id, seconds)

    def wait(self, job_id: str, seconds: float = 240) -> dict:
        return self.clients["operator"].wait_job(job_id, seconds)

    def wait_phase(self, job_id: str, phase: str, seconds: float = 120) -> None:
        """Until a node reports that `phase` has started."""
        deadline, after = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            page = self.clients["operator"].job_events(job_id, after=after, wait=1)
            for event in page["events"]:
                after = max(after, event["seq"])
                if event["kind"] == "phase" and event.get("phase") == phase:
                    return
            assert page["state"] in ("approved", "running"), page
        raise AssertionError(f"{phase} did not start")

    def stop(self, but: Iterable[str] = ()) -> None:
        """Stops and forgets every node but those of these names."""
        for name in self.nodes.keys() - set(but):
            self.nodes.pop(name).stop()


@contextlib.contextmanager
def running_lab(root: Path) -> Iterator[Lab]:
    """A control plane with the lab's and one bank's institutions admitted, and no node yet."""
    control = ControlPlane(root / "control", environment={"CREDITLAB_PORTAL_SESSION_CODE": "true"}).start()
    lab = Lab(root, control)
    try:
        lab.admit()
        yield lab
    finally:
        lab.stop()
        control.stop()
