"""A withdrawal bites in the middle of a phase, a sanction and a lost control plane end jobs, models are recalled.

Two real nodes and a real control plane (R14, R17, R44; PIPL §15).
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.client import LabError
from consent import node_log, usage_question
from consent.canonical import canonical
from consent.keys import VerifyingKey
from consent.ledger import FixedKeys
from consent.signed import sign
from consent.times import stamp
from enclave.cli import app as node_app
from tests.integration.conftest import consented, ids
from tests.support.lab import Enterprises, Lab

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("clean_disk")]
LONG = {"name": "boosting", "params": {"rounds": 24, "max_depth": 3}}
SMALL = {"name": "boosting", "params": {"rounds": 12, "max_depth": 3}}


def start(lab: Lab, bank: str, tables: Path, settings: str = "") -> Enterprises:
    people = consented(lab, bank, ids(0, 1600))
    lab.add_node("lab", tables / "lab", name=f"lab-{bank}", limits=settings)
    lab.add_node(bank, tables / "bank", limits=settings)
    lab.wait_nodes(f"lab-{bank}", f"{bank}-node")
    return people


def propose(lab: Lab, bank: str, **changes: Any) -> str:
    job = lab.propose("tiny", bank, **{"lab": f"lab-{bank}", **changes})
    lab.approve(job)
    return job


class Follower:
    """Reads a job's events in order."""

    def __init__(self, lab: Lab, job_id: str) -> None:
        self.client, self.job_id, self.after = lab.clients["operator"], job_id, 0

    def until(self, wanted: Any, seconds: float = 90) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            page = self.client.job_events(self.job_id, after=self.after, wait=1)
            for event in page["events"]:
                self.after = event["seq"]
                if wanted(event):
                    return event
            assert page["state"] in ("approved", "running"), page
        raise AssertionError("not seen in time")


def test_who_withdraws_during_a_federated_fit_leaves_at_the_next_tree(running: Lab, bank: str, tables: Path) -> None:
    """The bar: to the end of that enterprise's part in a running job, one round."""
    people = start(running, bank, tables)
    gone = ids(300, 320)
    job_id = propose(running, bank, mode="federated", recipe=LONG)
    follower = Follower(running, job_id)
    follower.until(lambda e: e["kind"] == "progress" and e["phase"] == "fit_joint" and e["done"] >= 3)
    assert running.consent(people.withdrawal(one, bank) for one in gone)["withdrawn"] == len(gone)
    said = time.monotonic()
    follower.until(lambda e: e["kind"] == "log" and e.get("excluded") == len(gone))
    print(f"from the withdrawal to its exclusion: {time.monotonic() - said:.2f} s")  # told by pytest -s
    assert time.monotonic() - said < 8
    job = running.wait(job_id)
    assert job["state"] == "succeeded", job["cause"]
    report = running.clients[f"risk-{bank}"].report(job_id)
    assert report["cohort"]["train"] + report["cohort"]["test"] == 1000 - len(gone)
    assert report["withdrawals"]["during_job"] == len(gone)
    # the fit that was under way was left, not finished
    fits = [e for e in all_events(running, job_id) if e["kind"] == "progress" and e["phase"] == "fit_joint"]
    bank_side = [e["done"] for e in fits if e["party"] == "bank"]
    again = bank_side.index(1, 1)
    assert bank_side[again - 1] < 24, "the fit ran to its end before it was begun anew"


def all_events(lab: Lab, job_id: str) -> list[dict[str, Any]]:
    out, after = [], 0
    while page := lab.clients["operator"].job_events(job_id, after=after)["events"]:
        out += page
        after = page[-1]["seq"]
    return out


def test_a_sanction_ends_a_running_job_on_both_sides_at_once(running: Lab, bank: str, tables: Path) -> None:
    """R17: at once, everywhere, running jobs included; and it is lifted the same way."""
    start(running, bank, tables)
    job_id = propose(running, bank, mode="federated", recipe=LONG)
    running.wait_phase(job_id, "psi")
    operator = running.clients["operator"]
    began = time.monotonic()
    operator.call("POST", f"/v1/institutions/{bank}/suspend", json={"ground": "false certification"})
    job = running.wait(job_id, 20)
    assert (job["state"], job["cause"]["code"]) == ("stopped_by_consent", "institution_suspended")
    for node in running.nodes.values():
        while node.processes():
            assert time.monotonic() - began < 15, f"{node.name} computes on"
            time.sleep(0.1)
    with pytest.raises(LabError) as refused:
        propose(running, bank, recipe=SMALL)
    assert refused.value.code == "institution_suspended"
    operator.call("POST", f"/v1/institutions/{bank}/reinstate", json={"ground": "rectified"})
    assert running.wait(propose(running, bank, recipe=SMALL), 120)["state"] == "succeeded"


def test_without_a_fresh_head_for_longer_than_the_lease_a_running_fit_ends(
    running: Lab, bank: str, tables: Path
) -> None:
    start(running, bank, tables, "feed_lease_seconds = 4")
    job_id = propose(running, bank, mode="federated", recipe={"name": "boosting", "params": {"rounds": 200}})
    Follower(running, job_id).until(lambda e: e["kind"] == "progress" and e["phase"] == "fit_lab")
    running.control.kill()
    deadline = time.monotonic() + 30
    try:
        while any(node.processes() for node in running.nodes.values()):
            assert time.monotonic() < deadline, "the nodes compute on without knowing who has withdrawn"
            time.sleep(0.2)
    finally:
        running.control.start()
    job = running.wait(job_id, 40)
    assert (job["state"], job["cause"]["code"]) == ("failed", "lease_lapsed"), job["cause"]
    assert running.wait(propose(running, bank, recipe=SMALL), 120)["state"] == "succeeded"


def test_withdrawals_recall_the_model_and_are_told_what_rests_on_them(running: Lab, bank: str, tables: Path) -> None:
    """R44: beyond a tenth of the cohort the release is recalled; who withdrew is told where the data went."""
    people = start(running, bank, tables, "share_seconds = 1")
    score = people.consent(ids(900, 901)[0], bank, "underwriting_score")
    running.consent([score])
    job_id = propose(running, bank, recipe=SMALL)
    assert running.wait(job_id, 120)["state"] == "succeeded"
    proved_uses(running, bank, people, ids(500, 501)[0], job_id)
    risk, operator = running.clients[f"risk-{bank}"], running.clients["operator"]
    release_id = risk.request_release(job_id, "to score applicants")["id"]
    for name in ("reviewer1", "reviewer2"):
        running.clients[name].review_release(release_id, "approve", "report read")
    operator.approve_release(release_id, "reviews are in")
    until(lambda: operator.release(release_id)["state"] == "released", 60)
    assert risk.score(ids(900, 901)[0], "application", job_id=job_id)["pd"]

    running.consent(people.withdrawal(one, bank) for one in ids(200, 260))
    until(lambda: (operator.call("GET", f"/v1/releases/{release_id}/consents")["share"] or 0) > 0, 20)
    [notice] = risk.call("GET", "/v1/retraining-notices")["items"]
    assert notice["release_id"] == release_id and 0.03 < notice["share"] < 0.1

    withdrawn = people.consents[ids(200, 201)[0], bank, "joint_training"]
    impact = operator.call("GET", f"/v1/consents/{withdrawn}/impact")
    assert [(i["job_id"], i["release_id"]) for i in impact["items"]] == [(job_id, release_id)]
    standing = people.consents[ids(500, 501)[0], bank, "joint_training"]
    with pytest.raises(LabError) as held:
        operator.call("GET", f"/v1/consents/{standing}/impact")
    assert held.value.code == "consent_not_withdrawn"

    running.consent(people.withdrawal(one, bank) for one in ids(260, 400))
    until(lambda: operator.release(release_id)["state"] == "recalled", 20)
    with pytest.raises(LabError) as refused:
        risk.score(ids(900, 901)[0], "application", job_id=job_id)
    assert refused.value.code == "release_recalled"
    for name in (f"lab-{bank}", f"{bank}-node"):
        until(lambda name=name: "was recalled" in running.nodes[name].log.read_text(), 20)


def proved_uses(lab: Lab, bank: str, people: Enterprises, one: str, job_id: str) -> None:
    """R46: who was used learns it from both nodes, proved through their logs and the platform's ledger."""
    body = usage_question.question(
        question_id="q-" + secrets.token_hex(8),
        enterprise=one,
        at=stamp(datetime.now(UTC)),
        evidence={"kind": "import", "reference": "0" * 64},
    )
    asked = sign(body, people.keys[one], "enterprise")
    told = lab.clients["gateway"].call("POST", "/v1/usage/questions", json={"question": asked})
    [item] = told["items"]
    assert (item["job_id"], len(item["files"])) == (job_id, 2)
    assert not {f"{bank}-node", f"lab-{bank}"} & set(told["silent"])  # those of other tests are gone
    keys = FixedKeys(VerifyingKey.from_b64(lab.control.platform_key.read_text().strip()))
    found = [node_log.check(*node_log.load(canonical(file)), keys) for file in item["files"]]
    assert {use.by.node for use in found} == {f"{bank}-node", f"lab-{bank}"} == set(item["nodes"])
    assert {use.use["object"]["id"] for use in found} == {one}
    for use in found:  # the very file that the node's owner gives at the counter, the node running
        folder = lab.nodes[use.by.node].folder
        words = ["uses", "--config", str(folder / "node.toml"), "--enterprise", one, "--out", str(folder / "uses.json")]
        assert CliRunner().invoke(node_app, words).exit_code == 0
        [file] = node_log.load((folder / "uses.json").read_bytes())
        assert node_log.check(file, keys).use == use.use


def until(holds: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.2)
