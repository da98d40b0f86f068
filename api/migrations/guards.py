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
