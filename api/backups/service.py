"""Making, trying, verifying and restoring backups, as the commands and the nightly flow do.

A backup counts only once it was restored: one is tried in a scratch database before it is sealed, and `verify` opens
the sealed file itself, restores it and rebuilds the ledger's hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from api.backups import archive, postgres
from api.backups.archive import DUMP, Manifest
from api.backups.errors import BackupDamaged, BackupError
from api.embedded import EmbeddedPostgres
from api.home import Home
from api.ledger import repository as ledger
from api.ledger.documents import check as check_documents
from api.ledger.offline import connected, store
from api.settings import Settings
from consent.keyring import Keyring
from consent.keys import BadSignature
from consent.ledger import fsck, merkle, vouched
from consent.ledger.errors import LedgerError

KEEP = 30  # newest backups in the folder


@dataclass(frozen=True)
class Verified:
    """What a verification saw."""

    backup: str
    sha256: str
    made_at: str
    schema: str
    tables: int
    rows: int
    ledger_size: int | None
    ledger_root: str | None
    verified_at: str


def make(settings: Settings, folder: Path, recipient: str, *, tried: bool = True, now: datetime | None = None) -> Path:
    """Backs up the running or stopped control plane of `settings` into `folder`; the file. Raises BackupError."""
    to = archive.recipient(recipient)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with archive.private_folder(folder) as work:
        dump = work / DUMP
        with connected(settings) as connection:
            snapshot = connection.scalar(sa.text("SELECT pg_export_snapshot()"))
            schema = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            rows = postgres.counts(connection)
            log = _ledger(connection)
            url = connection.engine.url.render_as_string(hide_password=False)
            postgres.dump(url, str(snapshot), dump)
        files = {DUMP: dump, **archive.home_files(settings.home)}
        made_at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        hashes = {name: archive.sha256(path) for name, path in files.items()}
        manifest = Manifest(archive.LAYOUT, made_at, str(schema), rows, log, hashes)
        if tried:
            with _scratch(dump, work) as restored:
                _compare(restored, manifest, None)
        return archive.seal(files, manifest, to, folder, work)


def verify(backup: Path, identity: Path, work_beside: Path | None = None) -> Verified:
    """Opens the sealed file, restores it aside, compares every table and rebuilds the ledger. Raises BackupError."""
    with archive.private_folder(work_beside or backup.parent) as work:
        manifest, folder = archive.unseal(backup, identity, work)
        keyring = folder / "home" / "keys" / "keyring.json"
        with _scratch(folder / DUMP, work) as restored:
            _compare(restored, manifest, keyring if keyring.exists() else None)
    log = manifest.ledger
    return Verified(
        backup=backup.name,
        sha256=archive.sha256(backup),
        made_at=manifest.made_at,
        schema=manifest.schema,
        tables=len(manifest.rows),
        rows=sum(manifest.rows.values()),
        ledger_size=log["size"] if log else None,
        ledger_root=log["root"] if log else None,
        verified_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def restore(backup: Path, identity: Path, home: Path, database_url: str | None) -> Manifest:
    """Puts a backup into a new folder, and into its embedded database or an empty one at `database_url`."""
    if home.exists() and any(home.iterdir()):
        raise BackupError(f"{home} is not empty: restore into a new folder", f"{home} 不为空：请恢复到新的文件夹")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with archive.private_folder(home.parent) as work:
        manifest, folder = archive.unseal(backup, identity, work)
        if database_url is not None:
            postgres.load(folder / DUMP, database_url)
            _compare_at(database_url, manifest)
        else:
            server = EmbeddedPostgres(Home(home).postgres)
            server.start()
            try:
                postgres.load(folder / DUMP, server.url)
                _compare_at(server.url, manifest)
            finally:
                server.stop()
        archive.put_home(folder, home)
    return manifest


def prune(folder: Path, keep: int = KEEP) -> list[Path]:
    """Removes the oldest backups beyond `keep`; returns them."""
    old = sorted(folder.glob(f"*{archive.SUFFIX}"))[:-keep] if keep > 0 else []
    for path in old:
        path.unlink()
    return old


def _ledger(connection: sa.Connection) -> dict[str, Any] | None:
    if ledger.log(connection) is None:
        return None
    log = store(connection)
    return {"log_id": log.log_id, "size": log.size(), "root": merkle.root(log, log.size(), log.hash_name).hex()}


@contextmanager
def _scratch(dump: Path, work: Path) -> Iterator[sa.Connection]:
    """The dump, restored into a database of its own that is gone afterwards."""
    server = EmbeddedPostgres(work / "scratch" / "postgres", {"fsync": "off", "full_page_writes": "off"})
    server.start()
    try:
        postgres.load(dump, server.url)
        with _opened(server.url) as connection:
            yield connection
    finally:
        server.stop()


@contextmanager
def _opened(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _compare_at(url: str, manifest: Manifest) -> None:
    with _opened(url) as connection:
        _compare(connection, manifest, None)


def _compare(connection: sa.Connection, manifest: Manifest, keyring: Path | None) -> None:
    """Every table has its rows, and the log its entries and root; with a keyring, all its heads and documents too."""
    found = postgres.counts(connection)
    for name in sorted(found.keys() | manifest.rows.keys()):
        if found.get(name) != manifest.rows.get(name):
            raise BackupDamaged(
                f"table {name}: {found.get(name)} rows restored, {manifest.rows.get(name)} backed up",
                f"表 {name}：恢复 {found.get(name)} 行，备份时为 {manifest.rows.get(name)} 行",
            )
    if _ledger(connection) != manifest.ledger:
        raise BackupDamaged("the ledger is not the one that was backed up", "透明日志与备份时不一致")
    if keyring is not None and manifest.ledger is not None:
        log = store(connection)
        try:
            fsck(log, vouched(Keyring.read_untrusted(keyring.read_bytes().strip()), log))
            check_documents(connection, log.log_id)
        except (LedgerError, BadSignature) as error:
            raise BackupDamaged(error.message, error.message_zh) from error
