"""Questions that wait for nodes: each answered by its node, in its kind, once, and forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from api.db import SYSTEM
from api.errors import Conflict
from api.nodes import questions
from api.nodes.questions import Kind, NodeQuestion, NotTold, Question
from tests.api.world import FakeNode, World

QUESTION = "q-" + "1" * 16


def put(world: World, kind: Kind = Kind.IMPACT, name: str = QUESTION) -> Question:
    document = {"body": {"question_id": name}, "signatures": []}
    question = Question(kind, name, document, frozenset({"bank-node", "lab-node"}))
    questions._put(world.control, question)
    return question


def tell(node: FakeNode, kind: str, body: dict[str, Any], name: str = QUESTION) -> int:
    return node.http.post(f"/v1/node/{kind}/{name}", json=body).status_code


def answers(world: World) -> dict[str, Any]:
    return questions._look(world.control, QUESTION)


def test_a_question_waits_for_its_nodes_until_each_has_answered(world: World) -> None:
    put(world)
    assert [item["kind"] for item in world.bank.work()] == ["impact"]
    assert tell(world.bank, "impact", {"job_ids": []}) == 204
    assert world.bank.work() == []
    assert [item["question"]["body"]["question_id"] for item in world.lab.work()] == [QUESTION]
    assert answers(world).keys() == {"bank-node"}


def test_a_question_comes_with_its_record_where_there_is_one(world: World) -> None:
    put(world)
    assert "record" not in world.bank.work()[0]
    document = {"body": {"question_id": "q-" + "2" * 16}, "signatures": []}
    question = Question(Kind.USAGE, "q-" + "2" * 16, document, frozenset({"bank-node"}), {"n": 1.0})
    questions._put(world.control, question)
    [item] = [item for item in world.bank.work() if item["kind"] == "usage"]
    assert (item["question"], item["record"]) == (document, {"n": 1.0})


def test_the_first_answer_counts_and_an_answer_of_another_kind_is_none(world: World) -> None:
    put(world)
    assert tell(world.bank, "usage", {"uses": []}) == 204
    assert answers(world) == {}
    tell(world.bank, "impact", {"job_ids": ["j-000000000001"]})
    tell(world.bank, "impact", {"job_ids": []})
    assert answers(world)["bank-node"]["job_ids"] == ["j-000000000001"]


@pytest.mark.parametrize("body", [{}, {"job_ids": [], "code": "no"}, {"uses": []}])
def test_an_answer_says_what_is_asked_or_why_not(world: World, body: dict[str, Any]) -> None:
    put(world)
    assert tell(world.bank, "impact", body) == 422
    assert answers(world) == {}


def test_a_question_under_way_is_not_put_twice(world: World) -> None:
    question = put(world)
    with pytest.raises(Conflict):
        asyncio.run(questions.ask(world.control, question))


def test_a_node_that_holds_back_gives_its_reason() -> None:
    silent = {"code": None, "message": None, "message_zh": None}
    questions.check_told([silent])
    with pytest.raises(NotTold) as held:
        questions.check_told([silent, {"code": "not_the_enterprise", "message": "no", "message_zh": None}])
    assert (held.value.code, held.value.message, held.value.message_zh) == ("not_the_enterprise", "no", "no")


def test_what_nobody_waits_for_is_forgotten(world: World) -> None:
    put(world)
    questions.sweep(world.control)
    with world.db.unit(SYSTEM) as unit:
        before = unit.now - timedelta(seconds=questions.FORGET_SECONDS + 1)
        assert unit.session.scalar(sa.select(sa.func.count()).select_from(NodeQuestion)) == 2
        unit.session.execute(sa.update(NodeQuestion).values(asked_at=before))
    questions.sweep(world.control)
    assert world.bank.work() == world.lab.work() == []


def test_the_database_shows_a_question_to_its_nodes_institution_alone(world: World) -> None:
    """R47: also to raw SQL, in the control plane's own role."""
    put(world)
    with world.db.owner.connect() as connection:
        connection.execute(sa.text("SET ROLE creditlab_app"))
        for tenant, seen in (("bank-a", ["bank-node"]), ("lab", ["lab-node"]), ("bank-b", []), ("", [])):
            connection.execute(sa.text("SELECT set_config('creditlab.tenant', :it, false)"), {"it": tenant})
            found = connection.scalars(sa.text("SELECT node FROM node_questions ORDER BY node")).all()
            assert found == seen, tenant
        connection.execute(sa.text("SELECT set_config('creditlab.tenant', 'platform', false)"))
        assert connection.scalar(sa.text("SELECT count(*) FROM node_questions")) == 2
