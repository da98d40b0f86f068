"""A whole small world on one machine: control plane, lab node, bank nodes, accounts and consents.

Owns bringing it up step by step with the `creditlab` command line and the API, each process with its own folder,
certificate and token. Never reads a table: data folders are checked, split and listed by `creditlab data`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.client import LabClient, LabError
from api.demo import province
from api.demo.enterprises import Enterprise, Register, first_answers, read_enterprises
from api.demo.narrate import DemoFailed, Narrator
from api.demo.options import LAB, Banks, Folders, Options, institution_of
from api.demo.processes import Processes

_COMMAND_SECONDS = 300.0
_START_SECONDS = 90.0
_IMPORT_DOCUMENTS = 20_000
LOOPBACK = "127.0.0.1"


# a real platform has them on paper, signed by people (docs/identity.md)
_PAPERS = {
    "agreement": {"reference": "演示协议 · demo agreement", "signed_on": "2026-01-05"},
    "assessment": {
        "reference": "演示评估 · demo assessment",
        "assessor": "演示 · demo",
        "assessed_on": "2026-01-06",
    },
}


@dataclass(frozen=True)
class Bank:
    """One bank of the demo; `party` is its value in the party column, None when it owns the whole table."""

    institution: str
    party: str | None

    @property
    def node(self) -> str:
        return f"{self.institution}-node"

    @property
    def risk(self) -> str:
        return f"{self.institution}-risk"


class World:
    """Built by `build`; afterwards `client` gives the connection of an account by name."""

    def __init__(self, options: Options, processes: Processes, narrator: Narrator) -> None:
        self.options = options
        self.folders = Folders(options.out)
        self.processes = processes
        self.narrator = narrator
        self.register = Register(LAB)
        self.dataset = self.title = ""
        self.banks: list[Bank] = []
        self.enterprises: list[Enterprise] = []
        self.url = ""
        self._data = Path()
        self._clients: dict[str, LabClient] = {}

    # ---- building

    def build(self) -> None:
        step = self.narrator.step
        with step("检查数据", "check the data"):
            self._check_data()
        with step("签发本地证书", "issue certificates from a local CA"):
            self._issue_certificates()
        with step("启动控制平面", "start the control plane"):
            self._start_control()
        with step("开通机构与账户", "admit institutions and accounts"):
            self._admit()
        with step("启动域内节点", "start the domain nodes"):
            self._start_nodes()
        with step("导入企业授权", "import the enterprises' consents"):
            self._import_first_answers()

    def _check_data(self) -> None:
        self._data = self.options.data or self.folders.out / "data"
        if self.options.data is None:
            self._simulate()
        self.narrator.block(self._command("data check", "data", "check", str(self._data)))
        contract = tomllib.loads((self._data / "dataset.toml").read_text(encoding="utf-8"))
        self.dataset, self.title = contract["name"], contract["title"]
        listing = self.folders.state / "enterprises.jsonl"
        self._command("data ids", "data", "ids", str(self._data), "--out", str(listing))
        self.enterprises = read_enterprises(listing.read_text(encoding="utf-8").splitlines())
        self.banks = self._choose_banks()

    @property
    def columns(self) -> dict[str, list[str]]:
        """The columns that the jobs use: of the embedded example a choice, of other data all."""
        return {"lab": list(province.LAB_COLUMNS)} if self.options.data is None else {}

    def _simulate(self) -> None:
        """The embedded example: raw public records are delivered, checked and taken in; features are made of them."""
        self.narrator.say(
            f"未指定 DATA：模拟一个省份（{province.ENTERPRISES:,} 家企业均不存在），归集其公共信用记录并计算特征",
            f"no DATA: a simulated province of {province.ENTERPRISES:,} enterprises: its public records are taken in "
            "and made into features",
        )
        raw = self.folders.state / "province"
        told = self._command("simulate", *province.command(str(raw), str(self.folders.state / "store")))
        counts = next(line for line in told.splitlines() if "delivered" in line).rpartition(": ")[2]
        self.narrator.say("归集 · public records", counts)
        shutil.copytree(raw / "joint", self._data)

    def _choose_banks(self) -> list[Bank]:
        if self.options.banks is Banks.ONE:
            return [Bank("bank", None)]
        parties = {one.party for one in self.enterprises if one.party}
        if not parties:
            raise DemoFailed(
                "BANKS=split needs a party column: dataset.toml names none under bank.party",
                "BANKS=split 需要所属方列：dataset.toml 未设置 bank.party",
            )
        return [Bank(institution_of(party, number), party) for number, party in enumerate(sorted(parties), start=1)]

    def _issue_certificates(self) -> None:
        ca = str(self.folders.ca)
        self._command("pki init", "pki", "init", ca)
        self._issue("control", self.folders.control / "pki")
        for name in [f"{LAB}-node", *(bank.node for bank in self.banks)]:
            self._issue(name, self.folders.node(name) / "pki")

    def _issue(self, name: str, out: Path) -> None:
        self._command(
            "pki issue", "pki", "issue", str(self.folders.ca), name,
            "--out", str(out), "--host", LOOPBACK, "--host", "localhost",
        )  # fmt: skip

    def _start_control(self) -> None:
        port = _free_port()
        self.url = f"https://{LOOPBACK}:{port}"
        home = self.folders.control
        self.processes.start("control", "serve", "--home", str(home), "--host", LOOPBACK, "--port", str(port))
        token = self.processes.until(
            "the start of the control plane", "控制平面启动", _START_SECONDS, lambda: self._ready(home)
        )
        self._keep_profile("operator", token)
        self.narrator.say(self.url)

    def _ready(self, home: Path) -> str | None:
        """The operator's token once the control plane answers."""
        try:
            token = (home / "operator.token").read_text().strip()
            with LabClient(self.url, self.folders.ca / "ca.crt", token, timeout=2) as client:
                client.call("GET", "/readyz")
                client.whoami()
        except (OSError, LabError):
            return None
        return token

    def _admit(self) -> None:
        operator = self.client("operator")
        operator.add_institution(LAB, "公共信用信息专区 · public-credit zone", "lab", _PAPERS)
        self._account("gateway", "platform", "gateway")
        self._account("reviewer-platform", "platform", "reviewer")
        self._account("reviewer-lab", LAB, "reviewer")
        self._account("lab-owner", LAB, "data_owner")
        self._account(f"{LAB}-node", LAB, "node")
        for bank in self.banks:
            operator.add_institution(bank.institution, bank.party or "银行 · bank", "bank", _PAPERS)
            self._account(bank.risk, bank.institution, "risk")
            self._account(bank.node, bank.institution, "node")
        self.narrator.say(f"{', '.join(bank.institution for bank in self.banks)}; {LAB}")

    def _account(self, name: str, institution: str, role: str) -> None:
        made = self.client("operator").add_account(name, institution, [role])
        self._keep_profile(name, made["token"])

    def _keep_profile(self, name: str, token: str) -> None:
        """The account's token, in a file that only its owner reads, and a profile for `creditlab --profile`."""
        self.folders.profiles.mkdir(mode=0o700, exist_ok=True)
        secret = self.folders.profiles / f"{name}.token"
        descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(token + "\n")
        (self.folders.profiles / f"{name}.toml").write_text(
            f'url = "{self.url}"\nca = "../ca/ca.crt"\ntoken_file = "{name}.token"\n'
        )

    def client(self, name: str) -> LabClient:
        """The connection of an account."""
        if name not in self._clients:
            self._clients[name] = LabClient.from_settings({}, self.folders.profiles / f"{name}.toml")
        return self._clients[name]

    def _start_nodes(self) -> None:
        relay = f"{LOOPBACK}:{_free_port()}"
        self._start_node(f"{LAB}-node", LAB, "lab", None, relay)
        for bank in self.banks:
            self._start_node(bank.node, bank.institution, "bank", bank.party, None)
        expected = {f"{LAB}-node", *(bank.node for bank in self.banks)}

        def registered() -> bool | None:
            return True if expected <= {node["name"] for node in self.client("operator").nodes()} else None

        self.processes.until("the registration of the nodes", "节点注册", _START_SECONDS, registered, every=0.3)
        for node in self.client("operator").nodes():
            tables = ", ".join(f"{table['name']} ({table['rows']:,})" for table in node["datasets"])
            self.narrator.say(f"{node['name']}: {tables}")

    def _start_node(self, name: str, institution: str, role: str, party: str | None, relay: str | None) -> None:
        """Give a node its own folder (data, certificate, token, state) and start it there."""
        home = self.folders.node(name)
        only = ["--party", party] if party is not None else []
        self._command("data part", "data", "part", str(self._data), str(home / "data"), "--side", role, *only)
        shutil.copyfile(self.folders.profiles / f"{name}.token", home / "token")
        (home / "token").chmod(0o600)
        shutil.copyfile(self.folders.control / "keys" / "platform.pub", home / "platform.pub")
        settings = {
            "name": name,
            "institution": institution,
            "role": role,
            "data": "data",
            "control_url": self.url,
            "ca": "pki/ca.crt",
            "cert": f"pki/{name}.crt",
            "key": f"pki/{name}.key",
            "token_file": "token",
            "platform_key": "platform.pub",
            "state_dir": "state",
            **({"party": party} if party is not None else {}),
            **({"relay": relay} if relay is not None else {}),
        }
        # a JSON string is a TOML basic string
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
        (home / "node.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.processes.start(name, "node", "run", "--config", str(home / "node.toml"))

    def released_file(self, bank: Bank, sha256: str) -> Path:
        """Where the bank's node keeps a released model."""
        return self.folders.node(bank.node) / "state" / "releases" / f"{sha256}.json"

    # ---- consents

    def _import_first_answers(self) -> None:
        banks: dict[str | None, str] = {bank.party: bank.institution for bank in self.banks}
        if self.options.banks is Banks.ONE:
            everybody = {one.party for one in self.enterprises}
            banks = dict.fromkeys(everybody, self.banks[0].institution)
        path = self.folders.state / "consents.jsonl"
        with path.open("w", encoding="utf-8") as stream:
            for document in first_answers(self.register, self.enterprises, banks, self.options.choices):
                stream.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
        done = self.import_file(path)
        self.narrator.say(
            f"{done['accepted']:,} 同意，{done['refused']:,} 拒绝",
            f"{done['accepted']:,} consents (training and scoring), {done['refused']:,} refusals",
        )

    def import_file(self, path: Path) -> dict[str, int]:
        """Import a file of signed documents as the gateway, in portions. Raises DemoFailed for a refused line."""
        total = {"accepted": 0, "refused": 0, "withdrawn": 0}
        portion: list[bytes] = []
        with path.open("rb") as stream:
            for line in stream:
                portion.append(line)
                if len(portion) == _IMPORT_DOCUMENTS:
                    self._import(portion, total)
                    portion = []
        if portion:
            self._import(portion, total)
        return total

    def _import(self, lines: list[bytes], total: dict[str, int]) -> None:
        done = self.client("gateway").import_consents(lines)
        if done["errors"]:
            first = done["errors"][0]
            raise DemoFailed(
                f"consent import, line {first['line']}: {first['message']}",
                f"授权导入第 {first['line']} 行：{first.get('message_zh', first['message'])}",
            )
        for key in total:
            total[key] += done[key]

    def import_documents(self, documents: list[dict[str, Any]]) -> dict[str, int]:
        total = {"accepted": 0, "refused": 0, "withdrawn": 0}
        self._import([json.dumps(document, ensure_ascii=False).encode() for document in documents], total)
        return total

    def _command(self, name: str, *arguments: str) -> str:
        return self.processes.run(name, *arguments, seconds=_COMMAND_SECONDS)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


def _free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
