"""No write without its audit row: by construction in the code, and refused by the database itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from api import migrations
from api.db import SYSTEM, Audited, Base, Database, Stateful
from api.institutions.repository import Institution
from api.tables import METADATA
from tests.api.world import World

# Tables without audit rows, and why
EXEMPT = {
    "audit": "it is the trail",
    "feed": "append-only; each event belongs to an audited consent",
    "feed_head": "a counter under the feed",
    "heartbeats": "a presence, not a decision",
    "job_events": "append-only, a log itself",
    "permit_transit": "in transit: written once, read once, deleted",
    "ledger_log": "append-only; opened once, at the first start",
    "ledger_entry": "append-only, a log itself",
    "ledger_node": "append-only; made from the entries",
    "ledger_head": "append-only; signed",
    "ledger_cosigned": "append-only; signed",
    "ledger_subject": "append-only; belongs to an entry",
    "node_questions": "in transit: asked, answered, deleted",
    "enterprise_notices": "append-only, a log itself",
    "institution_events": "append-only, a log itself",
    "institution_event_heads": "a counter under the events, and how far they were taken",
    "webhook_cursors": "progress of deliveries, not a decision",
    "webhook_dead_letters": "append-only, a log itself",
    "enterprise_codes": "one-time codes, hashed; their issue is audited with the enterprise",
    "enterprise_attempts": "counters of failed attempts",
    "enterprise_sessions": "presence of a signed-in person, hashed",
    "idempotent_requests": "the effect that claims a key is audited itself",
    "fleeting_answers": "in transit: kept for minutes",
    "workers": "a presence, not a decision",
    "staff_codes": "one-time codes, hashed; their issue is audited with the person",
    "staff_sessions": "presence of a signed-in person, hashed; opening and ending are audited with the person",
    "staff_login_states": "in transit: a login at another provider, used once",
    "enterprise_ceremonies": "in transit: a challenge, used once",
    "referral_progress": "append-only, a log itself; each step also stands in the referral's own trail",
    "credit_reports": "append-only, a log itself; each report also stands in the credit's own trail",
    "messages": "append-only, a log itself, which names its author",
    "policy_pushes": "append-only, a log itself",
    "clock_words": "append-only, a log itself; each word also stands in the clock's own trail",
}


# what the way to a released model writes; the guards of the other tables are the same, and made by the same loop
WRITTEN_BY_A_RELEASE = {
    "institutions", "accounts", "consents", "nodes", "jobs", "job_parties", "job_approvals", "job_reports", "usage",
    "releases", "release_reviews", "release_confirmations",
}  # fmt: skip


def migrations_on_disk() -> Iterator[ModuleType]:
    for path in sorted((Path(migrations.__file__).parent / "versions").glob("v*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def audited() -> dict[str, tuple[str, ...]]:
    """What all migrations together say of audited tables."""
    found: dict[str, tuple[str, ...]] = {}
    for one in migrations_on_disk():
        for before in getattr(one, "RENAMED", {}):
            del found[before]
        found |= getattr(one, "AUDITED", {})
    return found


def test_every_table_is_audited_or_exempt_for_a_reason(db: Database) -> None:
    with db.read(SYSTEM) as session:
        guarded = set(
            session.scalars(
                sa.text("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'audited' AND tgenabled = 'O'")
            )
        )
    assert guarded | EXEMPT.keys() == METADATA.tables.keys()
    assert not guarded & EXEMPT.keys()


def test_the_mapped_classes_and_the_database_name_audited_rows_alike() -> None:
    classes = {m.class_.__tablename__: m.class_ for m in Base.registry.mappers}
    declared = {name: (cls.AUDIT_KIND, *cls.AUDIT_KEY) for name, cls in classes.items() if issubclass(cls, Audited)}
    assert declared == audited()


def test_every_state_column_belongs_to_a_machine() -> None:
    for mapper in Base.registry.mappers:
        if "state" in mapper.columns:
            assert issubclass(mapper.class_, Stateful), mapper.class_


def _write(connection: sa.Connection, statement: str) -> None:
    connection.execute(sa.text(statement))
    connection.commit()


def test_the_database_refuses_at_commit_a_write_without_audit(world: World) -> None:
    """Each audited table, each kind of write, by raw SQL past all our code."""
    job_id = world.succeeded()
    world.released(job_id)
    for table in audited():
        column = METADATA.tables[table].columns.keys()[0]
        statements = [f'UPDATE {table} SET "{column}" = "{column}"', f"DELETE FROM {table}"]
        for statement in statements:
            with world.db.owner.connect() as connection:
                if not connection.scalar(sa.text(f"SELECT count(*) FROM {table}")):
                    assert table not in WRITTEN_BY_A_RELEASE
                    continue
                with pytest.raises(sa.exc.DBAPIError, match=r"no audit row|append-only|foreign key"):
                    _write(connection, statement)


def test_a_state_needs_an_audit_row_that_names_it(world: World) -> None:
    job_id = world.proposed()
    audit = sa.text(
        "INSERT INTO audit (at, actor, actor_name, institution, action, object_kind, object_id, reason, to_state) "
        "VALUES (now(), 'x', 'x', 'x', 'x', 'job', :job, 'x', :state)"
    )
    with world.db.owner.connect() as connection:
        connection.execute(sa.text("UPDATE jobs SET state = 'succeeded'"))
        connection.execute(audit, {"job": job_id, "state": "running"})
        with pytest.raises(sa.exc.DBAPIError, match="no audit row"):
            connection.commit()
    with world.db.owner.connect() as connection:  # another transaction's row does not count either
        connection.execute(audit, {"job": job_id, "state": "succeeded"})
        connection.commit()
        connection.execute(sa.text("UPDATE jobs SET state = 'succeeded'"))
        with pytest.raises(sa.exc.DBAPIError, match="no audit row"):
            connection.commit()
    assert world.operator.job(job_id)["state"] == "proposed"


def test_the_audit_row_and_the_write_stand_or_fall_together(db: Database) -> None:

    def half() -> None:
        with db.unit(SYSTEM) as unit:
            row = Institution(id="x", name="x", kind="bank", created_at=unit.now)
            unit.create(row, "institution.create", "test")
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        half()
    with db.read(SYSTEM) as session:
        assert session.scalar(sa.text("SELECT count(*) FROM institutions")) == 0
        assert session.scalar(sa.text("SELECT count(*) FROM audit")) == 0


def test_a_jobs_whole_life_is_in_the_trail_with_actor_time_and_reason(world: World) -> None:
    job_id = world.succeeded()
    rows = world.operator.audit("job", job_id)
    assert [row["to_state"] for row in rows] == ["proposed", "approved", "running", "succeeded"]
    assert [row["actor_name"] for row in rows[:2]] == ["risk", "operator"]
    assert all(row["reason"] and row["at"] and row["institution"] for row in rows)
    approvals = world.operator.audit("job_approval")
    assert {row["actor_name"] for row in approvals} == {"owner", "operator"}


def test_the_trail_is_paged_by_keyset(world: World) -> None:
    world.cohort(30)
    seen: list[int] = []
    while page := world.operator.audit(after=seen[-1] if seen else 0, limit=7):
        seen += [row["seq"] for row in page]
    assert seen == sorted(set(seen))
    assert len(seen) > 40


def test_migrations_make_exactly_the_mapped_tables(db: Database) -> None:
    with db.owner.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_migrations_go_down_and_up_again(db: Database) -> None:
    migrations.upgrade(db.owner)  # already there: nothing happens
    migrations.downgrade(db.owner, "base")
    with db.owner.connect() as connection:
        left = connection.scalars(sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
    assert left == ["alembic_version"]
    migrations.upgrade(db.owner)
    test_migrations_make_exactly_the_mapped_tables(db)
