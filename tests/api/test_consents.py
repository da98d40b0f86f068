"""Importing consents and the feed that nodes read (R14, R44; withdrawal as easy as consent)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from api.client import LabError
from api.consents.service import MAX_LINE
from consent.book import ConsentBook, verify_event
from consent.keys import SigningKey
from tests.api.world import Enterprise, World


def test_documents_arrive_in_the_feed_countersigned_in_order(world: World) -> None:
    one, two = Enterprise("E1"), Enterprise("E2")
    lines = [one.consent("c-1"), two.refusal("c-2"), one.withdrawal("c-1")]
    result = world.gateway.import_consents(lines)
    assert (result["accepted"], result["refused"], result["withdrawn"], result["failed"]) == (1, 1, 1, 0)

    feed = world.bank.feed()
    assert feed["head"] == result["head"] == 3
    assert [(e["seq"], e["kind"]) for e in feed["events"]] == [(1, "consent"), (2, "refusal"), (3, "withdrawal")]
    book = ConsentBook()
    for event in feed["events"]:
        verify_event(event, world.key.public)  # what a node does itself
        book.apply(event)
    assert book.covered("bank-a", "joint_training", "2026-01-01T00:00:00Z") == frozenset()


def test_each_bad_line_is_named_and_good_lines_are_kept(world: World) -> None:
    one, two = Enterprise("E1"), Enterprise("E2")
    tampered = json.loads(one.consent("c-3"))
    tampered["body"]["recipient"] = "bank-b"
    missing = json.loads(one.consent("c-4"))
    del missing["body"]["purpose"]
    twice_signed = json.loads(one.consent("c-5"))
    twice_signed["signatures"] *= 2
    surrogate = one.consent("c-6").replace(b'"E1"', b'"\\ud800"')
    lines = [
        one.consent("c-1"),
        b"{not json",
        json.dumps(tampered).encode(),
        json.dumps(missing).encode(),
        json.dumps(twice_signed).encode(),
        b'{"body": NaN, "signatures": []}',
        one.consent("c-1", purpose="report_query"),  # the number is taken
        one.withdrawal("c-none"),
        one.withdrawal("c-1", key=two.key),
        two.withdrawal("c-1"),
        b"[" * 60_000,
        b'"' + b"x" * (MAX_LINE + 10),
        surrogate,
        b"",
        two.consent("c-2"),
    ]
    result = world.gateway.import_consents(lines)
    assert result["accepted"] == 2
    assert [(e["line"], e["code"]) for e in result["errors"]] == [
        (2, "not_json"),
        (3, "bad_signature"),
        (4, "malformed_document"),
        (5, "not_a_signed_document"),
        (6, "not_json"),
        (11, "not_json"),
        (12, "line_too_long"),
        (13, "malformed_document"),
        (7, "consent_id_reused"),
        (8, "consent_unknown"),
        (9, "not_the_enterprise"),
        (10, "not_the_enterprise"),
    ]
    assert all(e["message"] and e["message_zh"] for e in result["errors"])
    assert world.bank.feed()["head"] == 2


def test_importing_again_changes_nothing(world: World) -> None:
    one = Enterprise("E1")
    lines = [one.consent("c-1"), one.consent("c-2", purpose="underwriting_score"), one.withdrawal("c-1")]
    world.gateway.import_consents(lines)
    again = world.gateway.import_consents(lines)
    assert (again["unchanged"], again["accepted"], again["withdrawn"], again["failed"]) == (3, 0, 0, 0)
    assert world.bank.feed()["head"] == 3


def test_a_refusal_cannot_be_withdrawn_and_withdrawn_is_final(world: World) -> None:
    one = Enterprise("E1")
    world.gateway.import_consents([one.refusal("c-1"), one.consent("c-2")])
    assert world.gateway.import_consents([one.withdrawal("c-1")])["errors"][0]["code"] == "not_a_consent"
    world.gateway.import_consents([one.withdrawal("c-2")])
    [refused, withdrawn] = world.operator.consents("E1")
    assert (refused["state"], withdrawn["state"]) == ("refused", "withdrawn")
    assert withdrawn["withdrawn_at"]


def test_concurrent_imports_leave_no_gap(world: World) -> None:
    def send(worker: int) -> None:
        enterprise = Enterprise(f"W{worker}")
        with world.client("gateway") as client:
            for part in range(5):
                client.import_consents([enterprise.consent(f"c-{worker}-{part}-{i}") for i in range(20)])

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = world.bank.feed()["events"]
    assert [e["seq"] for e in events] == list(range(1, 401))


def test_feed_pages_join_without_gap(world: World) -> None:
    world.cohort(120)
    seen, after = [], 0
    while page := world.lab.feed(after, limit=50)["events"]:
        seen += [e["seq"] for e in page]
        after = seen[-1]
    assert seen == list(range(1, 121))


def test_a_withdrawal_wakes_a_waiting_node_at_once(world: World) -> None:
    one = Enterprise("E1")
    head = world.gateway.import_consents([one.consent("c-1")])["head"]
    answered: list[float] = []

    def wait() -> None:
        world.bank.work(wait=20, feed=head)
        answered.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    world.gateway.import_consents([one.withdrawal("c-1")])
    done = time.monotonic()
    thread.join(5)
    assert answered, "the poll was not woken"
    assert answered[0] - done < 0.5
    assert world.bank.feed(head)["events"][0]["kind"] == "withdrawal"


def test_an_import_has_a_limit_and_says_where_to_go_on(make_world: Callable[..., World]) -> None:
    world = make_world(max_consent_documents=10, consent_batch=4)
    one = Enterprise("E1")
    result = world.gateway.import_consents([one.consent(f"c-{i}") for i in range(15)])
    assert result["accepted"] == 10
    assert [(e["line"], e["code"]) for e in result["errors"]] == [(11, "too_many_documents")]


def test_a_bank_sees_only_consents_given_to_itself(world: World) -> None:
    world.operator.add_institution("bank-b", "Bank B", "bank")
    one = Enterprise("E1")
    world.gateway.import_consents([one.consent("c-1"), one.consent("c-2", recipient="bank-b")])
    assert [c["consent_id"] for c in world.risk.consents("E1")] == ["c-1"]
    assert len(world.operator.consents("E1")) == 2
    assert world.risk.consent_counts()["total"]["active"] == 1
    assert world.operator.consent_counts()["total"]["active"] == 2


def test_the_gateway_alone_imports(world: World) -> None:
    with pytest.raises(LabError) as refused:
        world.operator.import_consents([Enterprise("E1").consent("c-1")])
    assert refused.value.code == "role_missing"


def test_import_is_fast_enough(world: World) -> None:
    """43,000 documents must take under 40 s of one core: measured on a tenth of it, the client's share included."""
    n = 4000
    key = SigningKey.generate()
    lines = [Enterprise(f"E{i}", key).consent(f"c-{i}") for i in range(n)]
    started = time.process_time()
    assert world.gateway.import_consents(lines)["accepted"] == n
    assert time.process_time() - started < 40 * n / 43_000


@pytest.mark.parametrize("table", ["feed", "audit"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET seq = seq", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_the_database_refuses_to_change_what_is_append_only(world: World, table: str, statement: str) -> None:
    world.cohort(3)
    with world.db.engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match=r"append-only|identity"):
        connection.execute(sa.text(statement.format(table)))
