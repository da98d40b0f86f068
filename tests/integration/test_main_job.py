"""The main job with two real nodes: both modes, review, release, score, withdraw (R14, R43, R46, R50–R51, R61)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from api.client import LabError
from api.ledger_cli import app as ledger_app
from consent import usage_question
from consent.signed import sign
from consent.times import stamp
from models.report.assemble import validate
from tests.integration.conftest import consented, ids, write_tables
from tests.support.lab import Enterprises, Lab

pytestmark = pytest.mark.timeout(280)
BOOSTING = {"name": "boosting", "params": {"rounds": 12, "max_depth": 3}}


@pytest.fixture(scope="module")
def lab(running: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    tables = write_tables(tmp_path_factory.mktemp("tables") / "data", ids(0, 1200), ids(200, 1600))
    running.add_node("lab", tables / "lab")
    running.add_node("bank_a", tables / "bank")
    running.wait_nodes("lab-node", "bank_a-node")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def enterprises(lab: Lab) -> Enterprises:
    """Of the 1,000 common enterprises the first 100 refuse; three customers also consent to being scored."""
    people = consented(lab, "bank_a", ids(300, 1600))
    refusals = [people.consent(one, "bank_a", kind="refusal") for one in ids(0, 300)]
    scored = [people.consent(one, "bank_a", "underwriting_score") for one in ids(400, 403)]
    assert lab.consent([*refusals, *scored])["errors"] == []
    return people


@pytest.fixture(scope="module")
def zone_job(lab: Lab, enterprises: Enterprises) -> dict:
    return lab.run("tiny", recipe=BOOSTING)


def release(lab: Lab, job: dict) -> dict:
    """The whole way out: request, two reviews, approval, both nodes' confirmation."""
    asked = lab.clients["risk-bank_a"].request_release(job["id"], "to score applicants")
    for name in ("reviewer1", "reviewer2"):
        lab.clients[name].review_release(asked["id"], "approve", "report read")
    lab.clients["operator"].approve_release(asked["id"], "reviews are in")
    deadline = time.monotonic() + 120
    while (state := lab.clients["operator"].release(asked["id"]))["state"] != "released":
        assert time.monotonic() < deadline, state
        time.sleep(0.3)
    return state


@pytest.fixture(scope="module")
def released(lab: Lab, zone_job: dict) -> dict:
    return release(lab, zone_job)


def assert_report_is_whole(report: dict, mode: str) -> None:
    validate(report)
    assert report["mode"] == mode
    assert report["cohort"]["bank_rows"] == 1200
    assert report["cohort"]["lab_rows"] == 1400
    assert report["cohort"]["consented"] == 900
    assert report["cohort"]["intersection"] == 900
    assert report["cohort"]["train"] + report["cohort"]["test"] == 900
    assert set(report["models"]) == {"bank_only", "lab_only", "stacked", "joint"}
    for metrics in report["models"].values():
        low, high = metrics["auc_ci"]
        assert 0.5 < low <= metrics["auc"] <= high < 1
    assert report["uplift"]["auc"] == pytest.approx(
        report["models"]["joint"]["auc"] - report["models"]["bank_only"]["auc"], abs=2e-4
    )
    assert report["uplift"]["statement_zh"]
    assert report["protocol"]["trust_model"]
    assert report["protocol"]["reveals"]
    assert report["egress"]["bank_to_lab_bytes"] > 10_000


def test_zone_mode_ends_in_a_whole_report(lab: Lab, zone_job: dict) -> None:
    assert zone_job["state"] == "succeeded", zone_job["cause"]
    report = lab.clients["risk-bank_a"].report(zone_job["id"])
    assert_report_is_whole(report, "zone")
    assert {phase["name"] for phase in report["phases"]} >= {"open", "screen", "fit", "evaluate"}
    assert report["release"]["state"] in ("pending", "released")


@pytest.mark.parametrize("recipe", [BOOSTING, {"name": "logistic", "params": {}}], ids=["boosting", "logistic"])
def test_federated_mode_ends_in_a_whole_report(lab: Lab, enterprises: Enterprises, recipe: dict) -> None:
    job = lab.run("tiny", mode="federated", recipe=recipe)
    assert job["state"] == "succeeded", job["cause"]
    report = lab.clients["risk-bank_a"].report(job["id"])
    assert_report_is_whole(report, "federated")
    assert {phase["name"] for phase in report["phases"]} >= {"psi", "fit_lab", "fit_joint", "predict", "evaluate"}
    assert report["egress"]["lab_to_bank_bytes"] > 10_000
    assert report["models"]["joint"]["auc"] > report["models"]["bank_only"]["auc"] + 0.03


def test_zone_logistic_ends_in_a_whole_report(lab: Lab, enterprises: Enterprises) -> None:
    job = lab.run("tiny", recipe={"name": "logistic", "params": {}})
    assert job["state"] == "succeeded", job["cause"]
    assert_report_is_whole(lab.clients["risk-bank_a"].report(job["id"]), "zone")


def test_nothing_leaves_before_two_independent_reviews(lab: Lab, zone_job: dict, released: dict) -> None:
    """The released file is content-addressed JSON, the same at both nodes, and exists only after approval."""
    bank = lab.nodes["bank_a-node"].state / "releases" / f"{released['sha256']}.json"
    zone = lab.nodes["lab-node"].state / "releases" / f"{released['sha256']}.json"
    assert bank.read_bytes() == zone.read_bytes()
    assert hashlib.sha256(bank.read_bytes()).hexdigest() == released["sha256"]
    model = json.loads(bank.read_bytes())
    assert model["format"] == "creditlab.model/1"
    assert model["job_id"] == zone_job["id"]
    report = lab.clients["risk-bank_a"].report(zone_job["id"])
    assert report["release"]["state"] == "released"
    assert report["release"]["sha256"] == released["sha256"]
    assert len(report["release"]["reviewers"]) == 2


def test_an_unreleased_model_cannot_be_had_or_used(lab: Lab, enterprises: Enterprises) -> None:
    job = lab.run("tiny", recipe=BOOSTING)
    asked = lab.clients["risk-bank_a"].request_release(job["id"], "please")
    lab.clients["reviewer1"].review_release(asked["id"], "approve", "fine")
    with pytest.raises(LabError):
        lab.clients["reviewer1"].review_release(asked["id"], "approve", "fine again")
    with pytest.raises(LabError):
        lab.clients["operator"].approve_release(asked["id"], "one is enough")
    with pytest.raises(LabError):
        lab.clients["risk-bank_a"].score(ids(400, 401)[0], "application", job_id=job["id"])
    for node in ("bank_a-node", "lab-node"):
        assert not (lab.nodes[node].state / "releases" / f"{job['model_sha256']}.json").exists()


def test_a_score_needs_its_own_live_consent_and_leaves_a_record(
    lab: Lab, enterprises: Enterprises, released: dict
) -> None:
    """R14, R46, PIPL §23: consent to training is not consent to scoring; withdrawal refuses the next score at once."""
    risk = lab.clients["risk-bank_a"]
    one, another = ids(400, 402)
    score = risk.score(one, "loan application 17", release_sha256=released["sha256"])
    assert 0 < score["pd"] < 1
    assert 200 < score["score"] < 1000
    assert score["reasons"]
    assert score["model"]["sha256"] == released["sha256"]
    with pytest.raises(LabError) as refused:
        risk.score(ids(500, 501)[0], "loan application 18", release_sha256=released["sha256"])
    assert refused.value.code == "no_consent"
    uses = lab.clients["operator"].usage(one)
    assert any(use["purpose"] == "underwriting_score" and "17" in use["reason"] for use in uses)

    risk.score(another, "application", release_sha256=released["sha256"])
    lab.consent([enterprises.withdrawal(another, "bank_a", "underwriting_score")])
    started = time.monotonic()
    with pytest.raises(LabError) as refused:
        risk.score(another, "application", release_sha256=released["sha256"])
    assert refused.value.code == "consent_withdrawn"
    assert time.monotonic() - started < 1


def test_an_enterprise_learns_from_both_nodes_which_jobs_used_its_row(
    lab: Lab, enterprises: Enterprises, zone_job: dict
) -> None:
    """R46, R51: the enterprise is told, by its own signature; nobody else is, the platform included."""

    def ask(enterprise: str, signer: str, number: int) -> dict:
        body = usage_question.question(
            question_id=f"q-{number:016x}",
            enterprise=enterprise,
            at=stamp(datetime.now(UTC)),
            evidence={"kind": "import", "reference": "0" * 64},
        )
        document = sign(body, enterprises.keys[signer], "enterprise")
        return lab.clients["gateway"].call("POST", "/v1/usage/questions", json={"question": document})

    one, another = ids(410, 412)
    told = ask(one, one, 1)
    assert told["silent"] == []
    used = {item["job_id"]: item for item in told["items"]}
    assert used[zone_job["id"]]["nodes"] == ["bank_a-node", "lab-node"]
    assert used[zone_job["id"]]["record"]["object"] == {"kind": "enterprise", "id": one}
    told = ask(*ids(10, 11) * 2, 2)
    assert told == {"items": [], "silent": [], "refused": [], "asked": []}  # it refused: no row of it was ever used
    told = ask(one, another, 3)
    assert {(no["node"], no["code"]) for no in told["refused"]} == {
        (node, "not_the_enterprise") for node in ("bank_a-node", "lab-node")
    }
    assert told["items"] == []


def test_every_act_of_the_lab_is_in_the_ledger(lab: Lab, released: dict) -> None:
    """R14, R46: the database is whole, and every document behind it is the one that was entered."""
    result = CliRunner().invoke(ledger_app, ["fsck", "--home", str(lab.control.home), "--json"])
    found = json.loads(result.output)
    assert (result.exit_code, found["whole"]) == (0, True)
    assert found["documents"] == found["size"] > 1600


def test_withdrawal_while_the_job_runs_takes_effect_before_the_next_phase(lab: Lab, enterprises: Enterprises) -> None:
    """R61, PIPL §15: who withdraws during fit_lab is not among the rows of fit_joint."""
    gone = ids(1000, 1010)
    job_id = lab.propose("tiny", mode="federated", recipe=BOOSTING)
    lab.approve(job_id)
    lab.wait_phase(job_id, "psi")
    assert lab.consent(enterprises.withdrawal(one, "bank_a") for one in gone)["withdrawn"] == len(gone)
    job = lab.wait(job_id)
    assert job["state"] == "succeeded", job["cause"]
    report = lab.clients["risk-bank_a"].report(job_id)
    assert report["withdrawals"]["during_job"] == len(gone)
    assert report["cohort"]["intersection"] == 900
    assert report["cohort"]["train"] + report["cohort"]["test"] == 900 - len(gone)
