"""Tenant scope is kept by the database itself: row-level security under a role that owns nothing, raw SQL included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import api
from api.db import ROLE, SYSTEM, Actor, _enter, tenant
from tests.api.world import Enterprise, World

BANK_B, LAB_B = Actor("a-b", "somebody", "bank-b"), Actor("a-c", "somebody", "lab-b")
STRANGERS = (BANK_B, LAB_B, tenant("91350100M000100Y43"))
# what names a tenant; a table with one of these has a policy or fails here
TENANT_COLUMNS = ("institution", "bank", "lab", "recipient", "enterprise", "uscc")
# names and standing only, for whoever is anybody
DIRECTORIES = {"institutions", "institution_standings", "nodes"}
# whoever acts appends; what was appended only the addressee reads
OUTBOXES = {"enterprise_notices", "feed"}


@pytest.fixture(scope="module")
def busy(shared: World) -> World:
    """One bank's, one lab's and one enterprise's rows in as many tables as a day of work fills."""
    shared.operator.add_institution("bank-b", "Bank B", "bank")
    shared.operator.add_institution("lab-b", "Lab B", "lab")
    job = shared.succeeded()
    shared.released(job)
    shared.gateway.import_consents([Enterprise("E-score").consent("c-score", "underwriting_score")])
    uscc = "91110108MA00DEM06X"
    shared.operator.call(
        "POST",
        "/v1/enterprises",
        json={"uscc": uscc, "name": "某某科技", "contact_name": "张三", "contact": "010-00000000"},
    )
    shared.operator.call(
        "POST",
        "/v1/disputes",
        json={"kind": "dispute", "enterprise": "E-score", "consent_id": "c-score", "text": "not so"},
    )
    hook = {"institution": "bank-a", "url": "https://bank.example/hook"}
    shared.operator.call("POST", "/v1/webhooks", json=hook)
    return shared


def tables(world: World) -> list[str]:
    """Tables under row-level security."""
    with world.db.owner.connect() as connection:
        return list(
            connection.scalars(
                sa.text(
                    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relrowsecurity "
                    "AND relnamespace = 'public'::regnamespace ORDER BY relname"
                )
            )
        )


def keys(world: World, table: str) -> list[str]:
    with world.db.owner.connect() as connection:
        return list(
            connection.scalars(
                sa.text(
                    "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) "
                    "WHERE indrelid = CAST(:name AS regclass) AND indisprimary"
                ),
                {"name": table},
            )
        )


def rows(world: World, table: str) -> list[dict[str, Any]]:
    with world.db.read(SYSTEM) as session:
        return [dict(row) for row in session.execute(sa.text(f"SELECT * FROM {table}")).mappings()]


def test_every_table_that_names_a_tenant_is_under_forced_row_level_security(busy: World):
    """R47: a new table with such a column and no policy fails here."""
    query = """
    SELECT DISTINCT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attname = ANY (:names)
      AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid))
    """
    with busy.db.owner.connect() as connection:
        assert list(connection.scalars(sa.text(query), {"names": list(TENANT_COLUMNS)})) == []


def test_no_stranger_reads_a_row(busy: World):
    """R47."""
    filled, seen = set(), []
    for table in tables(busy):
        there = rows(busy, table)
        filled |= {table} if there else set()
        for stranger in STRANGERS:
            with busy.db.read(stranger) as session:
                found = session.execute(sa.text(f"SELECT * FROM {table}")).mappings().all()
            if table in DIRECTORIES:
                continue
            others = [row for row in found if stranger.institution not in row.values()]
            seen += [f"{table} shown to {stranger.institution}: {dict(row)}" for row in others]
    assert seen == []
    assert len(filled) >= 18, sorted(filled)


@contextmanager
def trying(world: World, actor: Actor) -> Iterator[Session]:
    """A transaction as a unit's, which may write, and is undone."""
    with Session(world.db.engine) as session:
        _enter(session, actor, local=True)
        yield session


def refused(world: World, actor: Actor, statement: str, values: dict[str, Any]) -> str | None:
    """None when the database let it happen to a row, else why not."""
    try:
        with trying(world, actor) as session:
            done = session.execute(sa.text(statement), values).rowcount  # type: ignore[attr-defined]
    except sa.exc.ProgrammingError as error:
        return str(error.orig)
    return "no row" if done == 0 else None


def test_no_stranger_changes_or_removes_a_row(busy: World):
    """R47."""
    done = []
    for table in tables(busy):
        there = rows(busy, table)
        if not there:
            continue
        own = keys(busy, table)  # an identity column refuses before the policy is asked
        key = next((name for name in there[0] if name not in own), own[0])
        for stranger in STRANGERS:
            for statement in (f"UPDATE {table} SET {key} = {key}", f"DELETE FROM {table}"):
                why = refused(busy, stranger, statement, {})
                if why is None or not re.search("no row|permission denied|row-level security", why):
                    done.append((stranger.institution, statement, why))
    assert done == []


def _value(value: Any) -> Any:
    from psycopg.types.json import Jsonb

    return (
        Jsonb(value)
        if isinstance(value, dict) or (value and isinstance(value, list) and isinstance(value[0], dict))
        else value
    )


def test_no_stranger_adds_a_row_for_another_tenant(busy: World):
    """R47."""
    done = []
    for table in tables(busy):
        for row in rows(busy, table)[:1]:
            columns = ", ".join(row)
            marks = ", ".join(f":{name}" for name in row)
            for stranger in STRANGERS:
                statement = f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({marks})"
                try:
                    with trying(busy, stranger) as session:
                        session.execute(sa.text(statement), {name: _value(value) for name, value in row.items()})
                    why = None
                except sa.exc.DBAPIError as error:
                    why = str(error.orig)
                if table in OUTBOXES:
                    assert why is None or "duplicate key" in why
                elif why is None or "row-level security" not in why:
                    done.append((stranger.institution, table, why))
    assert done == []


def test_a_party_reads_what_concerns_it_and_no_more(busy: World):
    with busy.db.read(tenant("bank-a")) as session:
        assert session.scalar(sa.text("SELECT count(*) FROM jobs")) == 1
        assert set(session.scalars(sa.text("SELECT recipient FROM consents"))) == {"bank-a"}
        assert set(session.scalars(sa.text("SELECT institution FROM accounts"))) == {"bank-a"}
        assert set(session.scalars(sa.text("SELECT institution FROM nodes"))) == {"bank-a", "lab"}
    with busy.db.read(tenant("E-score")) as session:
        assert list(session.scalars(sa.text("SELECT consent_id FROM consents"))) == ["c-score"]
        assert list(session.scalars(sa.text("SELECT consent_id FROM feed"))) == ["c-score"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE consents SET state = 'active'",  # seen and held, never written by the bank
        "UPDATE consents SET enterprise = 'bank-a'",
        "UPDATE institutions SET name = 'us'",
        "DELETE FROM nodes",
        "UPDATE usage SET reason = 'better'",
        "DELETE FROM audit",
        "DELETE FROM alembic_version",
    ],
)
def test_a_party_writes_only_what_is_its_own_to_write(busy: World, statement: str):
    why = refused(busy, tenant("bank-a"), statement, {})
    assert why is not None
    assert re.search("permission denied|row-level security|no row", why)


def test_without_a_tenant_there_is_nothing(busy: World):
    with busy.db.engine.connect() as connection:
        found = {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in tables(busy)}
    assert set(found.values()) == {0}


def test_the_audit_is_written_in_the_writers_own_name_only(busy: World):
    insert = (
        "INSERT INTO audit (at, actor, actor_name, institution, action, object_kind, object_id, reason) "
        "VALUES (now(), 'a', 'a', 'bank-a', 'x', 'job', 'x', '')"
    )
    why = refused(busy, BANK_B, insert, {})
    assert why is not None
    assert "row-level security" in why


@pytest.fixture(params=["reading", "writing"])
def afterwards(busy: World, request: pytest.FixtureRequest) -> set[str]:
    """Who the database says one is, after somebody gave up the role on every connection there is."""
    writing = request.param == "writing"

    def entered(actor: Actor) -> AbstractContextManager[Session]:
        return trying(busy, actor) if writing else busy.db.read(actor)

    with ExitStack() as stack:
        for session in [stack.enter_context(entered(SYSTEM)) for _ in range(8)]:
            session.execute(sa.text("RESET ROLE"))
            session.commit()
    with ExitStack() as stack:
        sessions = [stack.enter_context(entered(BANK_B)) for _ in range(8)]
        return {str(session.scalar(sa.text("SELECT current_user"))) for session in sessions}


def test_a_role_given_up_by_one_is_back_for_the_next(afterwards: set[str]):
    assert afterwards == {ROLE}


def test_reading_writes_nothing(busy: World):
    with pytest.raises(sa.exc.DBAPIError, match="read-only"), busy.db.read(SYSTEM) as session:
        session.execute(sa.text("UPDATE institutions SET name = name"))


def test_no_code_path_works_as_the_owner():
    """`Database.owner` is for migrations; nothing resets or changes the role."""
    owner, reset = [], []
    for path in Path(api.__file__).parent.rglob("*.py"):
        text = path.read_text()
        name = str(path.relative_to(Path(api.__file__).parent))
        if re.search(r"\.owner\b(?!_)", text) and re.search(r"db\.owner\b", text):
            owner.append(name)
        if re.search(r"RESET ROLE|SESSION AUTHORIZATION|row_security|BYPASSRLS", text):
            reset.append(name)
    assert owner == ["server.py"]
    assert reset == []


def test_append_only_is_a_matter_of_privilege_too(busy: World):
    query = """
    SELECT relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE tgname = 'append_only'
    AND (has_any_column_privilege(:role, pg_class.oid, 'UPDATE') OR has_table_privilege(:role, pg_class.oid, 'DELETE'))
    """
    with busy.db.owner.connect() as connection:
        assert list(connection.scalars(sa.text(query), {"role": ROLE})) == []
        assert connection.scalar(
            sa.text("SELECT rolsuper OR rolbypassrls OR rolcanlogin FROM pg_roles WHERE rolname = :role"),
            {"role": ROLE},
        ) is False  # fmt: skip
        assert connection.scalar(
            sa.text("SELECT count(*) FROM pg_class WHERE relowner = CAST(:role AS regrole)"), {"role": ROLE}
        ) == 0  # fmt: skip
