"""The triggers by which tables are guarded, in the words of every migration alike.

Owns their statements; the functions they call are made by the first migration. A migration that has been applied
somewhere must go on saying what it said: another guard is another function here, never a change to these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from alembic import op


def append_only(tables: Iterable[str]) -> None:
    """The database refuses UPDATE, DELETE and TRUNCATE."""
    for table in tables:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def audited(tables: Mapping[str, Iterable[str]]) -> None:
    """No write is committed without an audit row: table → (kind, key columns) under which the audit names its rows."""
    for table, arguments in tables.items():
        quoted = ", ".join(f"'{argument}'" for argument in arguments)
        op.execute(
            f"CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON {table} "
            f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit({quoted})"
        )


def scoped(tables: Mapping[str, str]) -> None:
    """Row-level security, forced: table → the condition on a row that the tenant sees and writes; the platform all."""
    for table, condition in tables.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} USING ((SELECT creditlab_tenant()) = 'platform' OR ({condition}))")


def enclosed(table: str, *rules: tuple[str, str | None, str | None]) -> None:
    """Row-level security, forced, where reading and writing differ: rules of (command, rows seen, rows written).

    The platform sees and writes all. A command for which there is no rule is refused to every tenant.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON {table} USING ((SELECT creditlab_tenant()) = 'platform')")
    for command, seen, written in rules:
        using = "" if seen is None else f" USING ({seen})"
        check = "" if written is None else f" WITH CHECK ({written})"
        op.execute(f"CREATE POLICY tenant_{command.lower()} ON {table} FOR {command}{using}{check}")


def opened(tables: Iterable[str]) -> None:
    """Takes row-level security and every policy off tables."""
    for table in tables:
        op.execute(
            f"""
            DO $$ DECLARE one text; BEGIN
                FOR one IN SELECT polname FROM pg_policy WHERE polrelid = '{table}'::regclass LOOP
                    EXECUTE format('DROP POLICY %I ON {table}', one);
                END LOOP;
            END $$
            """  # noqa: S608 (names of tables, from the migration itself)
        )
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
