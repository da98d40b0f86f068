"""The control plane's folder: where its key, certificates, operator token and embedded database lie.

Owns file names and modes. It creates the signing key and the operator's token file when they are absent; it
never makes certificates (`creditlab pki` does) and never prints a secret.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from consent.keys import BadSignature, SigningKey


class HomeError(Exception):
    """The folder lacks something or holds something unusable; the message names the file and the remedy."""

    def __init__(self, message: str, message_zh: str) -> None:
        super().__init__(message)
        self.message, self.message_zh = message, message_zh


def write_private(path: Path, data: bytes) -> None:
    """Writes a file of mode 0600 that appears whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def check_private(path: Path) -> None:
    """Raises HomeError for a file that others than its owner may read."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise HomeError(
            f"{path} has mode {mode:o}: only its owner may read it, run chmod 600",
            f"{path} 的权限为 {mode:o}：只允许所有者读取，请执行 chmod 600",
        )


def read_key(path: Path) -> SigningKey:
    """The private key in a file that only its owner may read. Raises HomeError."""
    check_private(path)
    try:
        return SigningKey.from_pem(path.read_bytes())
    except (BadSignature, ValueError) as error:
        raise HomeError(
            f"{path} holds no usable private key ({error}): restore it from the backup",
            f"{path} 不是可用的私钥：请从备份恢复",
        ) from error


@dataclass(frozen=True)
class Home:
    path: Path

    @property
    def certificate(self) -> Path:
        return self.path / "pki" / "control.crt"

    @property
    def certificate_key(self) -> Path:
        return self.path / "pki" / "control.key"

    @property
    def ca(self) -> Path:
        return self.path / "pki" / "ca.crt"

    @property
    def platform_key(self) -> Path:
        return self.path / "keys" / "platform.pem"

    @property
    def platform_public(self) -> Path:
        """The base64 public half of the working key, to be given to every node at admission."""
        return self.path / "keys" / "platform.pub"

    @property
    def first_public(self) -> Path:
        """The base64 public key that began the keyring: what others trust it by."""
        return self.path / "keys" / "platform-first.pub"

    @property
    def keyring(self) -> Path:
        return self.path / "keys" / "keyring.json"

    @property
    def secret(self) -> Path:
        """What smaller secrets are derived from (`api.platform_secret`). Signs nothing."""
        return self.path / "keys" / "secret.key"

    @property
    def operator_token(self) -> Path:
        return self.path / "operator.token"

    @property
    def worker(self) -> Path:
        return self.path / "worker"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def lock(self) -> Path:
        return self.path / "serve.lock"

    def check_certificates(self) -> None:
        """Raises HomeError naming the missing file and the command that makes it."""
        for path in (self.certificate, self.certificate_key, self.ca):
            if not path.is_file():
                raise HomeError(
                    f"{path} is missing: run `creditlab pki init CA` and `creditlab pki issue CA control "
                    f"--out {path.parent} --host HOST`",
                    f"缺少 {path}：请先运行 `creditlab pki init CA` 与 `creditlab pki issue CA control "
                    f"--out {path.parent} --host 主机名`",
                )

    def signing_key(self, suite: str) -> SigningKey:
        """The platform's signing key, made on first run in that suite. Raises HomeError for an unusable, exposed or
        other file: a key is never silently replaced by one of another suite."""
        if not self.platform_key.exists():
            self.platform_key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self.platform_key, SigningKey.generate(suite).to_pem())
        key = read_key(self.platform_key)
        if key.suite != suite:
            raise HomeError(
                f"{self.platform_key} is a key of suite {key.suite}, CREDITLAB_SUITE says {suite}: set it to "
                f"{key.suite}, or run creditlab keyring rotate --suite {suite}",
                f"{self.platform_key} 属于 {key.suite} 套件，而 CREDITLAB_SUITE 为 {suite}："
                f"请改为 {key.suite}，或运行 creditlab keyring rotate --suite {suite}",
            )
        if not self.platform_public.exists() or self.platform_public.read_text().strip() != key.public.b64:
            self.platform_public.write_text(key.public.b64 + "\n")
        return key


@contextmanager
def only_one(home: Home) -> Iterator[None]:
    """Holds the folder for this process. Raises HomeError when another one serves from it."""
    home.path.mkdir(parents=True, exist_ok=True)
    with home.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HomeError(
                f"another control plane serves from {home.path}: stop it first",
                f"已有控制平面在使用 {home.path}：请先停止它",
            ) from error
        yield
