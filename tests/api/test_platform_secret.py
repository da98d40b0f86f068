"""The home's secret: made once, readable by its owner alone, one derived secret tells nothing of another."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from api.home import Home, HomeError
from api.platform_secret import PlatformSecret


def test_it_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = PlatformSecret.load(home).derive("webhook", "w-1")
    assert home.secret.stat().st_mode & 0o777 == 0o600
    assert PlatformSecret.load(home).derive("webhook", "w-1") == first
    home.secret.chmod(0o640)
    with pytest.raises(HomeError, match="only its owner"):
        PlatformSecret.load(home)


def test_a_damaged_file_is_refused_and_not_replaced(tmp_path: Path) -> None:
    home = Home(tmp_path)
    PlatformSecret.load(home)
    home.secret.write_bytes(b"short")
    with pytest.raises(HomeError, match="restore it from the backup"):
        PlatformSecret.load(home)
    assert home.secret.read_bytes() == b"short"


def test_each_purpose_and_name_has_a_secret_of_its_own() -> None:
    """RFC 5869, with purpose and name apart: what is moved between them gives something else."""
    secret = PlatformSecret(bytes(range(32)))
    info = b"creditlab/1\x00webhook\x00w-1"
    assert secret.derive("webhook", "w-1") == HKDF(SHA256(), 32, None, info).derive(bytes(range(32)))
    names = [("webhook", "w-1"), ("webhook", "w-2"), ("webhoo", "kw-1"), ("w-1", "webhook")]
    assert len({secret.derive(*one) for one in names}) == len(names)
    assert PlatformSecret.new().derive("webhook", "w-1") != secret.derive("webhook", "w-1")


def test_it_does_not_print_itself() -> None:
    assert bytes(32).hex() not in repr(PlatformSecret(bytes(32)))
    assert repr(bytes(32)) not in repr(PlatformSecret(bytes(32)))
