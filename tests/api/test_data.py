"""Data through the gate: a live consent at that moment, a usage record with every one, nothing kept (R14, R43, R46)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from api.client import LabClient
from api.db import tenant
from api.usage import service as usages
from consent.canonical import digest
from consent.purposes import CATEGORIES, LENDER_CATEGORIES
from consent.ticket import check_data_permit
from consent.times import stamp
from features.catalogue import load
from tests.api.conftest import Databases
from tests.api.test_jobs import refused
from tests.api.world import Enterprise, World

ALL = ["report_query", "verification", "raw_detail"]
TERM = {"valid_until": stamp(datetime.now(UTC) + timedelta(days=100))}  # within the purpose's template
REPORT = {"format": "creditlab.credit-report/1", "uscc": "E-data", "evaluation": {"score": 940, "grade": "优"}}
RECORDS = [{"record_id": "t-1", "event_date": "2026-01-15", "arrears": "4711.08"}]


def consent(world: World, name: str, **changes: Any) -> Enterprise:
    """An enterprise that consents to being reported on, verified and shown in detail."""
    one = Enterprise(name)
    given = one.consent(f"c-{name}", purpose="report_query", **{"modes": ALL, **TERM, **changes})
    assert not world.gateway.import_consents([given])["failed"]
    return one


@pytest.fixture(scope="module")
def everyday(shared: World) -> World:
    consent(shared, "E-data")
    return shared


@pytest.fixture(scope="module")
def strict(new_database: Databases) -> Iterator[World]:
    """Two verifications of an item a day, and a node is not waited for long."""
    world = World.inhabited(new_database, verifications_per_day=2, data_seconds=3)
    consent(world, "E-data")
    consent(world, "E-late")
    yield world
    world.close()


def body(**changes: Any) -> dict[str, Any]:
    return {"enterprise": "E-data", "provider": "lab", "purpose": "report_query", "reason": "loan 17", **changes}


def query(client: LabClient, **changes: Any) -> Any:
    return client.call("POST", "/v1/data/queries", json=body(**{"category": "tax", **changes}))


def verify(client: LabClient, **changes: Any) -> Any:
    asked = body(**{"category": "tax", "stated": {"grade": "A"}, **changes})
    return client.call("POST", "/v1/data/verifications", json=asked)


def report(client: LabClient, **changes: Any) -> Any:
    return client.call("POST", "/v1/data/reports", json=body(**changes))


def give(world: World, permit_id: str, **answer: Any) -> Any:
    return world.lab.http.post(f"/v1/node/data/{permit_id}", json=answer)


def told(world: World, call: Callable[[], Any], **answer: Any) -> tuple[Any, dict[str, Any]]:
    """What the caller is told when the lab's node answers its permit so, and the work item."""
    items: list[dict[str, Any]] = []

    def node() -> None:
        items.append(world.lab.wait_for("data"))
        give(world, items[0]["permit"]["body"]["permit_id"], **answer).raise_for_status()

    answering = threading.Thread(target=node)
    answering.start()
    try:
        return call(), items[0]
    finally:
        answering.join(10)


def test_a_query_is_permitted_recorded_and_answered_by_the_lab(everyday: World) -> None:
    """R14, R43, R46: the seven questions."""
    world = everyday
    consent(world, "E-seven")
    found, item = told(
        world, lambda: query(world.risk, enterprise="E-seven", window_months=24), result={"records": RECORDS}
    )
    assert (found["records"], found["consent_id"], found["window_months"]) == (RECORDS, "c-E-seven", 24)

    permit = check_data_permit(item["permit"], world.key.public, stamp(world.clock()))
    assert (permit["recipient"], permit["provider"], permit["node"]) == ("bank-a", "lab", "lab-node")
    assert (permit["use"], permit["data"], permit["window_months"]) == ("raw_detail", {"tax": "*"}, 24)
    assert (permit["usage_id"], item["request"]) == (found["usage_id"], None)

    [record] = world.risk.usage("E-seven")
    assert (record["id"], record["user"], record["institution"]) == (found["usage_id"], "risk", "bank-a")
    assert (record["reason"], record["object"], record["purpose"]) == ("loan 17", "E-seven", "report_query")
    assert record["record"]["content"] == {"use": "raw_detail", "data": ["tax/*"], "sha256": None}
    assert record["outcome"] == "answered"


def test_a_verification_is_answered_in_one_word_and_what_is_stated_is_not_kept(everyday: World) -> None:
    """R43: the statement reaches the lab bound to its permit, and no row of the control plane has it afterwards."""
    world = everyday
    stated = {"stated": {"grade": "M"}, "at_least": {"sales": "918273"}}
    found, item = told(world, lambda: verify(world.risk, **stated), result={"answer": "no"})
    assert found["answer"] == "no"
    assert item["request"].items() >= stated.items()
    assert item["permit"]["body"]["request_sha256"] == digest(item["request"])
    assert item["permit"]["body"]["data"] == {"tax": ["grade", "sales"]}
    assert_nowhere(world, "918273")


def test_a_report_comes_as_a_document_or_a_pdf_without_what_stays_with_the_lender(everyday: World) -> None:
    """R35, R60."""
    world = everyday
    found, item = told(world, lambda: report(world.risk), result={"report": REPORT})
    assert (found["report"], found["pdf"]) == (REPORT, None)
    assert set(item["permit"]["body"]["data"]) == CATEGORIES.keys() - LENDER_CATEGORIES - {"key_persons"}
    found, item = told(world, lambda: report(world.risk, form="pdf", categories=["tax"]), result={"pdf": "JVBERi0="})
    assert (found["pdf"], item["permit"]["body"]["form"]) == ("JVBERi0=", "pdf")


def assert_nowhere(world: World, text: str) -> None:
    with world.db.owner.connect() as connection:
        tables = connection.scalars(
            sa.text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        ).all()
        for table in tables:
            rows = connection.execute(sa.text(f'SELECT "{table}"::text FROM "{table}"')).scalars().all()
            assert not any(text in row for row in rows), table


def test_what_was_told_is_not_kept(everyday: World) -> None:
    told(everyday, lambda: query(everyday.risk), result={"records": RECORDS})
    assert_nowhere(everyday, "4711.08")


def test_the_enterprise_sees_each_way_in_its_own_words(everyday: World) -> None:
    """R46: in the list that the portal shows."""
    world = everyday
    consent(world, "E-told")
    told(world, lambda: query(world.risk, enterprise="E-told"), result={"records": RECORDS})
    told(world, lambda: verify(world.risk, enterprise="E-told"), result={"answer": "yes"})
    told(world, lambda: report(world.risk, enterprise="E-told"), result={"report": REPORT})
    said = [row.sentence.zh for row in usages.of_enterprise(world.control, "E-told").items]
    for words, sentence in zip(("报告查询", "核验比对", "原始明细"), said, strict=True):
        assert words in sentence


def test_after_a_withdrawal_the_next_use_is_refused_at_once(everyday: World) -> None:
    """R14: refused before a node hears of it, and no record of a use that never was."""
    world = everyday
    one = consent(world, "E-gone")
    told(world, lambda: query(world.risk, enterprise="E-gone"), result={"records": RECORDS})
    world.gateway.import_consents([one.withdrawal("c-E-gone")])
    said = time.monotonic()
    for call in (query, verify, report):
        denied = refused(call, world.risk, enterprise="E-gone")
        assert (denied.status, denied.code) == (403, "consent_withdrawn")
    assert time.monotonic() - said < 2
    assert world.lab.work() == []
    assert len(world.risk.usage("E-gone")) == 1


@pytest.mark.parametrize(
    ("given", "call", "changes", "code"),
    [
        ({"modes": ["report_query"]}, query, {}, "use_not_consented"),
        ({"modes": ["report_query"]}, verify, {}, "use_not_consented"),
        ({"modes": ["verification"]}, report, {}, "use_not_consented"),
        ({"data": {"judicial": "*"}}, query, {}, "data_not_covered"),
        ({"data": {"tax": ["grade"]}}, query, {"items": ["grade", "sales"]}, "data_not_covered"),
        ({"data": {"tax": ["sales"]}}, verify, {}, "data_not_covered"),
        ({"data": {"credit": "*"}}, report, {}, "data_not_covered"),
        ({"window_months": 12}, query, {"window_months": 13}, "window_exceeded"),
        ({}, query, {"category": "credit"}, "sharing_never"),
        ({}, verify, {"category": "credit", "stated": {"lenders": "1"}}, "sharing_never"),
        ({}, report, {"categories": ["tax", "credit"]}, "sharing_never"),
        ({}, query, {"purpose": "underwriting_score"}, "use_not_allowed"),
        ({}, verify, {"purpose": "underwriting_score"}, "no_consent"),
        ({}, query, {"purpose": "joint_training"}, "purpose_not_allowed"),
        ({"recipient": "bank-b"}, query, {}, "no_consent"),
        ({"provider": "other-lab"}, query, {}, "no_consent"),
    ],
)
def test_beyond_the_consent_nothing_is_told(
    everyday: World, given: dict[str, Any], call: Callable[..., Any], changes: dict[str, Any], code: str
) -> None:
    """R14, R43, R51: mode, category, item, window, purpose, recipient and provider."""
    name = f"E-{time.monotonic_ns()}"
    consent(everyday, name, **given)
    denied = refused(call, everyday.risk, **{"enterprise": name, **changes})
    assert (denied.status, denied.code) == (403, code)
    assert denied.message_zh
    assert everyday.risk.usage(name) == []


def test_a_consent_to_some_items_permits_those_alone(everyday: World) -> None:
    consent(everyday, "E-items", data={"tax": ["grade", "late"]}, window_months=12)
    _, item = told(everyday, lambda: query(everyday.risk, enterprise="E-items"), result={"records": RECORDS})
    assert item["permit"]["body"]["data"] == {"tax": ["grade", "late"]}
    assert item["permit"]["body"]["window_months"] == 12


def test_the_limits_of_a_consent_count_every_way_of_use(everyday: World) -> None:
    """R51."""
    consent(everyday, "E-twice", limits={"total": 2, "count": 2, "period_days": 30})
    told(everyday, lambda: query(everyday.risk, enterprise="E-twice"), result={"records": RECORDS})
    told(everyday, lambda: verify(everyday.risk, enterprise="E-twice"), result={"answer": "yes"})
    assert refused(report, everyday.risk, enterprise="E-twice").code == "uses_exhausted"


def test_one_item_is_verified_so_often_a_day_and_no_more(strict: World) -> None:
    """Answers to many guesses would give the value away."""
    world = strict
    for grade in ("A", "B"):
        told(world, lambda grade=grade: verify(world.risk, stated={"grade": grade}), result={"answer": "no"})
    for stated in ({"grade": "M"}, {"late": "true", "grade": "D"}):
        denied = refused(verify, world.risk, stated=stated)
        assert (denied.status, denied.code) == (429, "verified_too_often")
    told(world, lambda: verify(world.risk, stated={"late": "true"}), result={"answer": "yes"})  # another item
    assert len(world.risk.usage("E-data")) == 3
    world.clock.advance(86_401)
    told(world, lambda: verify(world.risk), result={"answer": "yes"})


@pytest.mark.parametrize(
    ("code", "status"),
    [("store_missing", 502), ("consent_withdrawn", 403), ("sharing_never", 403), ("verify_item", 422)],
)
def test_the_nodes_own_refusal_reaches_the_caller(everyday: World, code: str, status: int) -> None:
    name = f"E-{code}"
    consent(everyday, name)
    no = {"code": code, "message": "no", "message_zh": "否"}
    denied, _ = told(everyday, lambda: refused(verify, everyday.risk, enterprise=name), error=no)
    assert (denied.status, denied.code, denied.message_zh) == (status, code, "否")
    [record] = everyday.risk.usage(name)
    assert (record["outcome"], record["outcome_code"]) == ("failed", code)


def test_a_node_that_tells_something_else_is_not_believed(everyday: World) -> None:
    denied, _ = told(everyday, lambda: refused(verify, everyday.risk), result={"records": RECORDS})
    assert (denied.status, denied.code) == (502, "unexpected_answer")


def test_a_node_that_does_not_answer_gives_504_and_leaves_nothing(strict: World) -> None:
    world = strict
    late = refused(verify, world.risk, enterprise="E-late", stated={"sales": "918273"})
    assert (late.status, late.code) == (504, "data_deadline")
    [record] = world.risk.usage("E-late")
    assert (record["outcome"], record["outcome_code"]) == ("expired", "deadline_exceeded")
    assert world.lab.work() == []
    assert_nowhere(world, "918273")


def test_the_permit_is_the_labs_nodes_alone(everyday: World) -> None:
    world = everyday
    _, item = told(world, lambda: query(world.risk), result={"records": RECORDS})
    permit_id = item["permit"]["body"]["permit_id"]
    foreign = world.bank.http.post(f"/v1/node/data/{permit_id}", json={"result": {"records": RECORDS}})
    assert foreign.status_code == 404
    assert world.lab.answer(permit_id, result={"score": 1, "pd": 0.1}).status_code == 404  # it is no score
    assert give(world, permit_id, result={"records": RECORDS}).json() == {"state": "answered"}


def test_a_lab_without_a_node_or_with_several_is_said_so(everyday: World) -> None:
    world = everyday
    world.operator.add_institution("lab-2", "Lab 2", "lab")
    consent(world, "E-lab", provider="lab-2")
    asked = {"enterprise": "E-lab", "provider": "lab-2"}
    assert refused(query, world.risk, **asked).status == 404
    for name in ("lab-2-a", "lab-2-b"):
        world.node(name, "lab", "lab-2").register()
    assert refused(query, world.risk, **asked).code == "node_ambiguous"
    assert refused(query, world.risk, **asked, node="lab-node").status == 404
    assert world.risk.usage("E-lab") == []


def test_an_officer_asks_too_and_who_may_not_export_gets_no_report(everyday: World) -> None:
    """R47: a report is an export, a query is not."""
    officer = everyday.person("officer-d", "bank-a", "officer")
    found, _ = told(everyday, lambda: verify(officer), result={"answer": "yes"})
    assert found["answer"] == "yes"
    assert refused(query, everyday.owner).code == "role_missing"
    assert refused(report, everyday.operator).code == "role_missing"


def test_a_permit_is_in_the_ledger_and_cannot_be_written_without_its_entry(everyday: World) -> None:
    world = everyday
    _, item = told(world, lambda: query(world.risk), result={"records": RECORDS})
    permit_id = item["permit"]["body"]["permit_id"]
    with world.db.owner.connect() as connection:
        entered = sa.text("SELECT count(*) FROM ledger_subject WHERE object_kind = 'data_permit' AND object_id = :id")
        assert connection.scalar(entered, {"id": permit_id}) == 1
        connection.execute(sa.text("ALTER TABLE permits DISABLE TRIGGER audited"))
        copy = (
            "INSERT INTO permits SELECT 'p-2', u.id, NULL, NULL, node, permit, issued_at, expires_at, state, kind "
            "FROM permits, LATERAL (SELECT id FROM usage WHERE id = usage_id) u WHERE permits.id = :id"
        )
        connection.execute(sa.text("ALTER TABLE permits DROP CONSTRAINT permits_usage_id_key"))
        connection.execute(sa.text(copy), {"id": permit_id})
        with pytest.raises(sa.exc.DBAPIError, match="ledger"):
            connection.commit()


def test_nobody_else_sees_a_permit_or_what_is_on_its_way(strict: World) -> None:
    """R47: the bank whose use it is, the lab that answers and the enterprise itself; by the database's own rule."""
    world = strict
    consent(world, "E-seen")
    seen: dict[str, list[int]] = {}

    def look() -> None:
        world.lab.wait_for("data")
        for name in ("bank-a", "lab", "E-seen", "bank-b", "lab-b", "E-other"):
            with world.db.read(tenant(name)) as session:
                found = [f"SELECT count(*) FROM {table}" for table in ("permits", "permit_transit")]
                seen[name] = [session.scalar(sa.text(one)) or 0 for one in found]

    looking = threading.Thread(target=look)
    looking.start()
    assert refused(verify, world.risk, enterprise="E-seen").code == "data_deadline"
    looking.join(10)
    assert all(count >= 1 for name in ("bank-a", "lab") for count in seen[name])
    assert seen["E-seen"] == [1, 1]
    assert [seen[name] for name in ("bank-b", "lab-b", "E-other")] == [[0, 0]] * 3


def test_the_lenders_categories_are_those_of_the_catalogue() -> None:
    assert {one.id for one in load() if one.sharing == "lender"} == LENDER_CATEGORIES
