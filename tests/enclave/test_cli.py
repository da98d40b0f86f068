"""At the node's counter: an enterprise is shown what jobs used, with proofs; an auditor takes the log away (R46)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.ledger_cli import app as ledger_app
from api.verify_cli import app as verify_app
from consent import node_log
from consent.canonical import canonical
from consent.keyring import Keyring
from consent.ledger import FixedKeys, Kind
from consent.signed import Document, countersign, sign
from consent.usage_question import question
from enclave.asked import Asked
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


def word(node: Node, number: int, enterprise: str = "e1") -> Document:
    """A question for which the platform vouches."""
    evidence = {"kind": "session_code", "reference": "0" * 64}
    body = question(question_id=f"q-{number:016x}", enterprise=enterprise, at=AT, evidence=evidence)
    return countersign(sign(body, node.platform, "registrar"), node.platform, "platform")


def test_owner_and_auditor_read_every_question_by_the_platforms_word(node: Node, tmp_path: Path) -> None:
    """R46: they compare it with the platform's ledger, entry by entry; the evidence is checked with the command."""
    documents = [word(node, 1), word(node, 2, "e2")]
    notes = Asked(node.journal, 1)
    record = node.heads.record(Kind.QUESTION, documents[0])
    notes.answered(documents[0]["body"], canonical(record), record["proof"]["entry"]["sequence"])
    notes.refused(documents[1]["body"], canonical(documents[1]), "own_key_needed")
    out = tmp_path / "questions.ndjson"
    shown = run(node, "questions", "--out", out)
    assert shown.exit_code == 0, shown.output
    first, second, total = shown.output.splitlines()
    for text in ("q-0000000000000001", "ledger 0", "已答复", "e1"):
        assert text in first
    for text in ("q-0000000000000002", "own_key_needed", "e2"):
        assert text in second
    assert "2 questions, 1 of them answered" in total
    assert out.stat().st_mode & 0o777 == 0o600
    lines = out.read_bytes().splitlines()
    assert [json.loads(line).get("document", json.loads(line)) for line in lines] == documents

    until = "2036-01-01T00:00:00Z"
    ring = Keyring.found(node.platform, platform="p", at="2026-01-01T00:00:00Z", valid_until=until)
    one, keys = tmp_path / "one.json", tmp_path / "keys.json"
    one.write_bytes(lines[0])
    keys.write_bytes(ring.to_json())
    checked = CliRunner().invoke(verify_app, [str(one), "--keys", str(keys)])
    assert checked.exit_code == 0, checked.output
    for text in ("question", "q-0000000000000001", "e1", "会话加验证码", "session and code"):
        assert text in checked.output


def test_at_the_counter_the_enterprise_hears_who_asked_in_its_name(node: Node, tmp_path: Path) -> None:
    """Nothing of it passes the platform, which could keep it to itself."""
    node.use(1)
    Asked(node.journal).refused(word(node, 1)["body"], b"{}", "expired")
    Asked(node.journal).refused(word(node, 2, "e2")["body"], b"{}", "expired")
    shown = run(node, "uses", "--enterprise", "e1", "--out", tmp_path / "uses.json")
    assert "q-0000000000000001" in shown.output and "refused (expired)" in shown.output
    assert "q-0000000000000002" not in shown.output
    assert "1 questions by the platform's word" in shown.output


def test_a_node_that_has_not_run_says_so(node: Node) -> None:
    node.journal.close()
    for file in node.folder.glob("journal.sqlite*"):
        file.unlink()
    shown = run(node, "uses", "--enterprise", "e1", "--out", "x")
    assert shown.exit_code == 1
    assert "尚未运行过" in shown.output
    assert run(node, "questions").exit_code == 1
