"""Connections of the pool: replaced unseen when the server closed them, and never anybody's but the caller's."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import MultipleResultsFound, ProgrammingError

import api
from api.db import ROLE, SYSTEM, AuditRow, Database, tenant

WHO = "SELECT current_user AS role, current_setting('creditlab.tenant') AS tenant"


def _cut(db: Database) -> None:
    """Closes every connection from the server's side, as a restart of it does."""
    with db.owner.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


def _opened(db: Database) -> None:
    """Several connections of each pool, lying in it."""
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(db.read(SYSTEM))
            held.enter_context(db.unit(SYSTEM))


def test_connections_that_the_server_closed_are_replaced_unseen(db: Database) -> None:
    _opened(db)
    _cut(db)
    assert db.look_up(tenant("bank-a"), WHO, {}) == (ROLE, "bank-a")
    _cut(db)
    with db.read(tenant("bank-a")) as session:
        assert session.execute(sa.text(WHO)).one() == (ROLE, "bank-a")
    _cut(db)
    with db.unit(SYSTEM) as unit:
        assert unit.session.execute(sa.text(WHO)).one() == (ROLE, "platform")
        unit.note("try", "thing", "one", "to see it kept")
    with db.read(SYSTEM) as session:
        assert session.scalar(sa.select(sa.func.count()).where(AuditRow.object_kind == "thing")) == 1


def test_role_and_tenant_are_said_again_whatever_a_connection_did_before(db: Database) -> None:
    """R47: nothing that one user of a connection does reaches the next."""
    for _ in range(2):
        with db.readers.connect() as connection:
            connection.exec_driver_sql("RESET ROLE")
            connection.exec_driver_sql("SET creditlab.tenant = 'platform'")
        assert db.look_up(tenant("bank-a"), WHO, {}) == (ROLE, "bank-a")


def test_a_look_up_finds_one_row_or_none_and_can_write_nothing(db: Database) -> None:
    assert db.look_up(SYSTEM, "SELECT 1 AS n WHERE %(yes)s", {"yes": True}).n == 1
    assert db.look_up(SYSTEM, "SELECT 1 AS n WHERE %(yes)s", {"yes": False}) is None
    with pytest.raises(MultipleResultsFound, match="2 rows"):
        db.look_up(SYSTEM, "SELECT generate_series(1, 2) AS n", {})
    with pytest.raises(sa.exc.InternalError, match="read-only"):
        db.look_up(SYSTEM, "DELETE FROM idempotent_requests RETURNING key", {})


def test_what_goes_wrong_in_a_look_up_is_told_by_the_mappers_names(db: Database) -> None:
    with pytest.raises(ProgrammingError, match="no_such_table"):
        db.look_up(SYSTEM, "SELECT 1 FROM no_such_table", {})
    assert db.look_up(SYSTEM, "SELECT 1 AS n", {}).n == 1


def test_nothing_is_read_through_a_cursor_on_the_server() -> None:
    """Such a cursor lives in a transaction, and reading has none around it."""
    root = Path(api.__file__).parent
    sources = [path for path in root.rglob("*.py") if "migrations" not in path.parts]
    assert len(sources) > 100
    found = [str(p.relative_to(root)) for p in sources if re.search(r"yield_per|stream_results", p.read_text())]
    assert found == []
