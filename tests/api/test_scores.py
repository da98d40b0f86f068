"""Scores: a live consent at that moment, a usage record with every one (R14, R46), a bounded wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from consent.ticket import check_permit
from consent.times import stamp
from tests.api.test_jobs import refused
from tests.api.world import SHA, Enterprise, World


@pytest.fixture
def ready(world: World) -> tuple[World, str, Enterprise]:
    """A released model and an enterprise that consents to being scored."""
    job_id = world.succeeded()
    world.released(job_id)
    enterprise = Enterprise("E-score")
    world.gateway.import_consents([enterprise.consent("c-score", purpose="underwriting_score")])
    return world, job_id, enterprise


def score(world: World, job_id: str, enterprise: str = "E-score") -> dict:
    """A score whose permit the bank's node answers."""
    items: list[dict] = []
    node = threading.Thread(target=lambda: items.append(world.bank.score_once()))
    node.start()
    try:
        return world.risk.score(enterprise, "loan application 17", job_id=job_id)
    finally:
        node.join(12)
        world.last_item = items[0] if items else None  # type: ignore[attr-defined]


def test_a_score_comes_back_with_reasons_model_consent_and_usage(ready: tuple[World, str, Enterprise]) -> None:
    world, job_id, _ = ready
    result = score(world, job_id)
    assert (result["score"], result["pd"]) == (612.0, 0.05)
    assert result["reasons"][0]["text_zh"] == "成立时间短"
    assert result["model"]["sha256"] == SHA
    assert result["consent_id"] == "c-score"

    item = world.last_item  # type: ignore[attr-defined]
    assert item["release_sha256"] == SHA
    permit = check_permit(item["permit"], world.key.public, stamp(world.clock()))
    assert (permit["enterprise"], permit["recipient"], permit["purpose"], permit["user"]) == (
        "E-score", "bank-a", "underwriting_score", "risk",
    )  # fmt: skip


def test_the_usage_record_answers_the_seven_questions(ready: tuple[World, str, Enterprise]) -> None:
    """R46: user, institution, time, reason, content, object, purpose."""
    world, job_id, _ = ready
    result = score(world, job_id)
    [record] = world.risk.usage("E-score")
    assert record["id"] == result["usage_id"]
    assert record["user"] == "risk"
    assert record["institution"] == "bank-a"
    assert record["at"]
    assert record["reason"] == "loan application 17"
    assert SHA in record["content"]
    assert record["object"] == "E-score"
    assert record["purpose"] == "underwriting_score"
    assert record["outcome"] == "answered"
    training = [u for u in world.operator.usage() if u["object_kind"] == "job"]
    assert [(u["object"], u["purpose"]) for u in training] == [(job_id, "joint_training")]


def test_after_a_withdrawal_the_next_score_is_refused_at_once(ready: tuple[World, str, Enterprise]) -> None:
    world, job_id, enterprise = ready
    score(world, job_id)
    withdrawn = time.monotonic()
    world.gateway.import_consents([enterprise.withdrawal("c-score")])
    denied = refused(world.risk.score, "E-score", "again", job_id=job_id)
    assert (denied.status, denied.code) == (403, "consent_withdrawn")
    assert denied.message_zh
    assert time.monotonic() - withdrawn < 1
    assert world.bank.work() == []
    assert len(world.risk.usage("E-score")) == 1  # refused: no use, no record


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda e: [], "no_consent"),
        (lambda e: [e.consent(f"c-{e.name}", purpose="joint_training")], "no_consent"),
        (lambda e: [e.consent(f"c-{e.name}", purpose="underwriting_score", recipient="bank-b")], "no_consent"),
        (lambda e: [e.consent(f"c-{e.name}", purpose="underwriting_score", provider="other-lab")], "no_consent"),
        (lambda e: [e.refusal(f"c-{e.name}", purpose="underwriting_score")], "consent_refused"),
        (
            lambda e: [
                e.consent(
                    f"c-{e.name}",
                    purpose="underwriting_score",
                    valid_from="2020-06-01T00:00:00Z",
                    valid_until="2021-01-01T00:00:00Z",
                )
            ],
            "expired",
        ),
        (
            lambda e: [
                e.consent(
                    f"c-{e.name}",
                    purpose="underwriting_score",
                    valid_from="2039-01-01T00:00:00Z",
                    valid_until="2039-06-01T00:00:00Z",
                )
            ],
            "not_yet_valid",
        ),
        (
            lambda e: [
                e.consent(f"c-{e.name}", purpose="underwriting_score"),
                e.refusal(f"r-{e.name}", purpose="underwriting_score"),
            ],
            "consent_refused",
        ),
    ],
    ids=["none", "other purpose", "other bank", "other lab", "refused", "expired", "future", "newest word counts"],
)
def test_without_a_live_consent_there_is_no_score(scored: tuple[World, str], make: Callable, code: str) -> None:
    world, job_id = scored
    enterprise = Enterprise(f"E-{time.monotonic_ns()}")
    if lines := make(enterprise):
        assert not world.gateway.import_consents(lines)["failed"]
    denied = refused(world.risk.score, enterprise.name, "loan", job_id=job_id)
    assert (denied.status, denied.code) == (403, code)


@pytest.fixture(scope="module")
def scored(shared: World) -> tuple[World, str]:
    job_id = shared.succeeded()
    shared.released(job_id)
    return shared, job_id


def test_an_unreleased_or_foreign_model_is_not_found(scored: tuple[World, str]) -> None:
    world, job_id = scored
    assert refused(world.risk.score, "E1", "loan", job_id="j-000000000000").status == 404
    assert refused(world.risk.score, "E1", "loan", release_sha256="00" * 32).status == 404
    world.operator.add_institution("bank-c", "Bank C", "bank")
    other = world.person("risk-c", "bank-c", "risk")
    assert refused(other.score, "E1", "loan", job_id=job_id).status == 404


def test_a_node_that_does_not_answer_gives_504_and_the_record_says_so(make_world: Callable[..., World]) -> None:
    world = make_world(score_seconds=0.6)
    job_id = world.succeeded()
    world.released(job_id)
    world.gateway.import_consents([Enterprise("E-score").consent("c-score", purpose="underwriting_score")])
    started = time.monotonic()
    late = refused(world.risk.score, "E-score", "loan", release_sha256=SHA)
    assert (late.status, late.code) == (504, "score_deadline")
    assert "bank-node" in late.message_zh
    assert 0.5 < time.monotonic() - started < 3
    [record] = world.risk.usage("E-score")
    assert (record["outcome"], record["outcome_code"]) == ("expired", "deadline_exceeded")
    assert world.bank.work() == []


def test_a_late_answer_changes_nothing(make_world: Callable[..., World]) -> None:
    world = make_world(score_seconds=0.5)
    job_id = world.succeeded()
    world.released(job_id)
    world.gateway.import_consents([Enterprise("E-score").consent("c-score", purpose="underwriting_score")])
    waiting = threading.Thread(target=lambda: refused(world.risk.score, "E-score", "loan", job_id=job_id))
    waiting.start()
    permit_id = world.bank.wait_for("score")["permit"]["body"]["permit_id"]
    waiting.join(5)
    answer = world.bank.answer(permit_id, result={"score": 1, "pd": 0.5})
    assert (answer.status_code, answer.json()["state"]) == (200, "expired")


@pytest.mark.parametrize(("code", "status"), [("enterprise_unknown", 502), ("consent_withdrawn", 403)])
def test_a_nodes_own_refusal_reaches_the_caller(ready: tuple[World, str, Enterprise], code: str, status: int) -> None:
    """The node's gate decides for itself: its no is the answer, and the record says so."""
    world, job_id, _ = ready

    def say_no() -> None:
        permit_id = world.bank.wait_for("score")["permit"]["body"]["permit_id"]
        world.bank.answer(permit_id, error={"code": code, "message": "no", "message_zh": "否"})

    node = threading.Thread(target=say_no)
    node.start()
    denied = refused(world.risk.score, "E-score", "loan", job_id=job_id)
    node.join(5)
    assert (denied.status, denied.code, denied.message_zh) == (status, code, "否")
    assert world.risk.usage("E-score")[0]["outcome"] == "failed"


def test_scores_are_not_kept(ready: tuple[World, str, Enterprise]) -> None:
    world, job_id, _ = ready
    score(world, job_id)
    with world.db.owner.connect() as connection:
        tables = connection.scalars(
            sa.text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        ).all()
        for table in tables:
            rows = connection.execute(sa.text(f'SELECT "{table}"::text FROM "{table}"')).scalars().all()
            assert not any("612" in row and "成立时间短" in row for row in rows), table


def test_the_permit_goes_to_the_banks_node_alone(ready: tuple[World, str, Enterprise]) -> None:
    world, job_id, _ = ready
    seen: list[dict] = []
    watching = threading.Thread(target=lambda: seen.extend(world.lab.work(wait=1.5)))
    watching.start()
    result = score(world, job_id)
    watching.join(5)
    assert result["usage_id"]
    assert seen == []
    foreign = world.lab.answer(world.last_item["permit"]["body"]["permit_id"], result={"score": 1, "pd": 0.1})  # type: ignore[attr-defined]
    assert foreign.status_code == 404


def test_ten_scores_at_once_each_get_their_own_answer(ready: tuple[World, str, Enterprise]) -> None:
    world, job_id, _ = ready
    enterprises = [Enterprise(f"E-many-{i}") for i in range(10)]
    world.gateway.import_consents([e.consent(f"c-many-{e.name}", purpose="underwriting_score") for e in enterprises])
    results: dict[str, dict] = {}

    def ask(name: str) -> None:
        with world.client("risk") as client:
            results[name] = client.score(name, "batch", job_id=job_id)

    askers = [threading.Thread(target=ask, args=(e.name,)) for e in enterprises]
    for asker in askers:
        asker.start()
    answered: set[str] = set()
    deadline = time.monotonic() + 8
    while len(answered) < 10 and time.monotonic() < deadline:
        for item in world.bank.work(wait=1):
            body = item["permit"]["body"]
            if body["permit_id"] not in answered:
                number = int(body["enterprise"].rsplit("-", 1)[1])
                world.bank.answer(body["permit_id"], result={"score": 600 + number, "pd": 0.1})
                answered.add(body["permit_id"])
    for asker in askers:
        asker.join(10)
    assert {name: r["score"] for name, r in results.items()} == {f"E-many-{i}": 600 + i for i in range(10)}
