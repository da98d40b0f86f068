"""At the node's counter: an enterprise is shown what jobs used, with proofs; an auditor takes the log away (R46)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.ledger_cli import app as ledger_app
from consent import node_log
from consent.ledger import FixedKeys
from enclave.cli import app
from enclave.use_log import Used
from tests.enclave.test_use_log import AT, DATA, Node, ticket


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node of its own folder, with a node.toml beside it."""
    state = tmp_path / "state"
    state.mkdir()
    node = Node(state)
    lines = {"name": "lab-node", "institution": "lab", "role": "lab", "control_url": "https://x", "relay": "x:1"}
    for name in ("data", "ca", "cert", "key", "token_file", "platform_key"):
        (tmp_path / name).write_text(node.platform.public.b64)
        lines[name] = name
    lines["state_dir"] = "state"
    (tmp_path / "node.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))
    return node


def run(node: Node, command: str, *words: object) -> Result:
    config = node.folder.parent / "node.toml"
    return CliRunner().invoke(app, [command, "--config", str(config), *map(str, words)])


def test_an_enterprise_without_a_key_takes_its_proofs_from_the_counter(node: Node, tmp_path: Path) -> None:
    """R46: no question passes the platform; the file is the one that the portal gives."""
    node.use(1)
    asyncio.run(node.log.use(ticket(2), [Used("e1", "c-1", DATA)], at=AT, content="age"))
    node.journal.record_uses(
        [("e1", "c-1")], at=AT, recipient="bank_a", purpose="joint_training", content="x", reference="j-before"
    )
    out = tmp_path / "uses.json"
    shown = run(node, "uses", "--enterprise", "e1", "--out", out)
    assert shown.exit_code == 0, shown.output
    assert "共 3 次使用，其中 2 次附证明 · 3 uses, 2 of them proved" in shown.output
    assert out.stat().st_mode & 0o777 == 0o600
    files = node_log.load(out.read_bytes())
    found = [node_log.check(one, FixedKeys(node.platform.public)) for one in files]
    assert [one.use["object"]["id"] for one in found] == ["e1", "e1"]
    assert [one.by.job_id for one in found] == [ticket(n)["job_id"] for n in (1, 2)]
    assert '"e0"' not in out.read_text()


def test_an_auditor_checks_the_exported_log_with_the_command(node: Node, tmp_path: Path) -> None:
    node.use(1)
    out = tmp_path / "log"
    assert run(node, "export-log", out).exit_code == 0
    checked = CliRunner().invoke(ledger_app, ["fsck", str(out), "--keys", f"{out}.pub", "--json"])
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.output)["size"] == 3
    assert run(node, "export-log", out).exit_code == 1  # there is one already


def test_a_node_that_has_not_run_says_so(node: Node) -> None:
    node.journal.close()
    for file in node.folder.glob("journal.sqlite*"):
        file.unlink()
    shown = run(node, "uses", "--enterprise", "e1", "--out", "x")
    assert shown.exit_code == 1
    assert "尚未运行过" in shown.output
