"""A job from proposal to end, with a fake node on each side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api.client import LabError
from consent.signed import verify
from consent.ticket import check_ticket, ticket_digest
from consent.times import stamp
from tests.api.world import COLUMNS, SHA, World


def refused(call: Callable[..., object], *arguments: object, **more: object) -> LabError:
    with pytest.raises(LabError) as caught:
        call(*arguments, **more)
    return caught.value


def test_two_approvals_sign_one_ticket_that_a_node_can_verify(world: World) -> None:
    world.cohort()
    job_id = world.proposed(recipe={"name": "boosting", "params": {"rounds": 10}}, protocol={"psi": "ECDH"})
    assert world.bank.work() == []
    first = world.owner.approve_job(job_id, "fits the agreement")
    assert (first["state"], first["approvals"][0]["capacity"]) == ("proposed", "data_owner")
    second = world.operator.approve_job(job_id, "in order")
    assert second["state"] == "approved"

    for node in (world.bank, world.lab):
        ticket = node.wait_for("job")["ticket"]
        body = check_ticket(ticket, world.key.public, stamp(world.clock()))
        assert body["job_id"] == job_id
        assert ticket_digest(ticket) == second["ticket_sha256"]
    assert body["recipe"] == {"name": "boosting", "params": {"rounds": 10}}
    assert body["protocol"]["psi"] == "ECDH"
    assert body["protocol"]["spu"] == "SEMI2K"
    assert body["dataset"] == {
        "name": "sba", "id": "ent_id", "as_of": "as_of", "label": "bad",
        "split": {"column": "split", "train": "train", "test": "oot"},
    }  # fmt: skip
    assert body["parties"]["lab"]["relay"] == "127.0.0.1:9443"
    assert body["parties"]["bank"]["columns"] == COLUMNS


def test_order_of_approvals_does_not_matter_and_nobody_approves_twice(world: World) -> None:
    world.cohort()
    job_id = world.proposed()
    world.operator.approve_job(job_id, "in order")
    assert refused(world.operator.approve_job, job_id, "again").code == "already_decided"
    assert world.owner.approve_job(job_id, "fits")["state"] == "approved"
    assert refused(world.owner.approve_job, job_id, "again").code == "illegal_transition"


def test_a_rejection_ends_the_job_with_its_reason(world: World) -> None:
    job_id = world.proposed()
    job = world.owner.approve_job(job_id, "not in the agreement", "reject")
    assert job["state"] == "cancelled"
    assert job["cause"]["code"] == "rejected"
    assert "not in the agreement" in job["cause"]["message"]
    assert world.bank.work() == []


def test_a_job_does_not_start_without_enough_consents(world: World) -> None:
    job_id = world.proposed()
    world.owner.approve_job(job_id, "fits")
    denied = refused(world.operator.approve_job, job_id, "in order")
    assert (denied.status, denied.code) == (403, "no_consented_rows")
    job = world.operator.job(job_id)
    assert (job["state"], len(job["approvals"])) == ("proposed", 1)
    world.cohort()
    assert world.operator.approve_job(job_id, "now in order")["state"] == "approved"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"dataset": "other"}, "dataset_not_offered"),
        ({"bank": "nobody"}, "dataset_not_offered"),
        ({"columns": {"lab": ["age", "nope"]}}, "column_unknown"),
        ({"columns": {"bank": ["age", "age"]}}, "column_repeated"),
        ({"purpose": "marketing"}, "purpose_not_allowed"),
        ({"mode": "cloud"}, "invalid_request"),
        ({"recipe": {"name": "magic"}}, "invalid_request"),
        ({"protocol": {"spu": "REF2K"}}, "invalid_request"),
        ({"protocol": {"heu": {"key_size": 1024}}}, "invalid_request"),
        ({"recipe": {"name": "boosting", "params": {"l2": 1e300}}}, "invalid_request"),
        ({"unknown": 1}, "invalid_request"),
    ],
)
def test_a_bad_proposal_is_refused_by_name(shared: World, changes: dict, code: str) -> None:
    assert refused(shared.risk.propose_job, shared.proposal(**changes)).code == code


def test_a_bank_proposes_only_its_own_jobs(shared: World) -> None:
    shared.operator.add_institution("bank-z", "Bank Z", "bank")
    other = shared.person("risk-z", "bank-z", "risk")
    # another bank's node is not to be seen, so there is nothing to propose with
    assert refused(other.propose_job, shared.proposal()).code == "dataset_not_offered"
    job_id = shared.proposed()
    assert refused(other.job, job_id).status == 404
    assert refused(other.cancel_job, job_id, "mine?").status == 404
    assert other.jobs() == []


def test_columns_can_be_chosen(world: World) -> None:
    job_id = world.approved(columns={"lab": ["state"]})
    body = world.lab.wait_for("job")["ticket"]["body"]
    assert body["job_id"] == job_id
    assert body["parties"]["lab"]["columns"] == [COLUMNS[1]]
    assert body["parties"]["bank"]["columns"] == COLUMNS


def test_several_nodes_with_one_dataset_must_be_told_apart(world: World) -> None:
    second = world.node("bank-node-2", "bank", "bank-a")
    second.register()
    assert refused(world.risk.propose_job, world.proposal()).code == "node_ambiguous"
    job = world.risk.propose_job(world.proposal(bank="bank-node-2"))
    assert job["bank"] == "bank-a"


def test_both_succeed_and_the_job_succeeds_with_phases_and_report(world: World) -> None:
    job_id = world.running()
    assert world.operator.job(job_id)["state"] == "running"
    for node in (world.bank, world.lab):
        node.tell(
            job_id,
            {"kind": "phase", "phase": "psi", "state": "started"},
            {"kind": "phase", "phase": "psi", "state": "done", "seconds": 1.5, "cpu_seconds": 2, "peak_rss_mb": 300},
            {"kind": "phase", "phase": "fit_joint", "state": "started", "at": "2026-01-01T00:00:00Z"},
            {"kind": "progress", "phase": "fit_joint", "done": 3, "total": 30, "note": ""},
        )
    assert world.lab.report(job_id).status_code == 204
    assert world.bank.report(job_id).status_code == 404  # the lab's node reports, not the bank's
    assert world.bank.state(job_id, "succeeded")["job_state"] == "running"
    assert world.lab.state(job_id, "succeeded")["job_state"] == "succeeded"

    job = world.risk.job(job_id)
    assert [p["phase"] for p in job["phases"]["bank"]] == ["psi", "fit_joint"]
    assert job["phases"]["lab"][0] == {
        "phase": "psi", "state": "done", "seconds": 1.5, "cpu_seconds": 2.0, "peak_rss_mb": 300.0,
    }  # fmt: skip
    assert job["progress"]["bank"] == {"phase": "fit_joint", "done": 3.0, "total": 30.0, "note": ""}
    assert job["cause"] is None
    assert job["model_sha256"] == SHA
    report = world.risk.report(job_id)
    assert report["models"] == {"joint": {"auc": 0.62}}
    assert report["release"] == {"id": None, "state": "pending", "sha256": SHA, "reviewers": []}


def test_a_report_is_kept_once(world: World) -> None:
    job_id = world.running()
    assert world.lab.report(job_id).status_code == 204
    assert world.lab.report(job_id).status_code == 204  # the answer was lost: said again
    assert world.lab.report(job_id, sha256="cd" * 32).status_code == 409


def test_one_side_fails_and_the_other_is_told_why(world: World) -> None:
    job_id = world.running()
    assert world.lab.state(job_id, "failed", "memory_limit", "the engine used 8 GB")["job_state"] == "failed"
    item = world.bank.wait_for("cancel")
    assert (item["job_id"], item["code"]) == (job_id, "memory_limit")
    world.bank.state(job_id, "cancelled", "cancelled")
    job = world.risk.job(job_id)
    assert job["cause"]["party"] == "lab"
    assert job["cause"]["code"] == "memory_limit"
    assert job["cause"]["message_zh"]
    assert job["parties"]["bank"]["code"] == "cancelled"
    assert world.bank.work() == []


def test_the_headline_is_the_first_cause_not_who_noticed(make_world: Callable[..., World]) -> None:
    world = make_world(settle_seconds=3)
    job_id = world.running()
    assert world.bank.state(job_id, "failed", "peer_lost")["job_state"] == "running"
    job_state = world.lab.state(job_id, "stopped_by_consent", "no_consented_rows", "all have withdrawn")["job_state"]
    assert job_state == "stopped_by_consent"
    job = world.risk.job(job_id)
    assert (job["cause"]["party"], job["cause"]["code"]) == ("lab", "no_consented_rows")
    assert job["parties"]["bank"]["code"] == "peer_lost"


def test_when_the_other_side_stays_silent_the_loss_itself_is_the_cause(world: World) -> None:
    job_id = world.running()
    world.bank.state(job_id, "failed", "peer_lost")
    world.clock.advance(6)
    job = world.wait_state(job_id, "failed")
    assert (job["cause"]["party"], job["cause"]["code"]) == ("bank", "peer_lost")


def test_a_cancelled_job_is_offered_to_both_nodes_until_they_answer(world: World) -> None:
    job_id = world.running()
    job = world.risk.cancel_job(job_id, "wrong table")
    assert (job["state"], job["cause"]["code"]) == ("cancelled", "cancelled")
    for node in (world.bank, world.lab):
        assert node.wait_for("cancel")["job_id"] == job_id
        assert node.wait_for("cancel")["job_id"] == job_id  # not answered yet: again
        node.state(job_id, "cancelled", "cancelled")
        assert node.work() == []
    assert refused(world.risk.cancel_job, job_id, "again").code == "illegal_transition"


def test_a_node_not_heard_fails_the_job_and_is_named(world: World) -> None:
    job_id = world.running()
    world.clock.advance(20)
    world.lab.work()  # the lab is heard, the bank is not
    world.clock.advance(15)
    job = world.wait_state(job_id, "failed")
    assert job["cause"]["code"] == "node_not_heard"
    assert job["cause"]["node"] == "bank-node"
    assert "bank-node" in job["cause"]["message_zh"]
    assert world.bank.wait_for("cancel")["job_id"] == job_id  # back again: it must stop


def test_a_job_whose_node_never_begins_fails(world: World) -> None:
    job_id = world.approved()
    world.bank.state(job_id, "running")
    for _ in range(5):
        world.clock.advance(10)
        world.bank.work()
        world.lab.work()
    job = world.wait_state(job_id, "failed")
    assert (job["cause"]["code"], job["cause"]["node"]) == ("node_not_started", "lab-node")


def test_an_approved_job_whose_node_is_away_fails(world: World) -> None:
    job_id = world.approved()
    world.clock.advance(31)
    job = world.wait_state(job_id, "failed")
    assert job["cause"]["code"] == "node_not_heard"


def test_a_job_nobody_begins_fails_when_its_ticket_expires(make_world: Callable[..., World]) -> None:
    world = make_world(ticket_seconds=25)
    job_id = world.approved()
    world.clock.advance(26)
    job = world.wait_state(job_id, "failed")
    assert job["cause"]["code"] == "ticket_expired"


def test_a_failed_job_can_be_run_again_and_is_approved_alike(world: World) -> None:
    job_id = world.running()
    assert refused(world.risk.retry_job, job_id, "early").code == "not_retriable"
    world.lab.state(job_id, "failed", "engine_died")
    again = world.risk.retry_job(job_id, "once more")
    assert (again["state"], again["retry_of"]) == ("proposed", job_id)
    world.owner.approve_job(again["id"], "fits")
    assert world.operator.approve_job(again["id"], "in order")["state"] == "approved"
    assert world.lab.wait_for("job")["ticket"]["body"]["job_id"] == again["id"]


def test_an_operator_who_retries_may_still_approve(world: World) -> None:
    job_id = world.running()
    world.lab.state(job_id, "failed", "engine_died")
    again = world.operator.retry_job(job_id, "engine repaired")["id"]
    world.owner.approve_job(again, "fits")
    assert world.operator.approve_job(again, "in order")["state"] == "approved"
    assert world.operator.job(again)["requested_by"] == "risk"


def test_what_is_said_after_the_end_is_logged_and_changes_nothing(world: World) -> None:
    job_id = world.succeeded()
    before = world.risk.job(job_id)["last_seq"]
    assert world.lab.state(job_id, "failed", "late")["job_state"] == "succeeded"
    job = world.risk.job(job_id)
    assert (job["state"], job["parties"]["lab"]["state"]) == ("succeeded", "succeeded")
    assert job["last_seq"] == before + 1


def test_phases_before_a_state_count_as_running(world: World) -> None:
    job_id = world.approved()
    world.bank.tell(job_id, {"kind": "phase", "phase": "psi", "state": "started"})
    assert world.operator.job(job_id)["state"] == "running"


def test_a_strange_node_learns_nothing(world: World) -> None:
    job_id = world.running()
    world.operator.add_institution("bank-b", "Bank B", "bank")
    stranger = world.node("stranger", "bank", "bank-b")
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        stranger.state(job_id, "failed", "sabotage")
    assert world.operator.job(job_id)["state"] == "running"


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "state", "state": "pending"},
        {"kind": "state"},
        {"kind": "phase", "phase": "psi"},
        {"kind": "gossip"},
        {"kind": "log", "message": "nul \x00"},
        {"kind": "log", "deep": [[[[[[[[[[[[[[1]]]]]]]]]]]]]]},
    ],
)
def test_a_malformed_event_is_refused(shared: World, event: dict) -> None:
    answer = shared.bank.http.post("/v1/node/jobs/j-000000000000/events", json={"events": [event]})
    assert answer.status_code == 422


def test_events_are_followed_live_in_one_order(world: World) -> None:
    job_id = world.running()
    after = world.risk.job(job_id)["last_seq"]
    seen: list[tuple[float, dict]] = []

    def follow() -> None:
        for event in world.client("risk").follow_job(job_id, after):
            seen.append((time.monotonic(), event))

    thread = threading.Thread(target=follow)
    thread.start()
    time.sleep(0.3)
    world.bank.tell(job_id, {"kind": "progress", "phase": "fit", "done": 1, "total": 2})
    told = time.monotonic()
    time.sleep(0.2)
    world.bank.state(job_id, "succeeded")
    world.lab.state(job_id, "succeeded")
    thread.join(5)
    assert not thread.is_alive()
    assert seen[0][1]["kind"] == "progress"
    assert seen[0][0] - told < 0.3
    assert [e["seq"] for _, e in seen] == list(range(after + 1, after + 1 + len(seen)))
    assert seen[-1][1]["state"] == "succeeded"


def test_work_is_answered_within_50_ms_of_the_approval(world: World) -> None:
    world.cohort()
    job_id = world.proposed()
    world.owner.approve_job(job_id, "fits")
    answered: list[float] = []

    def wait() -> None:
        assert world.lab.work(wait=20)
        answered.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    world.operator.approve_job(job_id, "in order")
    done = time.monotonic()
    thread.join(5)
    assert answered
    assert answered[0] - done < 0.05


def test_work_that_a_node_hung_up_on_is_offered_again_at_once(make_world: Callable[..., World]) -> None:
    world = make_world(redelivery_seconds=30)
    world.cohort()
    job_id = world.proposed()
    world.owner.approve_job(job_id, "fits")
    with pytest.raises(httpx.ReadTimeout):
        world.lab.http.get("/v1/node/work", params={"wait": 20}, timeout=0.4)
    world.operator.approve_job(job_id, "in order")
    time.sleep(0.3)  # the abandoned poll wakes now, to nobody
    assert [item["kind"] for item in world.lab.work()] == ["job"]
    assert world.lab.work() == []  # handed out: not again before its time


def test_waiting_nodes_hold_no_connection_and_no_thread(world: World) -> None:
    """More pollers than the pool has connections and the server has threads, and everybody else is served."""
    threads = []
    with httpx.Client(base_url=world.url, limits=httpx.Limits(max_connections=120)) as http:
        headers = {"Authorization": f"Bearer {world.tokens['lab-node']}"}

        def wait() -> None:
            http.get("/v1/node/work", params={"wait": 8}, headers=headers, timeout=30)

        for _ in range(80):
            threads.append(threading.Thread(target=wait))
            threads[-1].start()
        deadline = time.monotonic() + 6  # while all of them wait; each has looked once by then
        pool: Any = world.db.engine.pool
        while (held := pool.checkedout()) >= 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert held < 5
        assert world.operator.jobs() == []
        assert all(thread.is_alive() for thread in threads[-20:])
        for thread in threads:
            thread.join(15)


def test_a_tampered_ticket_would_not_verify(world: World) -> None:
    world.approved()
    ticket = world.lab.wait_for("job")["ticket"]
    ticket["body"]["leaks"] = "keep"
    with pytest.raises(Exception, match="signature"):
        verify(ticket, "platform", world.key.public)


def test_a_node_registers_for_its_own_institution_only(shared: World) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        shared.bank.register(institution="lab", role="lab", relay="h:1")
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        shared.bank.register(role="lab", relay="h:1")
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        shared.lab.register(relay=None)
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        shared.bank.register(datasets=[shared.bank.dataset(), shared.bank.dataset()])
