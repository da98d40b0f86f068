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


def command(store, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "models.registry", "--store", str(store), *arguments],
        cwd=ROOT, env={"HOME": str(store)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


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
    code, first = command(folder, "register", "--folder", str(candidate))
    assert (code, first["version"], first["state"], first["sha256"]) == (0, "1", "candidate", sha256)
    _, again = command(folder, "register", "--folder", str(candidate))
    assert again["version"] == "1"
    code, refused = command(folder, "transition", "--version", "1", "--to", "released")
    assert code == 1
    assert refused["error"]["code"] == "transition_refused"
    path = ("transition", "--version", "1", "--to", "validated", "approved", "released")
    command(folder, "transition", "--version", "1", "--to", "validated")  # as if it had been killed after a step
    for _ in range(2):
        code, released = command(folder, *path)
        assert (code, released["state"]) == (0, "released")
    _, listed = command(folder, "list")
    assert listed["versions"] == [
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
