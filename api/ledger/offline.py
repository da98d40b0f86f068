"""The database as an auditor on the platform's machine reads it: one snapshot, read-only, the service running or not.

Owns how the database is found. It starts the embedded one when nobody serves from the folder, and never writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import sqlalchemy as sa

from api.embedded import EmbeddedPostgres
from api.home import Home, HomeError, only_one
from api.ledger import repository
from api.ledger.store import PostgresStore
from api.settings import Settings


@contextmanager
def connected(settings: Settings) -> Iterator[sa.Connection]:
    """A connection in one REPEATABLE READ, READ ONLY transaction. Raises HomeError or PostgresFailed."""
    home = Home(settings.home)
    with nullcontext(settings.database_url) if settings.database_url else _embedded(home) as url:
        engine = sa.create_engine(url, isolation_level="REPEATABLE READ", connect_args={"options": _READ_ONLY})
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


_READ_ONLY = "-c default_transaction_read_only=on"


@contextmanager
def _embedded(home: Home) -> Iterator[str]:
    if not (home.postgres / "PG_VERSION").exists():
        raise HomeError(
            f"{home.path} holds no database: give the control plane's folder, or set DATABASE_URL",
            f"{home.path} 中没有数据库：请指定控制平面的文件夹，或设置 DATABASE_URL",
        )
    server = EmbeddedPostgres(home.postgres)
    with ExitStack() as stack:
        try:
            stack.enter_context(only_one(home))
        except HomeError:  # somebody serves from it: ask that one's database
            if (url := server.running_url()) is None:
                raise
            yield url
            return
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


def store(connection: sa.Connection) -> PostgresStore:
    """The log of this database. Raises HomeError when it has none."""
    found = repository.log(connection)
    if found is None:
        raise HomeError(
            "this database holds no ledger yet: the control plane opens it when it starts",
            "该数据库尚无透明日志：控制平面启动时建立",
        )
    return PostgresStore(connection, found.log_id, found.hash)
