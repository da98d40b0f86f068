"""Importing consents and the feed that nodes read (R14, R44; withdrawal as easy as consent)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from api.client import LabError
from api.consents.service import MAX_LINE
from consent import artefact
from consent.book import ConsentBook, verify_event
from consent.keys import SigningKey
from consent.signed import sign
from consent.times import stamp
from tests.api.world import Enterprise, World


def test_documents_arrive_in_the_feed_countersigned_in_order(world: World) -> None:
    one, two = Enterprise("E1"), Enterprise("E2")
    lines = [one.consent("c-1"), two.refusal("c-2"), one.withdrawal("c-1")]
    result = world.gateway.import_consents(lines)
    assert (result["accepted"], result["refused"], result["withdrawn"], result["failed"]) == (1, 1, 1, 0)

    feed = world.bank.feed()
    assert feed["head"] == result["head"] == 3
    assert [(e["seq"], e["kind"]) for e in feed["events"]] == [(1, "consent"), (2, "refusal"), (3, "transition")]
    book = ConsentBook()
    for event in feed["events"]:
        verify_event(event, world.key.public)  # what a node does itself
        book.apply(event)
    assert book.covered("bank-a", "joint_training", "2026-01-01T00:00:00Z") == frozenset()


def test_each_bad_line_is_named_and_good_lines_are_kept(world: World) -> None:
    one, two = Enterprise("E1"), Enterprise("E2")
    tampered = json.loads(one.consent("c-3"))
    tampered["body"]["given_at"] = "2026-01-01T00:00:00Z"
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
        one.consent("c-1", purpose="underwriting_score"),  # the number is taken
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
    assert world.gateway.import_consents([one.withdrawal("c-1")])["errors"][0]["code"] == "illegal_transition"
    world.gateway.import_consents([one.withdrawal("c-2")])
    [refused, withdrawn] = world.operator.consents("E1")
    assert (refused["state"], withdrawn["state"]) == ("refused", "withdrawn")
    assert withdrawn["withdrawn_at"]


def test_pause_resume_and_renewal_move_along_one_table(world: World) -> None:
    """R14: the control plane's state and a node's book agree after every document."""
    one = Enterprise("E1")
    consent = one.consent("c-1")
    paused = one.transition(consent, "pause")
    resumed = one.transition(paused, "resume")
    renewal = one.consent("c-2", supersedes="c-1", valid_from=stamp(datetime.now(UTC)))
    lines = [consent, paused, resumed, renewal]
    result = world.gateway.import_consents(lines)
    assert (result["accepted"], result["changed"], result["failed"]) == (2, 2, 0)
    again = world.gateway.import_consents(lines)
    assert (again["unchanged"], again["failed"]) == (4, 0)
    assert [c["state"] for c in world.operator.consents("E1")] == ["expired", "active"]
    book = ConsentBook()
    for event in world.bank.feed()["events"]:
        verify_event(event, world.key.public)
        book.apply(event)
    assert book.covered("bank-a", "joint_training", stamp(datetime.now(UTC))) == {"E1"}
    entry = book.entry("E1", "bank-a", "joint_training")
    assert entry is not None and entry.consent_id == "c-2"


def test_what_the_life_of_a_consent_does_not_allow_is_refused_by_name(world: World) -> None:
    one = Enterprise("E1")
    consent = one.consent("c-1")
    world.gateway.import_consents([consent])
    paused = one.transition(consent, "pause")
    lines = [
        one.consent("c-2"),  # a second one beside the first
        one.transition(consent, "resume"),
        one.transition(paused, "resume"),  # the pause between is missing
        one.consent("c-3", supersedes="c-none"),
        one.consent("c-4", purpose="report_query", window_months=61),
    ]
    errors = {e["line"]: e["code"] for e in world.gateway.import_consents(lines)["errors"]}
    assert errors == {
        1: "consent_stands",
        2: "illegal_transition",
        3: "out_of_sequence",
        4: "supersedes_unknown",
        5: "exceeds_template",
    }


def test_what_the_platform_says_is_not_imported(world: World) -> None:
    one = Enterprise("E1")
    said = artefact.institution_state(institution="bank-b", state="removed", at="2026-01-01T00:00:00Z", ground="x")
    line = json.dumps(sign(said, one.key, "enterprise")).encode()
    [error] = world.gateway.import_consents([line])["errors"]
    assert error["code"] == "not_an_enterprise_document"


def test_concurrent_imports_leave_no_gap(world: World) -> None:
    def send(worker: int) -> None:
        key = SigningKey.generate()
        with world.client("gateway") as client:
            for part in range(5):
                names = [f"{worker}-{part}-{i}" for i in range(20)]
                client.import_consents([Enterprise(f"W{n}", key).consent(f"c-{n}") for n in names])

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
    assert world.bank.feed(head)["events"][0]["kind"] == "transition"


def test_an_import_has_a_limit_and_says_where_to_go_on(make_world: Callable[..., World]) -> None:
    world = make_world(max_consent_documents=10, consent_batch=4)
    key = SigningKey.generate()
    result = world.gateway.import_consents([Enterprise(f"E{i}", key).consent(f"c-{i}") for i in range(15)])
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


@pytest.mark.parametrize("table", ["feed", "audit"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET seq = seq", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_the_database_refuses_to_change_what_is_append_only(world: World, table: str, statement: str) -> None:
    world.cohort(3)
    with world.db.owner.connect() as connection, pytest.raises(sa.exc.DBAPIError, match=r"append-only|identity"):
        connection.execute(sa.text(statement.format(table)))
