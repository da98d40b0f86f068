"""PostgreSQL's own programs for dumping and restoring, from the wheel, with no secret on a command line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.backups.errors import BackupError
from api.embedded import binaries
from api.migrations import make_role

_SECONDS = 6 * 3600


def _run(program: str, url: str, *arguments: str) -> None:
    """Runs it against `url`, the password in the environment. Raises BackupError with its last words."""
    parts = conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1))
    password = parts.pop("password", None)
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    command = [str(binaries() / program), *arguments, "--dbname", make_conninfo(**parts)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise BackupError(f"{program} did not end within {_SECONDS} s", f"{program} 超时未结束") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise BackupError(f"{program}: {last[0]}", f"{program} 失败：{last[0]}")


def dump(url: str, snapshot: str, to: Path) -> None:
    """Everything as of an exported snapshot, in PostgreSQL's custom format."""
    _run(
        "pg_dump",
        url,
        "--format=custom",
        "--compress=gzip:5",
        "--no-unlogged-table-data",
        f"--snapshot={snapshot}",
        f"--file={to}",
    )


def load(dump: Path, url: str) -> None:
    """Restores a dump into an empty database. Raises BackupError, also for one that is not empty."""
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1)) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchone()
        if row is None or row[0] != 0:
            raise BackupError(
                "the database is not empty: restore into a new one", "目标数据库不为空：请恢复到新的数据库"
            )
    engine = sa.create_engine(url)
    try:
        with engine.begin() as owner:
            make_role(owner)
    finally:
        engine.dispose()
    _run("pg_restore", url, "--exit-on-error", "--single-transaction", "--no-owner", str(dump))


def counts(connection: sa.Connection) -> dict[str, int]:
    """Rows of every table of ours, but for those that hold only what is on its way."""
    names = connection.scalars(
        sa.text(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p' "
            "AND relnamespace = 'public'::regnamespace ORDER BY relname"
        )
    ).all()
    quote = connection.dialect.identifier_preparer.quote
    return {name: connection.scalar(sa.text(f"SELECT count(*) FROM {quote(name)}")) or 0 for name in names}  # noqa: S608
