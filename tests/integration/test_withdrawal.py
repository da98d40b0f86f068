"""A withdrawal bites in the middle of a phase, a sanction and a lost control plane end jobs, models are recalled.

Two real nodes and a real control plane (R14, R17, R44; PIPL §15).
"""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from api.client import LabError
from api.verify_cli import app as verify_app
from consent import node_log, usage_question
from consent.canonical import canonical
from consent.keys import VerifyingKey
from consent.ledger import FixedKeys
from consent.signed import sign
from consent.times import stamp
from enclave.cli import app as node_app
from features.uscc import simulate
from tests.integration.conftest import Pair, consented, ids, write_tables
from tests.support.by_code import ByCode
from tests.support.control_plane import free_port
from tests.support.lab import Lab

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("clean_disk")]
LONG = {"name": "boosting", "params": {"rounds": 24, "max_depth": 3}}
SMALL = {"name": "boosting", "params": {"rounds": 12, "max_depth": 3}}


USCC = simulate(np.random.default_rng(11), 1)[0]


@pytest.fixture(scope="module")
def tables(tables: Path) -> Path:
    """One enterprise of both tables is on record in the portal, under its own USCC."""
    for side in ("bank", "lab"):
        file = tables / side / f"{side}.parquet"
        rows = pd.read_parquet(file)
        rows.assign(ent_id=rows["ent_id"].replace(ids(899, 900)[0], USCC)).to_parquet(file)
    return tables


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


def test_who_withdraws_during_a_federated_fit_leaves_at_the_next_tree(running: Lab, pair: Pair) -> None:
    """The bar: to the end of that enterprise's part in a running job, one round."""
    gone = ids(1100, 1120)
    job_id = pair.propose(mode="federated", recipe=LONG)
    follower = Follower(running, job_id)
    follower.until(lambda e: e["kind"] == "progress" and e["phase"] == "fit_joint" and e["done"] >= 3)
    assert running.consent(pair.people.withdrawal(one, pair.bank) for one in gone)["withdrawn"] == len(gone)
    said = time.monotonic()
    follower.until(lambda e: e["kind"] == "log" and e.get("excluded") == len(gone))
    print(f"from the withdrawal to its exclusion: {time.monotonic() - said:.2f} s")  # told by pytest -s
    assert time.monotonic() - said < 8
    job = running.wait(job_id)
    assert job["state"] == "succeeded", job["cause"]
    report = running.clients["risk-bank_a"].report(job_id)
    cohort = report["cohort"]
    assert cohort["train"] + cohort["test"] == cohort["intersection"] - len(gone)
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


def test_a_sanction_ends_a_running_job_on_both_sides_at_once(running: Lab, pair: Pair) -> None:
    """R17: at once, everywhere, running jobs included; and it is lifted the same way."""
    job_id = pair.propose(mode="federated", recipe=LONG)
    running.wait_phase(job_id, "psi")
    operator = running.clients["operator"]
    began = time.monotonic()
    operator.call("POST", f"/v1/institutions/{pair.bank}/suspend", json={"ground": "false certification"})
    job = running.wait(job_id, 20)
    assert (job["state"], job["cause"]["code"]) == ("stopped_by_consent", "institution_suspended")
    for node in pair.nodes:
        while node.processes():
            assert time.monotonic() - began < 15, f"{node.name} computes on"
            time.sleep(0.1)
    with pytest.raises(LabError) as refused:
        pair.propose(recipe=SMALL)
    assert refused.value.code == "institution_suspended"
    operator.call("POST", f"/v1/institutions/{pair.bank}/reinstate", json={"ground": "rectified"})
    assert running.wait(pair.propose(recipe=SMALL), 120)["state"] == "succeeded"


def test_withdrawals_recall_the_model_and_are_told_what_rests_on_them(running: Lab, pair: Pair, tmp_path: Path) -> None:
    """R44: beyond a tenth of the cohort the release is recalled; who withdrew is told where the data went."""
    people, bank = pair.people, pair.bank
    without_key = ByCode(running, USCC)
    without_key.consent(bank)
    score = people.consent(ids(900, 901)[0], bank, "underwriting_score")
    running.consent([score])
    job_id = pair.propose(recipe=SMALL)
    assert running.wait(job_id, 120)["state"] == "succeeded"
    proved_uses(pair, ids(500, 501)[0], job_id)
    proved_by_the_platforms_word(pair, without_key, job_id, tmp_path)
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
    assert [i["job_id"] for i in impact["items"] if i["release_id"] == release_id] == [job_id]
    standing = people.consents[ids(500, 501)[0], bank, "joint_training"]
    with pytest.raises(LabError) as held:
        operator.call("GET", f"/v1/consents/{standing}/impact")
    assert held.value.code == "consent_not_withdrawn"

    running.consent(people.withdrawal(one, bank) for one in ids(260, 400))
    until(lambda: operator.release(release_id)["state"] == "recalled", 20)
    with pytest.raises(LabError) as refused:
        risk.score(ids(900, 901)[0], "application", job_id=job_id)
    assert refused.value.code == "release_recalled"
    for node in pair.nodes:
        until(lambda node=node: "was recalled" in node.log.read_text(), 20)


def test_without_a_fresh_head_for_longer_than_the_lease_a_running_fit_ends(
    running: Lab, bank: str, tmp_path: Path
) -> None:
    tables = write_tables(tmp_path / "data", ids(0, 400), ids(0, 400))
    people, short = consented(running, bank, ids(0, 400)), "feed_lease_seconds = 4"
    nodes = (
        running.add_node("lab", tables / "lab", name=f"lab-{bank}", relay_port=free_port(), limits=short),
        running.add_node(bank, tables / "bank", limits=short),
    )
    running.wait_nodes(*(node.name for node in nodes))
    pair = Pair(running, people, bank, nodes)
    job_id = pair.propose(mode="federated", recipe={"name": "boosting", "params": {"rounds": 200}})
    Follower(running, job_id).until(lambda e: e["kind"] == "progress" and e["phase"] == "fit_lab")
    running.control.kill()
    deadline = time.monotonic() + 30
    try:
        while any(node.processes() for node in nodes):
            assert time.monotonic() < deadline, "the nodes compute on without knowing who has withdrawn"
            time.sleep(0.2)
    finally:
        running.control.start()
    job = running.wait(job_id, 40)
    assert (job["state"], job["cause"]["code"]) == ("failed", "lease_lapsed"), job["cause"]
    assert running.wait(pair.propose(recipe=SMALL), 120)["state"] == "succeeded"


def proved_uses(pair: Pair, one: str, job_id: str) -> None:
    """R46: who was used learns it from both nodes, proved through their logs and the platform's ledger."""
    body = usage_question.question(
        question_id="q-" + secrets.token_hex(8),
        enterprise=one,
        at=stamp(datetime.now(UTC)),
        evidence={"kind": "import", "reference": "0" * 64},
    )
    lab, names = pair.lab, {node.name for node in pair.nodes}
    asked = sign(body, pair.people.keys[one], "enterprise")
    told = lab.clients["gateway"].call("POST", "/v1/usage/questions", json={"question": asked})
    [item] = [one for one in told["items"] if one["job_id"] == job_id]  # beside those of other tests
    assert len(item["files"]) == 2
    assert not names & set(told["silent"])
    keys = FixedKeys(VerifyingKey.from_b64(lab.control.platform_key.read_text().strip()))
    found = [node_log.check(*node_log.load(canonical(file)), keys) for file in item["files"]]
    assert {use.by.node for use in found} == names == set(item["nodes"])
    assert {use.use["object"]["id"] for use in found} == {one}
    for use in found:  # the very file that the node's owner gives at the counter, the node running
        folder = lab.nodes[use.by.node].folder
        words = ["uses", "--config", str(folder / "node.toml"), "--enterprise", one, "--out", str(folder / "uses.json")]
        assert CliRunner().invoke(node_app, words).exit_code == 0
        files = node_log.load((folder / "uses.json").read_bytes())
        assert use.use in [node_log.check(file, keys).use for file in files]


def proved_by_the_platforms_word(pair: Pair, one: ByCode, job_id: str, folder: Path) -> None:
    """R46: an enterprise without a key is told just so; the ledger held its question before, and each node noted it."""
    page, file = one.ask()
    assert job_id in page and all(node.name in page for node in pair.nodes)
    control, uses, keys = pair.lab.control, folder / "uses.json", folder / "keys.json"
    uses.write_bytes(file)
    keys.write_bytes(canonical(pair.lab.clients["operator"].call("GET", "/v1/keyring")))
    words = [str(uses), "--keys", str(keys), "--trust", str(control.platform_key), "--json"]
    verified = CliRunner().invoke(verify_app, words)
    assert verified.exit_code == 0, verified.output
    proved = [found for found in json.loads(verified.output)["uses"] if found["use"]["job_id"] == job_id]
    assert {found["node"] for found in proved} == {node.name for node in pair.nodes}
    assert {found["use"]["object"]["id"] for found in proved} == {one.uscc}

    places = set()
    for node in pair.nodes:
        evidence = folder / f"{node.name}.ndjson"
        words = ["questions", "--config", str(node.folder / "node.toml"), "--out", str(evidence)]
        shown = CliRunner().invoke(node_app, words)
        assert "1 questions, 1 of them answered" in shown.output and one.uscc in shown.output
        words = [str(evidence), "--keys", str(keys), "--trust", str(control.platform_key), "--json"]
        found = json.loads(CliRunner().invoke(verify_app, words).output)
        assert (found["kind"], found["document"]["body"]["enterprise"]) == ("question", one.uscc)
        places.add(found["index"])
    [place] = places
    assert str(place) in page
    entry = pair.lab.clients["operator"].call("GET", "/v1/ledger/entries", params={"start": place, "limit": 1})
    assert [found["kind"] for found in entry["entries"]] == ["question"]


def until(holds: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.2)
