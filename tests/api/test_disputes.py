"""Disputes within 20 days, complaints within 30: clocks, who answers, what is flagged (征信业管理条例 §25–26)."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import pytest

from api.db import Actor
from api.disputes import service
from api.disputes.schemas import DisputeIn
from tests.api.test_jobs import refused
from tests.api.world import Enterprise, World


def opened(world: World, **changes: Any) -> dict[str, Any]:
    body = {"kind": "dispute", "enterprise": "E1", "text": "纳税等级有误", "consent_id": "c-1", **changes}
    return world.operator.call("POST", "/v1/disputes", json=body)


def move(client: Any, dispute: dict[str, Any], what: str, word: str = "so it is") -> dict[str, Any]:
    body = {"answer": word} if what == "answer" else {"reason": word}
    return client.call("POST", f"/v1/disputes/{dispute['id']}/{what}", json=body)


@pytest.fixture
def given(world: World) -> World:
    world.gateway.import_consents([Enterprise("E1").consent("c-1", purpose="underwriting_score")])
    return world


def days(dispute: dict[str, Any]) -> float:
    at, due = (datetime.fromisoformat(dispute[name]) for name in ("opened_at", "due_at"))
    return (due - at).total_seconds() / 86_400


def test_a_dispute_is_due_in_20_days_a_complaint_in_30_and_both_are_told(given: World) -> None:
    dispute, complaint = opened(given), opened(given, kind="complaint", text="未经同意查询")
    assert (days(dispute), days(complaint)) == (20, 30)
    assert (dispute["institution"], dispute["state"], dispute["overdue"]) == ("bank-a", "open", False)
    told = [e["body"] for e in given.risk.call("GET", "/v1/consent-events")["events"]]
    assert [t["event"]["dispute_id"] for t in told if t["kind"] == "dispute"] == [dispute["id"], complaint["id"]]
    assert [d["id"] for d in given.risk.call("GET", "/v1/disputes")["items"]] == [complaint["id"], dispute["id"]]


def test_it_is_answered_accepted_or_reopened_with_a_new_clock(given: World) -> None:
    dispute = opened(given)
    assert refused(move, given.operator, dispute, "close").status == 409  # not before an answer
    answered = move(given.risk, dispute, "answer", "核实后已更正")
    assert (answered["state"], answered["answered_by"], answered["answer"]) == ("answered", "risk", "核实后已更正")
    given.clock.advance(3 * 86_400)
    again = move(given.operator, dispute, "reopen", "仍有误")
    assert again["state"] == "open" and days(again) == pytest.approx(23, abs=0.01)
    move(given.risk, dispute, "answer", "再次更正")
    closed = move(given.operator, dispute, "close")
    assert closed["state"] == "closed" and closed["ended_at"]
    assert refused(move, given.operator, dispute, "reopen").status == 409
    actions = [row["action"] for row in given.operator.audit("dispute", dispute["id"])]
    assert actions == [
        "dispute.open", "dispute.answer", "dispute.open", "dispute.answer", "dispute.closed",
    ]  # fmt: skip


def test_what_is_overdue_is_listed_the_longest_first_until_it_is_answered(given: World) -> None:
    first = opened(given)
    given.clock.advance(86_400)
    second = opened(given)
    overdue = lambda: [d["id"] for d in given.operator.call("GET", "/v1/disputes", params={"overdue": True})["items"]]  # noqa: E731
    given.clock.advance(19 * 86_400 - 60)
    assert overdue() == []
    given.clock.advance(120)
    assert overdue() == [first["id"]]
    given.clock.advance(86_400)
    assert overdue() == [first["id"], second["id"]]
    assert given.operator.call("GET", f"/v1/disputes/{first['id']}")["overdue"] is True
    move(given.risk, first, "answer")
    assert overdue() == [second["id"]]
    late = [row["detail"]["late"] for row in given.operator.audit("dispute") if row["action"] == "dispute.answer"]
    assert late == [True]


def test_who_is_complained_of_does_not_answer_the_complaint(given: World) -> None:
    complaint = opened(given, kind="complaint")
    assert refused(move, given.risk, complaint, "answer").code == "complaint_of_own"
    assert move(given.operator, complaint, "answer")["state"] == "answered"


def test_another_bank_neither_sees_nor_answers_it(given: World) -> None:
    given.operator.add_institution("bank-b", "Bank B", "bank")
    other = given.person("risk-b", "bank-b", "risk")
    dispute = opened(given)
    assert other.call("GET", "/v1/disputes")["items"] == []
    assert refused(other.call, "GET", f"/v1/disputes/{dispute['id']}").status == 404
    assert refused(move, other, dispute, "answer").status == 404


@pytest.mark.parametrize("about", [{"consent_id": "c-2"}, {"consent_id": "c-none"}, {"usage_id": "u-none"}])
def test_it_is_about_what_is_the_enterprises_own(given: World, about: dict[str, str]) -> None:
    given.gateway.import_consents([Enterprise("E2").consent("c-2")])
    assert refused(opened, given, **{"consent_id": None, **about}).status == 404


def test_the_enterprise_opens_and_takes_back_its_own_and_nobody_elses(given: World) -> None:
    """What the enterprise's page calls."""
    person = Actor("person-1", "王敏", "E1")
    body = DisputeIn(kind="dispute", enterprise="E1", text="有误", consent_id="c-1")
    mine = service.open_dispute(given.control, person, body)
    assert [d.id for d in service.of_enterprise(given.control, "E1").items] == [mine.id]
    stranger = Actor("person-2", "李", "E2")
    with pytest.raises(Exception, match="there is no dispute"):
        service.take_back(given.control, stranger, mine.id, "x", enterprise="E2")
    assert service.take_back(given.control, person, mine.id, "解决了", enterprise="E1").state == "withdrawn"


def test_a_score_of_an_enterprise_under_dispute_says_so_until_it_is_settled(world: World) -> None:
    """§25: what is under dispute is marked; a complaint marks nothing."""
    job_id = world.succeeded()
    world.released(job_id)
    world.gateway.import_consents([Enterprise("E1").consent("c-1", purpose="underwriting_score")])

    def score() -> dict[str, Any]:
        node = threading.Thread(target=world.bank.score_once)
        node.start()
        try:
            return world.risk.score("E1", "application", job_id=job_id)
        finally:
            node.join(12)

    opened(world, kind="complaint")
    assert score()["disputed"] is False
    dispute = opened(world)
    assert score()["disputed"] is True
    move(world.risk, dispute, "answer")
    assert score()["disputed"] is True
    move(world.operator, dispute, "close")
    assert score()["disputed"] is False
