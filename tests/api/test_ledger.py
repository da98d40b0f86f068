"""The ledger in PostgreSQL: written with every act or the act is not done, and never changed unseen (R14, R46)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from api.consents import feed
from api.db import SYSTEM
from api.ledger import documents, service
from api.ledger.repository import HeadRow, Log, Subject
from api.ledger.store import PostgresStore
from consent import artefact
from consent.ledger import LedgerDamaged, check_head, decode, encode, fsck, leaf_hash, matches
from consent.ledger.errors import AppendConflict
from consent.signed import Document
from tests.api.test_jobs import refused
from tests.api.test_scores import score
from tests.api.world import Enterprise, World

TABLES = ["ledger_log", "ledger_entry", "ledger_node", "ledger_head", "ledger_subject"]


def entries(world: World) -> list[Any]:
    with world.db.read(SYSTEM) as session:
        log_id, name = session.execute(sa.select(Log.log_id, Log.hash)).one()
        return [decode(raw) for raw in PostgresStore(session, log_id, name).entries()]


def subjects(world: World) -> list[Subject]:
    with world.db.read(SYSTEM) as session:
        return list(session.scalars(sa.select(Subject).order_by(Subject.position)))


def headed(world: World) -> Document:
    """A head over everything there is."""
    service.sign_head(world.control)
    return world.operator._get("/v1/ledger")["head"]["head"]


def check(world: World, connection: sa.Connection | None = None) -> Any:
    """What fsck says of the database, by itself or as a connection sees it."""
    if connection is None:
        with world.db.owner.connect() as own:
            return check(world, own)
    log_id, name = connection.execute(sa.select(Log.log_id, Log.hash)).one()
    checked = fsck(PostgresStore(connection, log_id, name), world.keyring)
    documents.check(connection, log_id)
    return checked


@pytest.fixture
def busy(world: World) -> tuple[World, str]:
    """Every act that the ledger must know of has happened once."""
    job_id = world.succeeded()
    world.released(job_id)
    one = Enterprise("E-score")
    world.gateway.import_consents(
        [one.consent("c-score", purpose="underwriting_score"), one.refusal("c-no", purpose="report_query")]
    )
    score(world, job_id)
    world.gateway.import_consents([one.withdrawal("c-score")])
    with world.db.unit(SYSTEM) as unit:
        writer = feed.Writer(unit)
        said = artefact.institution_state(
            institution="bank-a", state="suspended", at="2026-01-01T00:00:00Z", ground="test"
        )
        feed.say(writer, world.key, said, "bank-a")
        writer.close()
    return world, job_id


# ---- every act has its entry


def test_every_act_has_its_entry_and_entries_hold_no_business_data(busy: tuple[World, str]) -> None:
    """R14, R46, R51: consents, refusals, transitions, institution states, tickets, releases, scores and uses."""
    world, job_id = busy
    found = entries(world)
    kinds = [entry.entry.kind for entry in found]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "consent": 122, "transition": 1, "institution": 1, "ticket": 1, "release": 2, "score": 1, "data_use": 2,
    }  # fmt: skip
    assert [entry.sequence for entry in found] == list(range(len(found)))
    assert check(world).size == len(found)  # each was made of the document that its act keeps
    raw = b"".join(encode(entry.entry, entry.sequence) for entry in found)
    for word in (b"E-score", b"bank-a", job_id.encode(), b"c-score"):
        assert word not in raw


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("feed", "INSERT INTO feed (seq, kind, consent_id, document, recorded_at, chain) VALUES "
                 "(10001, 'consent', 'c', '{}', now(), '\\x00')"),
        ("usage", "INSERT INTO usage (id, at, account_id, user_name, institution, reason, content, object_kind, "
                  "object_id, purpose, document) VALUES ('u-x', now(), 'a', 'u', 'i', 'r', 'c', 'enterprise', 'E', "
                  "'underwriting_score', '{}')"),
        ("jobs", "UPDATE jobs SET ticket = '{\"body\": {}}'"),
        ("releases", "UPDATE releases SET state = 'recalled'"),
    ],
)  # fmt: skip
def test_the_database_refuses_at_commit_an_act_without_its_entry(world: World, table: str, statement: str) -> None:
    job_id = world.proposed()
    if table == "releases":
        job_id = world.succeeded()
        world.released(job_id)
    with world.db.owner.connect() as connection:
        # the audit's own guard stands aside: this is about the ledger's
        connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER audited" if table != "feed" else "SELECT 1"))
        connection.execute(sa.text(statement))
        with pytest.raises(sa.exc.DBAPIError, match="has no ledger entry"):
            connection.commit()


def test_what_cannot_be_logged_does_not_happen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Enterprise("E1")
    world.gateway.import_consents([one.consent("c-1")])
    before = len(entries(world))

    def broken(*_: object) -> None:
        raise AppendConflict("somebody was faster", "有人先行写入")

    monkeypatch.setattr(PostgresStore, "append", broken)
    denied = refused(world.gateway.import_consents, [one.withdrawal("c-1")])
    assert (denied.status, denied.code) == (503, "ledger_append_conflict")
    monkeypatch.undo()
    assert world.operator.consents("E1")[0]["state"] == "active"
    assert len(entries(world)) == before
    assert len(world.bank.feed()["events"]) == 1


def test_an_act_that_fails_leaves_no_entry(world: World) -> None:
    before = len(entries(world))

    def half() -> None:
        with world.db.unit(SYSTEM) as unit:
            service.append(unit, None, {"type": "usage", "n": 1})
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        half()
    assert len(entries(world)) == before


def test_a_position_is_known_once_the_transaction_is_over(world: World) -> None:
    document = {"type": "release_state", "n": 1}
    with world.db.unit(SYSTEM) as unit:
        position = service.append(unit, None, document)
        with pytest.raises(service.LedgerUnavailable):
            position.ledger()
    told = position.ledger()
    [entry] = [entry for entry in entries(world) if entry.sequence == told.index]
    assert leaf_hash(encode(entry.entry, entry.sequence), told.hash).hex() == told.leaf_hash
    matches(entry.entry, document, bytes.fromhex(told.salt))


# ---- nobody changes it


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("statement", ["UPDATE {} SET log_id = log_id", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
@pytest.mark.parametrize("replica", [False, True])
def test_the_database_refuses_to_change_the_ledger(shared: World, table: str, statement: str, replica: bool) -> None:
    with shared.db.owner.connect() as connection:
        if replica:  # what a superuser may call itself to step over ordinary triggers
            connection.execute(sa.text("SET session_replication_role = replica"))
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            connection.execute(sa.text(statement.format(table)))


GUARDED = [*TABLES, "ledger_cosigned", "feed", "usage", "consents"]


@contextmanager
def forced(world: World, *statements: str) -> Iterator[sa.Connection]:
    """What only the owner of the tables can do; undone afterwards."""
    with world.db.owner.connect() as connection:
        for table in GUARDED:
            connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
        for statement in statements:
            connection.exec_driver_sql(statement)
        yield connection
        connection.rollback()


def by_force(world: World, *statements: str) -> None:
    """The same, for good."""
    with forced(world, *statements) as connection:
        connection.commit()


@pytest.fixture(scope="module")
def whole(shared: World) -> World:
    """120 entries under one signed head."""
    shared.cohort(120)
    headed(shared)
    assert check(shared).size == 120
    return shared


EDIT = "UPDATE ledger_entry SET entry = convert_to(replace(convert_from(entry, 'UTF8'), '\"kind\":\"consent\"', \
'\"kind\":\"ticket\"'), 'UTF8') WHERE position = 7"


@pytest.mark.parametrize(
    ("statement", "fault", "index"),
    [
        (EDIT, "entry_edited", 7),
        ("DELETE FROM ledger_entry WHERE position = 7", "entry_deleted", 7),
        ("DELETE FROM ledger_entry WHERE position >= 100", "entry_deleted", 100),
        ("UPDATE ledger_node SET hash = decode(repeat('ab', 32), 'hex') WHERE level = 3 AND position = 2",
         "node_changed", 2),
        ("DELETE FROM ledger_node WHERE level = 2 AND position = 1", "node_missing", 1),
        ("DELETE FROM ledger_entry WHERE position >= 100; DELETE FROM ledger_node WHERE "
         "((position + 1) << level) > 100", "tail_truncated", 100),
        ("UPDATE ledger_head SET head = convert_to(replace(convert_from(head, 'UTF8'), '\"size\":', '\"size\":1'), "
         "'UTF8')", "head_forged", 0),
    ],
)  # fmt: skip
def test_what_is_forced_by_hand_is_found_and_named(whole: World, statement: str, fault: str, index: int) -> None:
    with forced(whole, *statement.split("; ")) as connection, pytest.raises(LedgerDamaged) as found:
        check(whole, connection)
    assert (found.value.fault, found.value.index) == (fault, index)


@pytest.mark.parametrize(
    ("statement", "index", "kind", "name"),
    [
        ("UPDATE feed SET document = replace(document, '\"E6\"', '\"E7\"') WHERE seq = 7", 6, "feed", "7"),
        ("DELETE FROM feed WHERE seq = 7", 6, "feed", "7"),
        ("UPDATE ledger_subject SET salt = decode(repeat('00', 32), 'hex') WHERE position = 6", 6, "feed", "7"),
        ("DELETE FROM ledger_subject WHERE position = 6", 6, "subject", "6"),
        ("INSERT INTO feed (seq, kind, consent_id, document, recorded_at, chain) "
         "SELECT 999, kind, consent_id, document, recorded_at, chain FROM feed WHERE seq = 7", None, "feed", "999"),
    ],
)  # fmt: skip
def test_a_document_changed_behind_its_entry_is_found_and_named(
    whole: World, statement: str, index: int | None, kind: str, name: str
) -> None:
    with forced(whole, statement) as connection, pytest.raises(documents.DocumentDamaged) as found:
        check(whole, connection)
    assert (found.value.index, found.value.kind, found.value.name) == (index, kind, name)


def test_no_head_is_signed_over_a_log_that_was_changed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.cohort(9)
    headed(world)
    by_force(world, "UPDATE ledger_node SET hash = decode(repeat('ab', 32), 'hex') WHERE level = 0 AND position = 8")
    world.gateway.import_consents([Enterprise("late").consent("c-late")])
    with world.db.read(SYSTEM) as session:
        before = session.scalar(sa.select(sa.func.count()).select_from(HeadRow))
    keeper = service.HeadKeeper(world.control)
    keeper.tick()
    keeper.tick()
    said = [record for record in caplog.records if "no head of the ledger" in record.message]
    assert len(said) in (1, 2)  # ours, and the control plane's own once
    assert "fork" in said[0].message or "log_forked" in said[0].message
    with world.db.read(SYSTEM) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(HeadRow)) == before


# ---- order, time and heads


def test_concurrent_writers_keep_one_order_without_a_gap(world: World) -> None:
    def send(worker: int) -> None:
        for n in range(10):
            with world.db.unit(SYSTEM) as unit:
                for part in range(3):
                    service.append(unit, None, {"type": "usage", "n": [worker, n, part]})

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    headed(world)
    checked = check(world)
    assert (checked.size, checked.covered) == (240, 240)
    written = [json.loads(row.document or "")["n"] for row in subjects(world)]
    for start in range(0, 240, 3):  # the entries of one transaction stand together, in its order
        assert written[start : start + 3] == [[*written[start][:2], part] for part in range(3)]


def test_two_writers_that_wait_for_each_others_rows_never_wait_for_the_log(world: World) -> None:
    """The log is locked last, so a transaction that logs early holds up nobody."""
    job_id = world.proposed()
    logged, done = threading.Event(), threading.Event()

    def early() -> None:
        with world.db.unit(SYSTEM) as unit:
            service.append(unit, None, {"type": "usage", "n": 1})
            logged.set()
            done.wait(5)

    thread = threading.Thread(target=early)
    thread.start()
    logged.wait(5)
    with world.db.unit(SYSTEM) as unit:
        unit.session.execute(sa.text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
        service.append(unit, None, {"type": "usage", "n": 2})
    done.set()
    thread.join()
    assert [json.loads(row.document or "")["n"] for row in subjects(world)] == [2, 1]


def test_a_clock_set_back_refuses_the_write_until_it_has_caught_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE_SECONDS", 0.2)
    world.clock.advance(3600)
    world.gateway.import_consents([Enterprise("E1").consent("c-1")])
    world.clock.ahead = timedelta()
    denied = refused(world.gateway.import_consents, [Enterprise("E2").consent("c-2")])
    assert (denied.status, denied.code) == (503, "ledger_clock_moved_back")
    assert "时钟" in denied.message_zh
    world.clock.advance(3601)
    assert world.gateway.import_consents([Enterprise("E2").consent("c-2")])["accepted"] == 1


def test_a_head_is_signed_within_a_second_and_anew_when_it_is_old(world: World) -> None:
    world.cohort(5)
    deadline = time.monotonic() + 4
    while (head := world.operator._get("/v1/ledger")["head"])["size"] != 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert check_head(head["head"], world.keyring, log_id="creditlab").size == 5
    service.sign_head(world.control)
    assert world.operator._get("/v1/ledger")["head"]["number"] == head["number"]
    world.clock.advance(61)
    service.sign_head(world.control)
    assert world.operator._get("/v1/ledger")["head"]["number"] > head["number"]


def test_entries_heads_and_documents_are_read_in_batches_of_any_size(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cursor on the server, which a reading session could not hold."""
    world.cohort(3)
    for _ in range(4):
        headed(world)
        world.clock.advance(61)
    with world.db.read(SYSTEM) as session:
        log_id, name = session.execute(sa.select(Log.log_id, Log.hash)).one()
        store = PostgresStore(session, log_id, name)
        whole = list(store.entries()), list(store.heads())
        assert len(whole[0]) >= 3
        assert len(whole[1]) >= 4
        for size in (1, 2, len(whole[1]), len(whole[1]) + 1):
            monkeypatch.setattr("api.ledger.store._BATCH", size)
            assert (list(store.entries()), list(store.heads())) == whole
    for size in (1, 2, 1000):
        monkeypatch.setattr("api.ledger.documents._BATCH", size)
        with world.db.read(SYSTEM) as session:
            assert documents.check(session.connection(), log_id) == len(whole[0])
