"""A backup as one file: a tar of the dump, the folder's keys and a manifest, encrypted with age to a public key.

The machine that makes backups holds the recipient's public key only, so a stolen copy is of no use without the
private key, which is kept elsewhere. Owns the file's layout and its checks; it starts no database.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage

from api.backups.errors import BackupDamaged, BackupError
from api.home import write_private

LAYOUT = 1
SUFFIX = ".creditlab-backup"
DUMP = "database.dump"
_MANIFEST = "manifest.json"
_HOME = "home"
_BLOCK = 1 << 20
# of the folder: what no other place can give back; certificates are issued anew from the CA, but cost an outage
_KEPT = ("keys", "pki", "operator.token")


@dataclass(frozen=True)
class Manifest:
    """What a backup holds. `rows` is each table's number of rows, `ledger` the log at that moment (None: no log)."""

    layout: int
    made_at: str
    schema: str
    rows: dict[str, int]
    ledger: dict[str, Any] | None
    files: dict[str, str]  # name → SHA-256

    @classmethod
    def read(cls, text: bytes) -> Manifest:
        try:
            values = json.loads(text)
            if values.get("layout") != LAYOUT:
                raise BackupError(
                    f"a backup of layout {values.get('layout')!r}: this version reads {LAYOUT}",
                    f"备份格式为 {values.get('layout')!r}：本版本仅支持 {LAYOUT}",
                )
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise BackupDamaged("the backup's manifest cannot be read", "备份清单无法读取") from error


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def new_key(path: Path) -> str:
    """Writes a new private key to `path` (mode 0600, must not exist) and returns the public one."""
    if path.exists():
        raise BackupError(f"{path} exists already: choose another file", f"{path} 已存在：请另选文件")
    identity = pyrage.x25519.Identity.generate()
    write_private(path, f"{identity}\n".encode())
    return str(identity.to_public())


def recipient(text: str) -> pyrage.x25519.Recipient:
    try:
        return pyrage.x25519.Recipient.from_str(text.strip())
    except pyrage.RecipientError as error:
        raise BackupError(
            "the recipient is no public key of the form age1…: make one with creditlab backup keygen",
            "接收方公钥须为 age1… 形式：请用 creditlab backup keygen 生成",
        ) from error


def _identity(path: Path) -> pyrage.x25519.Identity:
    try:
        return pyrage.x25519.Identity.from_str(path.read_text().strip())
    except (OSError, UnicodeDecodeError, pyrage.IdentityError) as error:
        raise BackupError(f"{path} holds no private key for backups", f"{path} 不是备份私钥") from error


@contextmanager
def private_folder(beside: Path) -> Iterator[Path]:
    """A folder of ours alone beside `beside`, gone afterwards: what lies in it is not encrypted yet."""
    path = beside / f".work-{os.getpid()}-{os.urandom(4).hex()}"
    path.mkdir(mode=0o700, parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def home_files(home: Path) -> dict[str, Path]:
    """What of the folder goes into the backup, by its name there."""
    found: dict[str, Path] = {}
    for name in _KEPT:
        path = home / name
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.exists() else []
        found |= {f"{_HOME}/{file.relative_to(home)}": file for file in files}
    return found


def seal(files: dict[str, Path], manifest: Manifest, to: pyrage.x25519.Recipient, folder: Path, work: Path) -> Path:
    """Writes the encrypted archive into `folder`; it appears whole or not at all. Plain parts stay in `work`."""
    plain, sealed = work / "plain.tar", work / "sealed"
    with tarfile.open(plain, "w") as tar:
        manifest_file = work / _MANIFEST
        manifest_file.write_text(json.dumps(asdict(manifest), ensure_ascii=False, indent=1))
        for name, path in {_MANIFEST: manifest_file, **files}.items():
            tar.add(path, arcname=name, recursive=False)
    pyrage.encrypt_file(str(plain), str(sealed), [to])
    plain.unlink()
    sealed.chmod(0o600)
    with sealed.open("rb+") as file:
        os.fsync(file.fileno())
    moment = datetime.fromisoformat(manifest.made_at).astimezone(UTC)
    target = folder / f"{moment:%Y%m%dT%H%M%SZ}{SUFFIX}"
    if target.exists():
        raise BackupError(f"{target} exists already", f"{target} 已存在")
    sealed.replace(target)
    return target


def unseal(backup: Path, identity: Path, work: Path) -> tuple[Manifest, Path]:
    """Decrypts into `work` and checks every file against the manifest; the manifest and the folder of the files.

    Raises BackupError for a wrong key, BackupDamaged for anything that is not as the manifest says.
    """
    key = _identity(identity)
    plain, folder = work / "plain.tar", work / "files"
    try:
        pyrage.decrypt_file(str(backup), str(plain), [key])
    except (OSError, pyrage.DecryptError) as error:
        raise BackupDamaged(
            f"{backup} cannot be decrypted with {identity}: another key, or the file was changed",
            f"无法用 {identity} 解密 {backup}：密钥不符或文件已被改动",
        ) from error
    try:
        with tarfile.open(plain) as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise BackupDamaged(f"{backup} holds no readable archive", f"{backup} 的内容无法读取") from error
    finally:
        plain.unlink(missing_ok=True)
    manifest = Manifest.read((folder / _MANIFEST).read_bytes() if (folder / _MANIFEST).exists() else b"")
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {_MANIFEST}
    for name in sorted(found ^ set(manifest.files)):
        raise BackupDamaged(f"{backup}: {name} is missing or was added", f"{backup}：{name} 缺失或多出")
    for name, expected in manifest.files.items():
        if sha256(folder / name) != expected:
            raise BackupDamaged(f"{backup}: {name} is not as it was", f"{backup}：{name} 已被改动")
    return manifest, folder


def put_home(folder: Path, home: Path) -> None:
    """Copies the folder's part of an opened backup to `home`, private as it was."""
    source = folder / _HOME
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        target = home / file.relative_to(source)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(target, file.read_bytes())


def copy(backup: Path, folder: Path) -> Path:
    """Copies a backup to another place and reads it back. Raises BackupError."""
    if not folder.is_dir():
        raise BackupError(
            f"{folder} is no folder: mount the off-site place and try again", f"{folder} 不是文件夹：请先挂载异地存储"
        )
    target, partial = folder / backup.name, folder / (backup.name + ".part")
    try:
        with backup.open("rb") as source, partial.open("wb") as out:
            shutil.copyfileobj(source, out, _BLOCK)
            out.flush()
            os.fsync(out.fileno())
        if sha256(partial) != sha256(backup):
            raise BackupDamaged(f"{partial} does not read back as {backup}", f"{partial} 与 {backup} 不一致")
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BackupError(f"{target}: {error.strerror}", f"{target}：{error.strerror}") from error
    return target
