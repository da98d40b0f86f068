"""One embedded PostgreSQL for the session; each world and each database test has a database of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api import migrations
from api.control import utc_now
from api.db import Database
from api.embedded import EmbeddedPostgres
from tests.api.world import Origin, World


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    folder = Path(tmp_path_factory.mktemp("postgres")) / "data"
    # what survives a power cut is PostgreSQL's own business, and many small databases are slow to sync
    server = EmbeddedPostgres(folder, {"fsync": "off", "full_page_writes": "off"})
    server.start()
    yield server
    server.stop()


SETTLED_AT_BIRTH = frozenset({"suite", "platform", "key_days", "token_days"})


class Databases:
    """Makes databases, each a copy of one that was made once. Called, it gives the address of a migrated, empty one."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._admin = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
        self._numbers = itertools.count(1)
        self._empty = self._make("template0")
        engine = sa.create_engine(self._url(self._empty))
        migrations.upgrade(engine)
        engine.dispose()
        self._inhabited: dict[tuple[tuple[str, Any], ...], tuple[str, Origin]] = {}

    def _url(self, name: str) -> str:
        return self._server.url.replace("/postgres?", f"/{name}?")

    def _make(self, template: str) -> str:
        name = f"lab_{next(self._numbers)}"
        with self._admin.connect() as connection:
            # a template is copied while nobody is connected to it; who filled it may still be on the way out
            left = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
            connection.execute(left, {"name": template})
            connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return name

    def __call__(self) -> str:
        return self._url(self._make(self._empty))

    def inhabited(self, **settings: Any) -> tuple[str, Origin]:
        """The address of one with the people of `World.populate`, and what belongs to it."""
        kept = {name: value for name, value in settings.items() if name in SETTLED_AT_BIRTH}
        known = tuple(sorted(kept.items()))
        if known not in self._inhabited:
            name = self._make(self._empty)
            world = World(self._url(name), **kept).start().populate()
            world.close()
            self._inhabited[known] = name, Origin(world.key, world.keyring, world.origin.secret, world.tokens)
        template, origin = self._inhabited[known]
        return self._url(self._make(template)), origin

    def close(self) -> None:
        self._admin.dispose()


@pytest.fixture(scope="session")
def new_database(postgres: EmbeddedPostgres) -> Iterator[Databases]:
    databases = Databases(postgres)
    yield databases
    databases.close()


@pytest.fixture
def db(new_database: Databases) -> Iterator[Database]:
    database = Database(new_database(), utc_now)
    yield database
    database.dispose()


@pytest.fixture
def make_world(new_database: Databases) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**settings: object) -> World:
        world = World.inhabited(new_database, **settings)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture(scope="module")
def shared(new_database: Databases) -> Iterator[World]:
    """One world for the tests of a module that do not disturb each other."""
    world = World.inhabited(new_database)
    yield world
    world.close()
