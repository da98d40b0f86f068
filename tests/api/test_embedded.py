"""The embedded PostgreSQL by itself."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest

from api.embedded import EmbeddedPostgres, PostgresFailed


def conninfo(server: EmbeddedPostgres) -> str:
    return server.url.replace("postgresql+psycopg", "postgresql")


def test_it_listens_on_no_network_address_and_in_a_folder_of_its_own(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "data")
    server.start()
    try:
        with psycopg.connect(conninfo(server)) as connection:
            found = connection.execute("SELECT current_setting('listen_addresses')").fetchone()
        assert found == ("",)
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    finally:
        server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(conninfo(server), connect_timeout=1)


def test_a_path_too_long_for_a_socket_is_no_obstacle_and_leaves_nothing(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("long" * 25) / "data")
    server.start()
    sockets = Path(server.url.rsplit("host=", 1)[1])
    try:
        psycopg.connect(conninfo(server)).close()
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    finally:
        server.stop()
    assert not sockets.exists()


def test_a_damaged_folder_is_told_with_the_servers_own_words(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "data")
    server.start()
    server.stop()
    (tmp_path / "data" / "global" / "pg_control").unlink()
    with pytest.raises(PostgresFailed, match="pg_control"):
        server.start()
