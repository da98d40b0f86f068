"""A write sent again with the same Idempotency-Key has its effect once (R-free: an API bank systems can retry)."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa

from api.db import SYSTEM, AuditRow
from api.web.idempotency import Claim, forget, sweep
from tests.api.world import Enterprise, World


@pytest.fixture(scope="module")
def http(shared: World) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {shared.tokens['operator']}"}
    with httpx.Client(base_url=shared.url, headers=headers) as client:
        yield client


def opened(shared: World, name: str) -> int:
    with shared.control.db.read(SYSTEM) as session:
        query = sa.select(sa.func.count()).where(AuditRow.action == "institution.create", AuditRow.object_id == name)
        return session.scalar(query) or 0


def body(name: str) -> dict[str, str]:
    return {"id": name, "name": "Bank", "kind": "bank"}


def test_the_second_answer_is_the_first_one_again(http: httpx.Client, shared: World) -> None:
    one = http.post("/v1/institutions", json=body("once"), headers={"Idempotency-Key": "k-1"})
    two = http.post("/v1/institutions", json=body("once"), headers={"Idempotency-Key": "k-1"})
    assert one.status_code == 201, one.text
    assert (two.status_code, two.json()) == (201, one.json())
    assert two.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in one.headers
    assert opened(shared, "once") == 1


def test_without_a_key_the_repetition_is_a_conflict(http: httpx.Client) -> None:
    assert http.post("/v1/institutions", json=body("twice")).status_code == 201
    assert http.post("/v1/institutions", json=body("twice")).status_code == 409


def test_a_key_of_another_request_is_refused(http: httpx.Client) -> None:
    http.post("/v1/institutions", json=body("first"), headers={"Idempotency-Key": "k-2"})
    other = http.post("/v1/institutions", json=body("second"), headers={"Idempotency-Key": "k-2"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_request_without_an_effect_may_be_sent_again(http: httpx.Client) -> None:
    wrong = http.post("/v1/institutions", json=body("no spaces"), headers={"Idempotency-Key": "k-3"})
    assert wrong.status_code == 422
    assert http.post("/v1/institutions", json=body("right"), headers={"Idempotency-Key": "k-3"}).status_code == 201


def test_keys_of_two_callers_are_two_keys(http: httpx.Client, shared: World) -> None:
    http.post("/v1/institutions", json=body("mine"), headers={"Idempotency-Key": "k-4"})
    stranger = {"Authorization": f"Bearer {shared.tokens['risk']}", "Idempotency-Key": "k-4"}
    assert httpx.post(f"{shared.url}/v1/institutions", json=body("mine"), headers=stranger).status_code == 403


def test_many_at_once_have_one_effect(http: httpx.Client, shared: World) -> None:
    answers: list[httpx.Response] = []

    def send() -> None:
        answers.append(http.post("/v1/institutions", json=body("race"), headers={"Idempotency-Key": "k-5"}))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert opened(shared, "race") == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert any(answer.status_code == 201 for answer in answers)
    again = http.post("/v1/institutions", json=body("race"), headers={"Idempotency-Key": "k-5"})
    assert again.status_code == 201


def test_a_secret_in_an_answer_is_not_kept(http: httpx.Client, shared: World) -> None:
    account = {"name": "keeper", "institution": "bank-a", "roles": ["risk"]}
    first = http.post("/v1/accounts", json=account, headers={"Idempotency-Key": "k-6"})
    assert first.status_code == 201
    assert first.headers["cache-control"] == "no-store"
    again = http.post("/v1/accounts", json=account, headers={"Idempotency-Key": "k-6"})
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_effect_had")
    with shared.control.db.read(SYSTEM) as session:
        kept = session.scalars(sa.select(Claim.body)).all()
    assert not any(text is not None and first.json()["token"] in text for text in kept)


def test_an_effect_whose_answer_was_lost_is_not_had_again(http: httpx.Client, shared: World) -> None:
    http.post("/v1/institutions", json=body("lost"), headers={"Idempotency-Key": "k-7"})
    with shared.control.db.unit(SYSTEM) as unit:  # as a kill between the commit and the answer leaves it
        unit.session.execute(sa.update(Claim).values(status=None, body=None, headers=None))
    again = http.post("/v1/institutions", json=body("lost"), headers={"Idempotency-Key": "k-7"})
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_effect_had")
    assert opened(shared, "lost") == 1


@pytest.mark.parametrize("key", ["x" * 129, "with space"])
def test_a_bad_key_is_refused_by_name(http: httpx.Client, key: str) -> None:
    answer = http.post("/v1/institutions", json=body("bad"), headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_idempotency_key")


def test_claims_are_forgotten_after_three_days(http: httpx.Client, make_world: object, shared: World) -> None:
    http.post("/v1/institutions", json=body("old"), headers={"Idempotency-Key": "k-8"})
    with shared.control.db.unit(SYSTEM) as unit:
        assert forget(unit.session, unit.now) == 0
        unit.session.execute(sa.update(Claim).values(claimed_at=Claim.claimed_at - sa.text("interval '73 hours'")))
        assert forget(unit.session, unit.now) > 0


def test_a_repeated_score_is_one_use_and_its_answer_is_not_kept_for_long(world: World) -> None:
    """R46: a bank's system may repeat what it did not hear; the enterprise's record shows one use."""
    job_id = world.succeeded()
    world.released(job_id)
    world.gateway.import_consents([Enterprise("E-score").consent("c-score", purpose="underwriting_score")])
    headers = {"Authorization": f"Bearer {world.tokens['risk']}", "Idempotency-Key": "score-1"}
    body = {"job_id": job_id, "enterprise": "E-score", "reason": "an application"}
    node = threading.Thread(target=world.bank.score_once)
    node.start()
    one = httpx.post(f"{world.url}/v1/scores", json=body, headers=headers, timeout=15)
    node.join(12)
    two = httpx.post(f"{world.url}/v1/scores", json=body, headers=headers, timeout=15)
    assert one.status_code == 200, one.text
    assert one.headers["cache-control"] == "no-store"
    assert two.json() == one.json()
    assert len(world.risk.usage("E-score")) == 1
    with world.control.db.read(SYSTEM) as session:
        kept = [base64.b64decode(text) for text in session.scalars(sa.select(Claim.body)) if text is not None]
    assert kept
    assert not any(b"612" in text for text in kept)
    sweep(world.control.db)
    assert httpx.post(f"{world.url}/v1/scores", json=body, headers=headers, timeout=15).json() == one.json()
    world.clock.advance(700)
    sweep(world.control.db)
    late = httpx.post(f"{world.url}/v1/scores", json=body, headers=headers, timeout=15)
    assert (late.status_code, late.json()["code"]) == (409, "idempotency_effect_had")
    assert len(world.risk.usage("E-score")) == 1
