"""A database that fails in the middle of a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

_FUNCTION = """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = 'disk_full'; END $$"""


@contextmanager
def failing(owner: sa.Engine, table: str) -> Iterator[None]:
    """Inside, every insert into `table` fails in the database itself. `owner` is an engine that may change tables."""
    with owner.begin() as connection:
        connection.execute(sa.text(_FUNCTION))
        connection.execute(sa.text(f"CREATE TRIGGER fail BEFORE INSERT ON {table} EXECUTE FUNCTION fail()"))
    try:
        yield
    finally:
        with owner.begin() as connection:
            connection.execute(sa.text("DROP FUNCTION fail() CASCADE"))
