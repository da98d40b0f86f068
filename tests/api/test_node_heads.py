"""Heads of the nodes' own logs: only what extends the last one enters the platform's ledger (R46, R51)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa

from api.ledger import documents
from consent import node_log
from consent.canonical import canonical
from consent.keys import SigningKey
from consent.ledger import records
from consent.signed import countersign
from consent.times import stamp
from tests.api.node_logs import NodeLog
from tests.api.test_jobs import refused
from tests.api.test_ledger import check, entries
from tests.api.world import World


@pytest.fixture
def fresh(shared: World) -> tuple[World, str, NodeLog]:
    """A job of its own, and a lab node of its own whose log is empty."""
    number = len(shared.nodes)
    node = shared.node(f"lab-node-{number}", "lab", "lab")
    node.register()
    job_id = shared.approved(lab=node.name)
    return shared, job_id, NodeLog(node)


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_the_ledger_holds_the_head_and_the_answer_proves_it(fresh: tuple[World, str, NodeLog]) -> None:
    world, job_id, log = fresh
    assert log.node.http.get("/v1/node/log").json() == {"log_id": None, "size": 0}
    given = log.entered(job_id, "E1", "E2", "E3")
    proven = records.check(records.load(canonical(given["head"])), world.keyring, log_id="creditlab")
    assert proven.recorded.entry.kind == "head"
    found = node_log.read_head(given["head"]["document"])
    assert (found.node, found.job_id, found.head.size, found.key) == (log.node.name, job_id, 3, log.key.public)
    assert records.check(given["job"], world.keyring).recorded.entry.kind == "data_use"
    assert given["job"]["document"]["object"] == {"kind": "job", "id": job_id}
    assert log.node.http.get("/v1/node/log").json() == {"log_id": found.head.log_id, "size": 3}
    assert any(one.entry.kind == "head" for one in entries(world))
    check(world)  # entries, documents and rows agree


def test_a_file_made_of_it_proves_one_use_offline(fresh: tuple[World, str, NodeLog]) -> None:
    """R46."""
    world, job_id, log = fresh
    given = log.entered(job_id, "E1", "E2")
    file = node_log.make(log.told("E2", job_id)["record"], given["head"], given["job"])
    found = node_log.check(*node_log.load(canonical(file)), world.keyring, platform_log="creditlab")
    assert (found.use["object"]["id"], found.job["user"]) == ("E2", "risk")


def test_the_platform_is_told_no_enterprise(fresh: tuple[World, str, NodeLog]) -> None:
    """R51: of a head it keeps the number of uses, a root and a signature."""
    world, job_id, log = fresh
    log.entered(job_id, "E-secret")
    with world.db.owner.connect() as connection:
        row = connection.execute(sa.text("SELECT * FROM node_heads WHERE job_id = :job"), {"job": job_id}).one()
        assert "E-secret" not in str(row)
        kept = "SELECT count(*) FROM ledger_subject WHERE document LIKE '%E-secret%'"
        assert connection.scalar(sa.text(kept)) == 0


def test_the_same_head_again_is_no_news_and_another_one_is_refused(fresh: tuple[World, str, NodeLog]) -> None:
    _, job_id, log = fresh
    first = log.entered(job_id, "E1")
    again = log.put(job_id, log.head, [])
    assert again.status_code == 200
    assert again.json()["head"]["document"] == first["head"]["document"]
    log.use(job_id, "E2")
    assert told(log.put(job_id)) == (409, "exists")


def test_a_log_grows_over_several_jobs(fresh: tuple[World, str, NodeLog]) -> None:
    world, job_id, log = fresh
    log.entered(job_id, "E1", "E2", "E3")
    second = world.approved(lab=log.node.name)
    log.entered(second, "E2", "E4")
    third = world.approved(lab=log.node.name)
    assert log.put(third).is_success  # nothing new: another job's uses may have been entered before this one's head
    assert log.node.http.get("/v1/node/log").json()["size"] == 5


def test_what_does_not_extend_the_last_head_is_refused_by_name(fresh: tuple[World, str, NodeLog]) -> None:
    world, job_id, log = fresh
    log.entered(job_id, "E1", "E2", "E3")
    second = world.approved(lab=log.node.name)

    shorter = NodeLog(log.node, log.key)
    shorter.use(second, "E1")
    assert told(shorter.put(second)) == (422, "log_shrunk")
    rewritten = NodeLog(log.node, log.key)
    rewritten.use(second, "E7", "E8", "E9", "E10")
    rewritten.known = 3
    assert told(rewritten.put(second)) == (422, "log_forked")
    log.use(second, "E4")
    assert told(log.put(second, path=[])) == (422, "proof_malformed")
    other = NodeLog(log.node)
    other.use(second, "E1", "E2", "E3", "E4")
    assert told(other.put(second)) == (422, "head_of_another_log")
    assert log.put(second).is_success


def test_a_head_that_is_not_the_nodes_own_word_of_now_is_refused(fresh: tuple[World, str, NodeLog]) -> None:
    _, job_id, log = fresh
    log.use(job_id, "E1")
    old = log.sign()
    tampered = {**old, "body": {**old["body"], "size": 2}}
    assert told(log.put(job_id, tampered, [])) == (422, "head_forged")
    stranger = SigningKey.generate()
    cosigned = countersign(old, stranger, "witness/x")
    assert told(log.put(job_id, cosigned, [])) == (422, "head_malformed")
    borrowed = NodeLog(log.node, stranger)
    borrowed.ledger.store.log_id = log.ledger.store.log_id  # type: ignore[misc]
    borrowed.use(job_id, "E1")
    assert told(borrowed.put(job_id)) == (422, "head_malformed")
    ahead = log.ledger.sign_head(log.key, stamp(datetime.now(UTC) + timedelta(minutes=9)))
    assert told(log.put(job_id, ahead, [])) == (422, "ledger_clock_moved_back")
    for bad in ({"x": 1}, {"body": {"size": 1}, "signatures": []}):
        answer = log.node.http.put(f"/v1/node/jobs/{job_id}/head", json={"head": bad, "path": []})
        assert told(answer) == (422, "head_malformed")


def test_an_old_head_is_refused(fresh: tuple[World, str, NodeLog]) -> None:
    world, job_id, log = fresh
    log.use(job_id, "E1")
    head = log.sign()
    world.clock.advance(301)
    try:
        assert told(log.put(job_id, head, [])) == (422, "head_stale")
    finally:
        world.clock.advance(-301)


def test_a_job_that_is_over_or_anothers_takes_no_head(fresh: tuple[World, str, NodeLog]) -> None:
    world, job_id, log = fresh
    stranger = NodeLog(world.bank if log.node is world.lab else world.lab)
    assert told(stranger.put(job_id)) == (404, "not_found")
    assert told(log.put("j-000000000000")) == (404, "not_found")
    world.operator.cancel_job(job_id, "not needed")
    log.use(job_id, "E1")
    assert told(log.put(job_id)) == (409, "illegal_transition")


def test_only_a_node_enters_a_head(shared: World) -> None:
    for client in (shared.risk, shared.operator):
        denied = refused(client.call, "PUT", "/v1/node/jobs/j-000000000000/head", json={"head": {}, "path": []})
        assert (denied.status, denied.code) == (403, "role_missing")


def test_a_head_without_its_entry_and_a_changed_one_are_found(fresh: tuple[World, str, NodeLog]) -> None:
    """R14: past the triggers, an auditor still sees it."""
    world, job_id, log = fresh
    log.entered(job_id, "E1")
    with world.db.owner.connect() as connection:
        for statement in (
            "UPDATE node_heads SET document = replace(document, 'lab', 'bal') WHERE job_id = :job",
            "DELETE FROM node_heads WHERE job_id = :job",
        ):
            connection.execute(sa.text("SET session_replication_role = replica"))
            connection.execute(sa.text(statement), {"job": job_id})
            with pytest.raises(documents.DocumentDamaged, match="node_head"):
                check(world, connection)
            connection.rollback()
