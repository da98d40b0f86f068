"""A withdrawal bites: scores refused, jobs ended, releases recalled, notices sent, impact told (R14, R17, R44)."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from consent.book import ConsentBook, verify_event
from consent.feed import START, extend, read_head
from consent.ticket import check_impact_question
from consent.times import stamp
from tests.api.test_jobs import refused
from tests.api.world import Enterprise, World


def book_of(world: World) -> ConsentBook:
    """A node's book of the whole feed, every document verified."""
    page, book = world.bank.feed(), ConsentBook()
    for event in page["events"]:
        verify_event(event, world.key.public)
        book.apply(event)
    return book


def sanction(world: World, what: str, institution: str = "bank-a", **more: Any) -> dict[str, Any]:
    return world.operator.call("POST", f"/v1/institutions/{institution}/{what}", json={"ground": "case 7", **more})


def scored(world: World) -> tuple[str, Enterprise]:
    """A released model and an enterprise that consents to being scored."""
    job_id = world.succeeded()
    world.released(job_id)
    enterprise = Enterprise("E-score")
    world.gateway.import_consents([enterprise.consent("c-score", purpose="underwriting_score")])
    return job_id, enterprise


def share(world: World, node: Any, release_id: str, value: float, seq: int = 1) -> dict[str, Any]:
    answer = node.http.post(f"/v1/node/releases/{release_id}/share", json={"share": value, "seq": seq})
    answer.raise_for_status()
    return answer.json()


# ---- the feed's signed head


def test_every_page_carries_a_signed_head_of_its_own_chain(world: World) -> None:
    world.cohort(9)
    chain, after = START, 0
    for _ in range(4):
        page = world.lab.feed(after, limit=4)
        head = read_head(page["signed_head"], world.key.public)
        chain = extend(chain, page["events"])
        after = page["events"][-1]["seq"] if page["events"] else after
        assert (head.seq, head.chain, head.last) == (after, chain, 9)
    assert after == 9
    assert abs(time.time() - _seconds(head.at)) < 5


def _seconds(text: str) -> float:
    from consent.times import parse

    return parse(text).timestamp()


# ---- pausing, expiry, sanctions


@pytest.mark.parametrize("how", ["withdraw", "pause", "expire", "suspend"])
def test_what_ends_a_permission_refuses_the_next_score_within_a_second(world: World, how: str) -> None:
    """R14, R17: from the act to the refusal, whatever the act is."""
    job_id, enterprise = scored(world)
    consent = enterprise.consent("c-2", purpose="underwriting_score", recipient="bank-a")
    if how == "pause":
        other = Enterprise("E-2")
        consent = other.consent("c-2", purpose="underwriting_score")
        world.gateway.import_consents([consent])
    began = time.monotonic()
    if how == "withdraw":
        world.gateway.import_consents([enterprise.withdrawal("c-score")])
    elif how == "pause":
        world.gateway.import_consents([other.transition(consent, "pause")])
    elif how == "suspend":
        sanction(world, "suspend")
    else:
        world.clock.advance(301 * 86_400)
    denied = refused(world.risk.score, "E-2" if how == "pause" else "E-score", "again", job_id=job_id)
    assert time.monotonic() - began < 1
    expected = {"withdraw": "consent_withdrawn", "pause": "consent_paused", "suspend": "institution_suspended"}
    # the sweep may have signed the end already, or not: the very second decides
    assert denied.code == expected.get(how, "expired")
    assert world.bank.work() == []


def test_a_term_that_is_over_is_signed_by_the_platform_and_told(world: World) -> None:
    """PIPL §14: the nodes' books and the control plane agree without anybody's further act."""
    one, two = Enterprise("E1"), Enterprise("E2")
    paused = two.consent("c-2")
    world.gateway.import_consents([one.consent("c-1"), paused, two.transition(paused, "pause")])
    world.clock.advance(301 * 86_400)
    deadline = time.monotonic() + 5
    while [c["state"] for name in ("E1", "E2") for c in world.operator.consents(name)] != ["expired", "expired"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    book = book_of(world)
    entry = book.entry("E2", "bank-a", "joint_training")
    assert entry is not None and entry.state == "expired"
    [last] = world.operator.audit("consent", "c-1")[-1:]
    assert (last["action"], last["actor"], last["to_state"]) == ("consent.expire", "system", "expired")
    events = world.risk.call("GET", "/v1/consent-events", params={"limit": 500})["events"]
    assert [e["body"]["event"]["state"] for e in events][-2:] == ["expired", "expired"]


def test_a_suspension_stops_jobs_reaches_the_nodes_and_is_lifted(world: World) -> None:
    """R17: ground, evidence, scope and end; at once, running jobs included."""
    running, waiting = world.running(), world.approved()
    proposed = world.proposed()
    body = sanction(world, "suspend", evidence="file 12/2026")
    assert (body["state"], body["ground"], body["evidence"]) == ("suspended", "case 7", "file 12/2026")
    for job_id in (running, waiting):
        job = world.operator.job(job_id)
        assert (job["state"], job["cause"]["code"]) == ("stopped_by_consent", "institution_suspended")
    assert {item["job_id"] for item in world.bank.work() if item["kind"] == "cancel"} == {running, waiting}
    assert refused(world.risk.propose_job, world.proposal()).code == "institution_suspended"
    world.owner.approve_job(proposed, "fits")
    assert refused(world.operator.approve_job, proposed, "in order").code == "institution_suspended"
    assert book_of(world).institution_state("bank-a") == "suspended"
    assert refused(world.operator.call, "POST", "/v1/institutions/bank-a/suspend", json={"ground": "x"}).status == 409

    sanction(world, "reinstate")
    assert book_of(world).institution_state("bank-a") == "active"
    assert world.operator.approve_job(proposed, "in order")["state"] == "approved"
    assert refused(world.operator.call, "POST", "/v1/institutions/bank-a/reinstate", json={"ground": "x"}).status == 409


def test_a_suspension_of_the_lab_stops_its_jobs_too(world: World) -> None:
    running = world.running()
    sanction(world, "suspend", "lab")
    assert world.operator.job(running)["cause"]["code"] == "institution_suspended"


def test_a_suspension_with_an_end_is_lifted_by_itself(world: World) -> None:
    past = stamp(world.clock())
    assert refused(sanction, world, "suspend", until=past).status == 422
    sanction(world, "suspend", until=stamp(world.clock() + timedelta(seconds=60)))
    world.clock.advance(120)
    deadline = time.monotonic() + 5
    while book_of(world).institution_state("bank-a") != "active":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_removal_is_final_and_takes_proposals_along(world: World) -> None:
    proposed = world.proposed()
    sanction(world, "remove")
    assert world.operator.job(proposed)["state"] == "cancelled"
    assert refused(world.operator.call, "POST", "/v1/institutions/bank-a/reinstate", json={"ground": "x"}).status == 409
    assert refused(sanction, world, "suspend", "nowhere").status == 404
    assert refused(sanction, world, "suspend", "platform").status == 403


# ---- shares, recall, notices


def test_withdrawals_open_a_notice_and_too_many_recall_the_release(world: World) -> None:
    """R44: the largest share that a node reports counts, and what is recalled serves nobody."""
    job_id, _ = scored(world)
    release_id = world.operator.releases("released")[0]["id"]
    items = world.bank.http.get("/v1/node/releases").json()["items"]
    assert [(i["release_id"], i["job_id"], i["state"]) for i in items] == [(release_id, job_id, "released")]
    assert share(world, world.lab, release_id, 0.0)["share"] == 0
    assert world.risk.call("GET", "/v1/retraining-notices")["items"] == []

    share(world, world.bank, release_id, 0.04, seq=5)
    [notice] = world.risk.call("GET", "/v1/retraining-notices", params={"state": "open"})["items"]
    assert (notice["release_id"], notice["bank"], notice["share"]) == (release_id, "bank-a", 0.04)
    share(world, world.bank, release_id, 0.1, seq=6)
    share(world, world.bank, release_id, 0.0, seq=4)  # an older word, late
    seen = world.risk.call("GET", f"/v1/releases/{release_id}/consents")
    assert (seen["state"], seen["share"], seen["recall_share"]) == ("released", 0.1, 0.1)
    assert len(seen["nodes"]) == 2

    assert share(world, world.lab, release_id, 0.11, seq=7)["state"] == "recalled"
    denied = refused(world.risk.score, "E-score", "application", job_id=job_id)
    assert (denied.status, denied.code) == (403, "release_recalled")
    assert denied.message_zh
    assert refused(world.risk.request_release, job_id, "again").code == "release_recalled"
    kinds = [e["body"]["kind"] for e in world.risk.call("GET", "/v1/consent-events", params={"limit": 500})["events"]]
    assert [k for k in kinds if k in ("retraining", "recall")] == ["retraining", "retraining", "retraining", "recall"]
    assert world.bank.http.get("/v1/node/releases").json()["items"][0]["state"] == "recalled"


def test_a_notice_ends_with_a_model_trained_after_it(world: World) -> None:
    before = world.succeeded()
    release_id = world.released(before)
    share(world, world.bank, release_id, 0.02)
    [notice] = world.operator.call("GET", "/v1/retraining-notices")["items"]
    address = f"/v1/retraining-notices/{notice['id']}/close"
    late = refused(world.risk.call, "POST", address, json={"reason": "done", "retrained_by": before})
    assert late.code == "not_retrained"
    again = world.succeeded("cd" * 32)
    closed = world.risk.call("POST", address, json={"reason": "done", "retrained_by": again})
    assert (closed["state"], closed["retrained_by"]) == ("retrained", again)
    assert refused(world.risk.call, "POST", address, json={"reason": "again"}).status == 409


def test_the_operator_recalls_by_hand(world: World) -> None:
    release_id = world.released(world.succeeded())
    body = {"reason": "found to be unsound"}
    assert world.operator.call("POST", f"/v1/releases/{release_id}/recall", json=body)["state"] == "recalled"
    assert refused(world.operator.call, "POST", f"/v1/releases/{release_id}/recall", json=body).status == 409


@pytest.mark.parametrize("value", [-0.1, 1.1, "x", None])
def test_a_share_is_a_share_and_comes_from_a_node_of_the_job(world: World, value: Any) -> None:
    release_id = world.released(world.succeeded())
    answer = world.bank.http.post(f"/v1/node/releases/{release_id}/share", json={"share": value, "seq": 1})
    assert answer.status_code == 422
    world.operator.add_institution("bank-b", "Bank B", "bank")
    stranger = world.node("bank-b-node", "bank", "bank-b")
    answer = stranger.http.post(f"/v1/node/releases/{release_id}/share", json={"share": 0.5, "seq": 1})
    assert answer.status_code == 404


# ---- impact


def answering(world: World, answers: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Both nodes answer the next question as given; returns the questions."""
    asked: list[dict[str, Any]] = []

    def serve(node: Any) -> None:
        item = node.wait_for("impact")
        asked.append(item["question"])
        question_id = item["question"]["body"]["question_id"]
        node.http.post(f"/v1/node/impact/{question_id}", json=answers[node.name]).raise_for_status()

    threads = [threading.Thread(target=serve, args=(node,)) for node in (world.bank, world.lab)]
    for thread in threads:
        thread.start()
    return asked


def test_a_withdrawal_lists_the_models_that_rest_on_it_and_nothing_of_it_stays(world: World) -> None:
    """R44: from both nodes; what only one of them admitted entered no model."""
    first, second = world.succeeded(), world.succeeded("cd" * 32)
    release_id = world.released(first)
    share(world, world.bank, release_id, 0.03)
    enterprise = Enterprise("E0")
    world.gateway.import_consents([enterprise.consent("c-x", purpose="report_query")])
    asked = answering(world, {"bank-node": {"job_ids": [first, second]}, "lab-node": {"job_ids": [first]}})
    impact = world.operator.call("GET", "/v1/consents/c-E0/impact")
    assert [(i["job_id"], i["release_id"], i["release_state"], i["share"]) for i in impact["items"]] == [
        (first, release_id, "released", 0.03)
    ]
    question = check_impact_question(asked[0], world.key.public, stamp(world.clock()))
    assert (question["consent_id"], question["enterprise"]) == ("c-E0", "E0")
    with world.db.owner.connect() as connection:
        tables = [row[0] for row in connection.exec_driver_sql(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'job_events'"
        )]  # fmt: skip
        assert connection.exec_driver_sql("SELECT count(*) FROM node_questions").scalar() == 0
        for table in tables:
            rows = connection.exec_driver_sql(f'SELECT t::text FROM "{table}" t').scalars().all()
            assert not any("c-E0" in row and first in row for row in rows), table


def test_what_a_node_holds_back_is_said_with_its_reason(world: World) -> None:
    world.succeeded()
    refusal = {"code": "consent_not_withdrawn", "message": "it stands", "message_zh": "授权有效"}
    answering(world, {"bank-node": refusal, "lab-node": refusal})
    held = refused(world.operator.call, "GET", "/v1/consents/c-E0/impact")
    assert (held.status, held.code, held.message_zh) == (403, "consent_not_withdrawn", "授权有效")


def test_nodes_that_do_not_answer_are_named_in_time(make_world: Any) -> None:
    world = make_world(score_seconds=0.5)
    world.succeeded()
    late = refused(world.operator.call, "GET", "/v1/consents/c-E0/impact")
    assert (late.status, late.code) == (504, "impact_deadline")
    assert "bank-node" in json.dumps(late.problem)


def test_a_consent_that_no_job_could_rest_on_asks_nobody(world: World) -> None:
    world.cohort(1)
    assert world.operator.call("GET", "/v1/consents/c-E0/impact")["items"] == []
    assert refused(world.operator.call, "GET", "/v1/consents/c-none/impact").status == 404
