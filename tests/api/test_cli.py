"""The command line as a person uses it: a subprocess-free walk through the flow, and how it says no."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from api import cli
from tests.api.world import SHA, Enterprise, World, any_ca


class Run:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def creditlab(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """`creditlab(person, *words)`: runs the console script's function with that person's token."""
    monkeypatch.setenv("CREDITLAB_URL", world.url)
    monkeypatch.setenv("CREDITLAB_CA", str(any_ca()))

    def run(person: str, *words: object) -> Run:
        monkeypatch.setenv("CREDITLAB_TOKEN", world.tokens.get(person, person))
        monkeypatch.setattr("sys.argv", ["creditlab", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Run(code if isinstance(code, int) else 0, out, err)

    return run


def test_from_consents_to_a_score(creditlab: Callable[..., Run], world: World, tmp_path: Path) -> None:
    lines = [Enterprise(f"E{i}").consent(f"c-{i}") for i in range(120)]
    scored = Enterprise("E-score")
    lines.append(scored.consent("c-score", purpose="underwriting_score"))
    (tmp_path / "consents.ndjson").write_bytes(b"\n".join(lines))
    imported = creditlab("gateway", "consent", "import", tmp_path / "consents.ndjson")
    assert imported.code == 0
    assert "accepted 121" in imported.out
    assert "121" in creditlab("operator", "consent", "counts").out

    proposal = tmp_path / "job.json"
    proposal.write_text(json.dumps({"project": "sme", "dataset": "sba", "bank": "bank-a", "mode": "zone"}))
    words = ["--file", proposal, "--lab", "lab", "--recipe", "boosting"]
    job_id = creditlab("risk", "job", "propose", *words, "--param", "rounds=10", "--param", "l2=0.5").out.strip()
    assert world.operator.job(job_id)["recipe"] == {"name": "boosting", "params": {"rounds": 10, "l2": 0.5}}
    creditlab("owner", "job", "approve", job_id, "--reason", "fits")
    assert "approved" in creditlab("operator", "job", "approve", job_id, "--reason", "in order").out
    assert job_id in creditlab("risk", "job", "list").out

    for node in (world.bank, world.lab):
        node.state(job_id, "running")
        node.tell(job_id, {"kind": "phase", "phase": "psi", "state": "done", "seconds": 1.5})
    world.lab.report(job_id)
    for node in (world.bank, world.lab):
        node.state(job_id, "succeeded")
    watched = creditlab("risk", "job", "watch", job_id)
    assert watched.code == 0
    assert SHA in watched.out.replace("\n", "")
    shown = creditlab("risk", "job", "show", job_id)
    assert "psi" in shown.out
    assert json.loads(creditlab("risk", "job", "report", job_id).out)["release"]["state"] == "pending"

    release_id = creditlab("risk", "release", "request", job_id, "--reason", "underwriting").out.strip()
    for reviewer in ("reviewer1", "reviewer2"):
        creditlab(reviewer, "release", "review", release_id, "--comment", "sound")
    assert "approved" in creditlab("operator", "release", "approve", release_id, "--reason", "in order").out
    for node in (world.bank, world.lab):
        node.release(release_id)
    assert "released" in creditlab("risk", "release", "show", release_id).out

    node = threading.Thread(target=world.bank.score_once)
    node.start()
    answer = creditlab("risk", "score", "E-score", "--job", job_id, "--reason", "loan 17")
    node.join(10)
    assert answer.code == 0
    assert "612" in answer.out
    assert "5.00%" in answer.out

    (tmp_path / "key.pem").write_bytes(scored.key.to_pem())
    withdrawn = creditlab(
        "gateway", "consent", "withdraw", "c-score", "--enterprise", "E-score", "--key", tmp_path / "key.pem"
    )
    assert "已撤回" in withdrawn.out
    denied = creditlab("risk", "score", "E-score", "--job", job_id, "--reason", "loan 17")
    assert denied.code == 1
    assert "consent_withdrawn" in denied.err


def test_every_error_is_one_line_in_two_languages(
    creditlab: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def lines(run: Run) -> list[str]:
        assert run.code == 1
        assert "Traceback" not in run.err
        found = run.err.strip().splitlines()
        assert len(found) == 1
        assert any("\u4e00" <= c <= "\u9fff" for c in found[0])
        return found

    assert "not_found" in lines(creditlab("risk", "job", "show", "j-000000000000"))[0]
    assert (
        "role_missing" in lines(creditlab("risk", "account", "add", "x", "--institution", "lab", "--role", "risk"))[0]
    )
    assert "unauthenticated" in lines(creditlab("wrong", "job", "list"))[0]
    assert "bad_parameter" in lines(creditlab("risk", "job", "propose", "--param", "novalue"))[0]
    profile = tmp_path / "absent.toml"
    assert "absent.toml" in lines(creditlab("risk", "--profile", profile, "job", "list"))[0]
    monkeypatch.setenv("CREDITLAB_URL", "https://127.0.0.1:1")
    assert "unreachable" in lines(creditlab("risk", "job", "list"))[0]
    monkeypatch.delenv("CREDITLAB_URL")
    assert "CREDITLAB_URL" in lines(creditlab("risk", "job", "list"))[0]


def test_bad_lines_of_an_import_are_listed_and_the_exit_code_says_so(
    creditlab: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "c.ndjson").write_bytes(b"{}\n" + Enterprise("E1").consent("c-1") + b"\n")
    run = creditlab("gateway", "consent", "import", tmp_path / "c.ndjson")
    assert run.code == 1
    assert "c.ndjson:1:" in run.err
    assert "accepted 1" in run.out


def test_a_watched_job_that_fails_gives_its_cause_and_exit_code_1(creditlab: Callable[..., Run], world: World) -> None:
    job_id = world.running()
    world.lab.state(job_id, "failed", "memory_limit", "the engine used 8 GB")
    run = creditlab("risk", "job", "watch", job_id)
    assert run.code == 1
    assert "the engine used 8 GB" in run.out
    again = creditlab("risk", "job", "retry", job_id, "--reason", "more memory")
    assert world.operator.job(again.out.strip())["retry_of"] == job_id
    assert "cancelled" in creditlab("risk", "job", "cancel", again.out.strip(), "--reason", "later").out


def test_institutions_accounts_and_profiles(creditlab: Callable[..., Run], world: World, tmp_path: Path) -> None:
    add = ("operator", "institution", "add", "bank-n", "--name", "N", "--kind", "bank", "--agreement", "AG-1")
    assert creditlab(*add).code == 2  # all of the papers or none
    papers = ("--signed-on", "2026-01-05", "--assessment", "SA-1", "--assessor", "A", "--assessed-on", "2026-01-06")
    assert "bank-n" in creditlab(*add, *papers).out
    token_file = tmp_path / "risk.token"
    made = creditlab(
        "operator", "account", "add", "anna", "--institution", "bank-n", "--role", "risk", "--token-file", token_file
    )
    assert "clt_" not in made.out
    assert token_file.stat().st_mode & 0o777 == 0o600
    (tmp_path / "anna.toml").write_text(f'url = "{world.url}"\nca = "{any_ca()}"\ntoken_file = "risk.token"\n')
    assert creditlab("nobody", "--profile", tmp_path / "anna.toml", "job", "list").code == 0


def test_commands_of_other_packages_are_plugged_in(creditlab: Callable[..., Run]) -> None:
    help_text = creditlab("risk", "--help").out
    for name in ("serve", "consent", "job", "release", "score", "account", "institution", "pki", "node"):
        assert name in help_text
    assert "init" in creditlab("risk", "pki", "--help").out
    assert creditlab("risk", "nonsense").code == 2


def test_a_plugin_that_cannot_be_loaded_harms_nobody_else(
    creditlab: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint(name="broken", value="no.such:app", group=cli.PLUGINS)
    monkeypatch.setattr(cli, "entry_points", lambda group: [broken])
    assert creditlab("risk", "--help").code == 0
    run = creditlab("risk", "broken")
    assert run.code == 1
    assert "command_unavailable" in run.err
