"""A backup is made while the control plane serves, encrypted, restored to a working one; damage is named (R42)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from api.backups import archive, service
from api.backups.errors import BackupDamaged, BackupError
from api.embedded import EmbeddedPostgres
from api.settings import BadSettings, Settings
from tests.api.world import Enterprise
from tests.support.control_plane import ControlPlane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("backup") / "home")
    plane.start()
    with plane.operator as operator:
        operator.add_institution("bank-a", "Bank A", "bank")
        operator.add_institution("lab", "Lab", "lab")
    with plane.account("gateway", "platform", "gateway") as gateway:
        documents = [Enterprise(f"E{i}").consent(f"c-{i}") for i in range(5)]
        assert gateway.import_consents(documents)["accepted"] == 5
    yield plane
    if plane.process is not None and plane.process.poll() is None:
        plane.kill()


@pytest.fixture(scope="module")
def key(plane: ControlPlane) -> tuple[Path, str]:
    path = plane.home.parent / "backup.key"
    return path, archive.new_key(path)


@pytest.fixture(scope="module")
def backup(plane: ControlPlane, key: tuple[Path, str]) -> Path:
    return service.make(Settings(home=plane.home), plane.home.parent / "backups", key[1])


def creditlab(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.cli", "backup", *words], capture_output=True, text=True, timeout=120,
        cwd=Path(__file__).parents[3], env={**os.environ, **environment},
    )  # fmt: skip


def test_a_backup_is_private_encrypted_and_leaves_nothing_open_beside_it(backup: Path, plane: ControlPlane) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in backup.parent.iterdir()] == [backup.name]
    raw = backup.read_bytes()
    assert raw.startswith(b"age-encryption.org/v1")
    assert b"PGDMP" not in raw and b"CREATE TABLE" not in raw
    assert (plane.home / "operator.token").read_bytes().strip() not in raw


def test_a_verified_backup_has_every_row_and_the_whole_ledger(backup: Path, key: tuple[Path, str]) -> None:
    seen = service.verify(backup, key[0])
    assert seen.tables > 30
    assert seen.rows > 20
    assert (seen.ledger_size or 0) >= 5
    assert seen.sha256 == archive.sha256(backup)
    assert [path.name for path in backup.parent.iterdir()] == [backup.name]


def test_the_commands_make_copy_verify_and_restore_a_working_control_plane(
    plane: ControlPlane, key: tuple[Path, str], tmp_path: Path
) -> None:
    made = creditlab("create", "--home", str(plane.home), "--to", str(tmp_path / "b"), "--recipient", key[1])
    assert made.returncode == 0, made.stderr
    file = Path(made.stdout.strip())
    (tmp_path / "offsite").mkdir()
    copied = creditlab("copy", str(file), "--to", str(tmp_path / "offsite"))
    away = Path(copied.stdout.strip())
    assert archive.sha256(away) == archive.sha256(file)
    record = tmp_path / "verified.jsonl"
    checked = creditlab("verify", str(away), "--identity", str(key[0]), "--record", str(record))
    assert checked.returncode == 0, checked.stderr
    assert json.loads(record.read_text())["backup"] == file.name

    home = tmp_path / "restored"
    restored = creditlab("restore", str(away), "--identity", str(key[0]), "--home", str(home))
    assert restored.returncode == 0, restored.stderr
    assert ((home / "keys" / "platform.pem").stat().st_mode & 0o777) == 0o600
    second = ControlPlane(home)
    with second.start().operator as operator:
        assert operator.consent_counts()["total"]["active"] == 5
        assert {one["id"] for one in operator.institutions()} == {"bank-a", "lab", "platform"}
        operator.add_institution("bank-new", "New Bank", "bank")  # it goes on
    assert second.stop() == 0
    again = creditlab("restore", str(away), "--identity", str(key[0]), "--home", str(home))
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_a_changed_byte_and_a_wrong_key_are_named(backup: Path, key: tuple[Path, str], tmp_path: Path) -> None:
    raw = bytearray(backup.read_bytes())
    raw[len(raw) // 2] ^= 1
    changed = tmp_path / "changed.creditlab-backup"
    changed.write_bytes(raw)
    with pytest.raises(BackupDamaged, match="cannot be decrypted"):
        service.verify(changed, key[0])
    other = tmp_path / "other.key"
    archive.new_key(other)
    with pytest.raises(BackupDamaged, match="another key"):
        service.verify(backup, other)
    done = creditlab("verify", str(changed), "--identity", str(key[0]))
    assert done.returncode == 1
    assert "备份已损坏" in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_that_went_missing_are_found(backup: Path, key: tuple[Path, str], tmp_path: Path) -> None:
    """The manifest says what was there: a dump without a table's rows is no backup."""
    work = tmp_path / "work"
    work.mkdir()
    manifest, folder = archive.unseal(backup, key[0], work)
    server = EmbeddedPostgres(tmp_path / "pg" / "postgres", {"fsync": "off"})
    server.start()
    try:
        from api.backups import postgres

        postgres.load(folder / archive.DUMP, server.url)
        url = server.url.replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("DELETE FROM consents WHERE consent_id = 'c-3'")
        with pytest.raises(BackupDamaged, match="table consents: 4 rows restored, 5 backed up"):
            service._compare_at(server.url, manifest)
        with pytest.raises(BackupError, match="not empty"):
            postgres.load(folder / archive.DUMP, server.url)
    finally:
        server.stop()


def test_an_offsite_place_that_is_not_mounted_is_refused(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="mount"):
        archive.copy(backup, tmp_path / "nowhere")


def test_old_backups_are_pruned_and_the_newest_kept(tmp_path: Path, backup: Path) -> None:
    for day in range(1, 6):
        shutil.copy(backup, tmp_path / f"2026010{day}T000000Z{archive.SUFFIX}")
    service.prune(tmp_path, 2)
    assert sorted(path.name[:8] for path in tmp_path.iterdir()) == ["20260104", "20260105"]


def test_a_nightly_backup_without_a_key_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="CREDITLAB_BACKUP_RECIPIENT"):
        Settings.read({"CREDITLAB_BACKUP_DIR": str(tmp_path)}, home=tmp_path)


def test_the_recipient_must_be_a_public_key(plane: ControlPlane, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="age1"):
        service.make(Settings(home=plane.home), tmp_path, "AGE-SECRET-KEY-1XYZ")
