"""The registry keeps candidates and their states, as a process of its own, without a pickle."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from models.formats import content_sha256
from models.registry import TRANSITIONS
from models.report import write
from tests.models.report.test_report import report_of
from tests.models.support import ROOT

# several commands in one process: MLflow takes seconds to load
SEVERAL = "import json, sys; from models.registry import main; [print(main(one)) for one in json.loads(sys.argv[1])]"


def run(store, *words):
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env={"HOME": str(store)}, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout.splitlines()


def command(store, *words):
    code, lines = run(store, "-m", "models.registry", "--store", str(store), *words)
    return code, json.loads(lines[-1])


def commands(store, *several):
    """The exit code and the answer of each."""
    _, lines = run(store, "-c", SEVERAL, json.dumps([["--store", str(store), *words] for words in several]))
    return [(int(code), json.loads(answer)) for answer, code in zip(lines[::2], lines[1::2], strict=True)]


@pytest.fixture(scope="module")
def store(tmp_path_factory, sba_zone):
    folder = tmp_path_factory.mktemp("registry")
    candidate = folder / "candidate"
    candidate.mkdir()
    (candidate / "model.json").write_text(json.dumps(sba_zone.model))
    (candidate / "model.lgb.txt").write_bytes(sba_zone.node.outputs["model.lgb.txt"])
    write(report_of(sba_zone), candidate / "report.json")
    return folder / "store", candidate


def test_a_candidate_walks_to_release_and_never_skips_a_state(store, sba_zone):
    folder, candidate = store
    sha256 = content_sha256(sba_zone.model)
    register = ("register", "--folder", str(candidate))
    code, first = command(folder, *register)
    assert (code, first["version"], first["state"], first["sha256"]) == (0, "1", "candidate", sha256)
    transition = ("transition", "--version", "1", "--to")
    walk = (*transition, "validated", "approved", "released")
    again, skipping, step, walked, repeated, listed = commands(
        folder,
        register,
        (*transition, "released"),
        (*transition, "validated"),  # as if the walk had been killed after a step
        walk,
        walk,
        ("list",),
    )
    assert again[1]["version"] == "1"
    assert (skipping[0], skipping[1]["error"]["code"]) == (1, "transition_refused")
    assert (step[0], step[1]["state"]) == (0, "validated")
    assert [(code, answer["state"]) for code, answer in (walked, repeated)] == [(0, "released")] * 2
    assert listed[1]["versions"] == [
        {"version": "1", "sha256": sha256, "job_id": sba_zone.ticket["job_id"], "state": "released"}
    ]
    kept = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"mlflow.db", "model.json", "report.json", "model.lgb.txt"} <= kept
    assert not [name for name in kept if name.endswith((".pkl", ".pickle", ".joblib")) or name == "MLmodel"]


def test_states_form_one_table_without_dead_ends_or_ways_back_from_the_end():
    assert set(TRANSITIONS) >= {state for allowed in TRANSITIONS.values() for state in allowed}
    assert TRANSITIONS["recalled"] == TRANSITIONS["retired"] == ()
    assert all("candidate" not in allowed for allowed in TRANSITIONS.values())


def test_a_folder_without_a_model_is_refused(tmp_path):
    code, answer = command(tmp_path / "store", "register", "--folder", str(tmp_path))
    assert code == 1
    assert answer["error"]["code"] == "candidate_unreadable"
