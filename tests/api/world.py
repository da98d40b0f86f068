"""A control plane in this process over plain HTTP on loopback, with people, a bank, a lab and two fake nodes.

The database is a real PostgreSQL, fresh for each world. The clock can be moved. A fake node talks HTTP exactly as
a real one does and computes nothing.
"""

from __future__ import annotations

import functools
import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import pyotp
import uvicorn

from api.app import create_app
from api.auth import new_token
from api.client import LabClient
from api.control import Control
from api.db import Database
from api.hub import Hub
from api.institutions.service import install_operator
from api.platform_keys import founded
from api.platform_secret import PlatformSecret
from api.settings import Settings
from api.workdays import local_day
from consent import artefact, templates
from consent.canonical import digest
from consent.keyring import Keyring
from consent.keys import SigningKey
from consent.signed import sign
from consent.times import stamp
from enclave import pki
from tests.api import recording
from tests.api.recording import Recorder
from tests.support.control_plane import free_port
from tests.support.papers import PAPERS

if TYPE_CHECKING:
    from tests.api.conftest import Databases

SHA = "ab" * 32
COLUMNS = [{"name": "age", "kind": "numeric"}, {"name": "state", "kind": "categorical"}]


_CA_FOLDER = tempfile.TemporaryDirectory(prefix="creditlab-test-ca-")  # goes with the process


@functools.cache
def any_ca() -> Path:
    """The client wants a CA; over plain HTTP any will do, and a small one is read quickly."""
    return pki.create_ca(Path(_CA_FOLDER.name))


class Clock:
    """Now, and as much later as a test says."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


class Client(LabClient):
    """As a test writes it: an institution comes with its papers unless it says otherwise."""

    def add_institution(self, id: str, name: str, kind: str, papers: Any = PAPERS) -> dict[str, Any]:
        return super().add_institution(id, name, kind, papers)


@dataclass
class Enterprise:
    """One enterprise's key and what it signs."""

    name: str
    key: SigningKey = field(default_factory=SigningKey.generate)

    def consent(
        self,
        consent_id: str,
        purpose: str = "joint_training",
        recipient: str = "bank-a",
        provider: str = "lab",
        kind: Callable[..., dict[str, Any]] = artefact.consent,
        **changes: Any,
    ) -> bytes:
        now = datetime.now(UTC)
        fields = {
            **templates.terms(purpose),
            "valid_from": stamp(now - timedelta(days=30)),
            "valid_until": stamp(now + timedelta(days=300)),
            "given_at": stamp(now),
            "evidence": {"kind": "import", "reference": "0" * 64},
        }
        body = kind(
            consent_id=consent_id,
            enterprise=self.name,
            recipient=recipient,
            provider=provider,
            **{**fields, **changes},
        )
        return json.dumps(sign(body, self.key, "enterprise")).encode()

    def refusal(self, consent_id: str, **more: Any) -> bytes:
        return self.consent(consent_id, kind=artefact.refusal, **more)

    def transition(self, before: bytes, action: str) -> bytes:
        """The transition that follows a signed document of this enterprise."""
        body = json.loads(before)["body"]
        moved = artefact.transition(
            consent_id=body["consent_id"],
            enterprise=self.name,
            action=action,
            at=stamp(datetime.now(UTC)),
            sequence=body.get("sequence", 0) + 1,
            previous=digest(body),
        )
        return json.dumps(sign(moved, self.key, "enterprise")).encode()

    def withdrawal(self, consent_id: str, key: SigningKey | None = None) -> bytes:
        body = artefact.withdrawal(consent_id=consent_id, enterprise=self.name, at=stamp(datetime.now(UTC)))
        return json.dumps(sign(body, key or self.key, "enterprise")).encode()


PASSWORD = "Ferry-Lantern-71"


def admin_of(login: str, name: str, contact: str, op: str = "open") -> dict[str, str]:
    return {"login": login, "name": name, "post": "信贷管理部 主管", "contact": contact, "op": op}


@dataclass
class Signed:
    """A person who is signed in with a second factor."""

    token: str
    session_id: str
    totp: pyotp.TOTP
    client: LabClient


class FakeNode:
    """Speaks to the control plane as a node does."""

    def __init__(self, url: str, token: str, name: str, role: str, institution: str) -> None:
        self.name, self.role, self.institution = name, role, institution
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30, verify=False)

    def dataset(self, name: str = "sba") -> dict[str, Any]:
        data: dict[str, Any] = {"name": name, "title": "SME loans", "id": "ent_id", "as_of": "as_of", "rows": 1000}
        data["columns"] = COLUMNS
        if self.role == "bank":
            data |= {"label": "bad", "split": {"column": "split", "train": "train", "test": "oot"}}
        return data

    def register(self, **changes: Any) -> dict[str, Any]:
        body: dict[str, Any] = {"role": self.role, "institution": self.institution, "datasets": [self.dataset()]}
        if self.role == "lab":
            body |= {"relay": "127.0.0.1:9443", "zone_key": "A" * 43 + "="}
        answer = self.http.put("/v1/nodes/self", json={**body, **changes})
        answer.raise_for_status()
        return answer.json()

    def work(self, wait: float = 0, **more: Any) -> list[dict[str, Any]]:
        answer = self.http.get("/v1/node/work", params={"wait": wait, **more})
        answer.raise_for_status()
        return answer.json()["items"]

    def wait_for(self, kind: str, seconds: float = 5) -> dict[str, Any]:
        """The next work item of `kind`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for item in self.work(wait=min(1.0, seconds)):
                if item["kind"] == kind:
                    return item
        raise AssertionError(f"{self.name}: no work of kind {kind} within {seconds} s")

    def feed(self, after: int = 0, limit: int = 5000) -> dict[str, Any]:
        answer = self.http.get("/v1/feed", params={"after": after, "limit": limit})
        answer.raise_for_status()
        return answer.json()

    def tell(self, job_id: str, *events: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.post(f"/v1/node/jobs/{job_id}/events", json={"events": list(events)})
        answer.raise_for_status()
        return answer.json()

    def state(self, job_id: str, state: str, code: str = "", message: str = "") -> dict[str, Any]:
        event = {"kind": "state", "state": state}
        if code:
            event |= {"code": code, "message": message or code, "message_zh": f"原因 {code}"}
        return self.tell(job_id, event)

    def report(self, job_id: str, sha256: str = SHA, report: dict[str, Any] | None = None) -> httpx.Response:
        body = {"report": report or {"models": {"joint": {"auc": 0.62}}}, "model_sha256": sha256}
        return self.http.put(f"/v1/node/jobs/{job_id}/report", json=body)

    def release(self, release_id: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/v1/node/releases/{release_id}", json={"state": "released", "bytes": 1234, **body})

    def answer(self, permit_id: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/v1/node/scores/{permit_id}", json=body)

    def score_once(self, seconds: float = 10) -> dict[str, Any]:
        """Answers one permit with a result; returns the work item."""
        item = self.wait_for("score", seconds)
        reasons = [{"party": "lab", "feature": "age", "points": -12, "text": "young", "text_zh": "成立时间短"}]
        self.answer(
            item["permit"]["body"]["permit_id"], result={"score": 612.0, "pd": 0.05, "reasons": reasons}
        ).raise_for_status()
        return item


@dataclass(frozen=True)
class Origin:
    """What belongs to a database that is a copy of one in which a world was populated."""

    key: SigningKey
    keyring: Keyring
    secret: PlatformSecret
    tokens: dict[str, str]


class World:
    """Control plane, people and nodes. `close` ends it."""

    def __init__(self, url: str, *, origin: Origin | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.db = Database(url, self.clock)
        given = {
            "home": Path("/nonexistent"),
            "sweep_seconds": 0.1,
            "redelivery_seconds": 0.3,
            "rate_failures_per_minute": 1_000_000,  # a test knocks at every door from one address
            **settings,
        }
        self.settings = Settings.read({}, **given)
        self.origin = origin or self._origin()
        self.key, self.keyring = self.origin.key, self.origin.keyring
        hub = Hub(self.db.conninfo)
        self.control = Control(self.settings, self.db, self.key, hub, self.keyring, self.origin.secret)
        self.app = create_app(self.control)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            Recorder(self.app) if recording.ON else self.app,
            host="127.0.0.1",
            port=self.port,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.tokens = dict(self.origin.tokens)
        self.clients: list[LabClient] = []
        self.nodes: list[FakeNode] = []
        if origin is None:
            install_operator(self.control, self.tokens["operator"])

    def _origin(self) -> Origin:
        key = SigningKey.generate()
        keyring = founded(key, self.settings.platform, self.clock(), self.settings.key_days)
        return Origin(key, keyring, PlatformSecret.new(), {"operator": new_token()})

    @classmethod
    def inhabited(cls, databases: Databases, *args: Any, **settings: Any) -> Self:
        """Started, with everybody in it. Only a session's first world is populated over HTTP; others get a copy."""
        url, origin = databases.inhabited(**settings)
        return cls(url, *args, origin=origin, **settings).start()._meet()

    def start(self) -> Self:
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        self.operator = self.client("operator")
        return self

    def close(self) -> None:
        self.control.hub.close()
        for one in (*self.clients, *(node.http for node in self.nodes)):
            one.close()
        self.server.should_exit = True
        self.thread.join(10)
        self.db.dispose()

    # ---- people and nodes

    def client(self, name: str) -> LabClient:
        client = Client(self.url, any_ca(), self.tokens[name])
        self.clients.append(client)
        return client

    def person(self, name: str, institution: str, *roles: str) -> LabClient:
        self._account(name, institution, *roles)
        return self.client(name)

    def _account(self, name: str, institution: str, *roles: str) -> None:
        self.tokens[name] = self.operator.add_account(name, institution, roles)["token"]

    def apply(self, institution: str, *admins: dict[str, str], kind: str = "open", **more: Any) -> dict[str, Any]:
        """A written application naming two admins, approved and carried out. Returns what was carried out."""
        today = local_day(self.clock()).isoformat()
        body = {
            "kind": kind,
            "institution": institution,
            "institution_name": "某某机构",
            "bank_code": "102100099996",
            "dated": today,
            "effective_on": today,
            "admin_a": admins[0],
            "admin_b": admins[1],
            "network_contact": {"name": "王网管", "contact": "010-88886666"},
            "pledge": True,
            **more,
        }
        made = self.operator.call("POST", "/v1/admissions", json=body)
        self.operator.call("POST", f"/v1/admissions/{made['id']}/approve", json={"opinion": "材料齐全，同意"})
        return self.operator.call("POST", f"/v1/admissions/{made['id']}/carry-out")

    def admin(self, login: str, institution: str) -> Signed:
        """The first of two admins of an institution, opened by application and signed in with TOTP."""
        a = admin_of(login, "李甲", "13800000001")
        b = admin_of(f"{login}.b", "赵乙", "13800000002")
        opened = self.apply(institution, a, b)["people"]
        return self.sign_in(login, opened[0]["code"])

    def sign_in(self, login: str, code: str, password: str = PASSWORD) -> Signed:
        """First password by one-time code, then TOTP set up: a session that may do what its person may."""
        with httpx.Client(base_url=self.url, timeout=30) as http:
            first = {"login": login, "code": code, "password": password}
            http.post("/v1/staff/password", json=first).raise_for_status()
            session = http.post("/v1/staff/login", json={"login": login, "password": password})
            session.raise_for_status()
            token = session.json()["token"]
            headers = {"Authorization": f"Bearer {token}"}
            made = http.post("/v1/staff/totp", headers=headers).json()
            totp = pyotp.parse_uri(made["uri"])
            typed = {"number": made["number"], "code": totp.at(self.clock())}
            http.post("/v1/staff/totp/finish", headers=headers, json=typed).raise_for_status()
        self.tokens[login] = token
        return Signed(token, session.json()["session_id"], totp, self.client(login))

    def node(self, name: str, role: str, institution: str) -> FakeNode:
        self._account(name, institution, "node")
        return self._node(name, role, institution)

    def _node(self, name: str, role: str, institution: str) -> FakeNode:
        node = FakeNode(self.url, self.tokens[name], name, role, institution)
        self.nodes.append(node)
        return node

    def populate(self) -> Self:
        """A bank, a lab, everybody who works there, and both nodes registered."""
        self.operator.add_institution("bank-a", "Bank A", "bank")
        self.operator.add_institution("lab", "Public credit lab", "lab")
        self._account("risk", "bank-a", "risk")
        self._account("owner", "lab", "data_owner")
        for name in ("reviewer1", "reviewer2", "reviewer3"):
            self._account(name, "platform", "reviewer")
        self._account("gateway", "platform", "gateway")
        self._account("bank-node", "bank-a", "node")
        self._account("lab-node", "lab", "node")
        self._meet()
        self.project("sme")
        return self

    def _meet(self) -> Self:
        """A client for everybody whom `populate` puts into a world; the nodes tell that they are there."""
        self.risk, self.owner, self.gateway = (self.client(name) for name in ("risk", "owner", "gateway"))
        self.reviewers = [self.client(f"reviewer{i}") for i in (1, 2, 3)]
        self.bank = self._node("bank-node", "bank", "bank-a")
        self.lab = self._node("lab-node", "lab", "lab")
        self.bank.register()
        self.lab.register()
        return self

    def project(self, project_id: str, **changes: Any) -> dict[str, Any]:
        """An active project of the bank and the lab."""
        self.risk.propose_project(self.project_body(project_id, **changes))
        self.owner.decide_project(project_id, "our data fit")
        return self.operator.decide_project(project_id, "in order")

    def project_body(self, project_id: str, **changes: Any) -> dict[str, Any]:
        return {
            "id": project_id,
            "title": "Small firms",
            "lab": "lab",
            "label": "90 days past due within 12 months",
            "agreement": {"title": "Joint modelling agreement", "sha256": SHA, "signed_on": "2026-01-05"},
            "valid_until": (self.clock() + timedelta(days=365)).isoformat(),
            **changes,
        }

    # ---- shortcuts through the flow

    def cohort(self, n: int = 120) -> list[Enterprise]:
        """`n` enterprises that consent to joint training with the bank."""
        enterprises = [Enterprise(f"E{i}") for i in range(n)]
        result = self.gateway.import_consents([e.consent(f"c-{e.name}") for e in enterprises])
        assert result["accepted"] == n
        return enterprises

    def proposal(self, **changes: Any) -> dict[str, Any]:
        return {
            "project": "sme",
            "dataset": "sba",
            "bank": "bank-a",
            "lab": "lab",
            "mode": "federated",
            "recipe": {"name": "boosting", "params": {}},
            **changes,
        }

    def proposed(self, **changes: Any) -> str:
        return self.risk.propose_job(self.proposal(**changes))["id"]

    def approved(self, **changes: Any) -> str:
        if not self.operator.consent_counts()["total"]["active"]:
            self.cohort()
        job_id = self.proposed(**changes)
        self.owner.approve_job(job_id, "fits the agreement")
        assert self.operator.approve_job(job_id, "in order")["state"] == "approved"
        return job_id

    def running(self, **changes: Any) -> str:
        job_id = self.approved(**changes)
        self.bank.state(job_id, "running")
        self.lab.state(job_id, "running")
        return job_id

    def succeeded(self, sha256: str = SHA, **changes: Any) -> str:
        job_id = self.running(**changes)
        self.lab.report(job_id, sha256).raise_for_status()
        self.bank.state(job_id, "succeeded")
        assert self.lab.state(job_id, "succeeded")["job_state"] == "succeeded"
        return job_id

    def reviewed(self, job_id: str) -> str:
        release_id = self.risk.request_release(job_id, "for underwriting")["id"]
        for reviewer in self.reviewers[:2]:
            row = reviewer.review_release(release_id, "approve", "sound")
        assert row["state"] == "reviewed"
        return release_id

    def released(self, job_id: str) -> str:
        release_id = self.reviewed(job_id)
        self.operator.approve_release(release_id, "in order")
        for node in (self.bank, self.lab):
            node.release(release_id).raise_for_status()
        assert self.operator.release(release_id)["state"] == "released"
        return release_id

    def wait_state(self, job_id: str, *states: str, seconds: float = 5) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (job := self.operator.job(job_id))["state"] not in states:
            assert time.monotonic() < deadline, f"{job['state']}, expected {states}"
            time.sleep(0.05)
        return job
