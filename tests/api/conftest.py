"""One embedded PostgreSQL for the session; each world and each database test has a database of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from api import migrations
from api.control import utc_now
from api.db import Database
from api.embedded import EmbeddedPostgres
from tests.api.world import World


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    folder = Path(tmp_path_factory.mktemp("postgres")) / "data"
    # what survives a power cut is PostgreSQL's own business, and many small databases are slow to sync
    server = EmbeddedPostgres(folder, {"fsync": "off", "full_page_writes": "off"})
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def new_database(postgres: EmbeddedPostgres) -> Iterator[Callable[[], str]]:
    """Makes a migrated database and returns its address."""
    admin = sa.create_engine(postgres.url, isolation_level="AUTOCOMMIT")
    template = "template_lab"
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {template}"))
    engine = sa.create_engine(postgres.url.replace("/postgres?", f"/{template}?"))
    migrations.upgrade(engine)
    engine.dispose()
    numbers = itertools.count(1)

    def make() -> str:
        name = f"lab_{next(numbers)}"
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return postgres.url.replace("/postgres?", f"/{name}?")

    yield make
    admin.dispose()


@pytest.fixture
def db(new_database: Callable[[], str]) -> Iterator[Database]:
    database = Database(new_database(), utc_now)
    yield database
    database.dispose()


@pytest.fixture
def make_world(new_database: Callable[[], str]) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**settings: object) -> World:
        world = World(new_database(), **settings).start().populate()
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture(scope="module")
def shared(new_database: Callable[[], str]) -> Iterator[World]:
    """One world for the tests of a module that do not disturb each other."""
    world = World(new_database()).start().populate()
    yield world
    world.close()
