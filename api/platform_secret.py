"""One random secret in the platform's home, from which smaller ones are derived by purpose and name.

A derived secret needs no place in the database, so a copy of the database gives none away. The file is made on first
run; losing it changes every secret derived from it and nothing else. It never prints itself.
"""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from api.home import Home, HomeError, check_private, write_private

_BYTES = 32


class PlatformSecret:
    def __init__(self, raw: bytes) -> None:
        if len(raw) != _BYTES:
            raise ValueError(f"{_BYTES} bytes are needed")
        self._raw = raw

    @classmethod
    def new(cls) -> PlatformSecret:
        return cls(secrets.token_bytes(_BYTES))

    @classmethod
    def load(cls, home: Home) -> PlatformSecret:
        """The home's own, made on first run. Raises HomeError for a file that is exposed or damaged."""
        if not home.secret.exists():
            home.secret.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(home.secret, secrets.token_bytes(_BYTES))
        check_private(home.secret)
        try:
            return cls(home.secret.read_bytes())
        except ValueError as error:
            raise HomeError(
                f"{home.secret}: {error}: restore it from the backup",
                f"{home.secret}：应为 {_BYTES} 字节：请从备份恢复",
            ) from error

    def derive(self, purpose: str, name: str) -> bytes:
        """32 bytes for one thing of one purpose (HKDF-SHA256, RFC 5869): none tells anything of another."""
        info = b"creditlab/1\x00" + purpose.encode() + b"\x00" + name.encode()
        return HKDF(SHA256(), _BYTES, salt=None, info=info).derive(self._raw)
