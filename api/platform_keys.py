"""The platform's keys on disk: the working key, and the keyring that tells which key was valid when.

Owns `keys/platform.pem`, `keys/keyring.json` and the two public key files, and the order in which a rotation writes
them, so that one that was cut off is finished at the next start. The rules are `consent.keyring`'s. It never prints a
key, and keeps no key that is out of use.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from api.home import Home, HomeError, read_key, write_private
from consent.keyring import DOCUMENTS, RECOVERY, KeyNotValid, Keyring
from consent.keys import BadSignature, SigningKey
from consent.times import parse, stamp

Clock = Callable[[], datetime]
WARN_DAYS = 30


@dataclass(frozen=True)
class PlatformKeys:
    """The key to sign with, and the keyring that it stands on."""

    key: SigningKey
    keyring: Keyring

    def days_left(self, now: datetime) -> float:
        return (parse(self.keyring.key(self.key.public.key_id).end) - now).total_seconds() / 86_400


def founded(key: SigningKey, platform: str, now: datetime, days: float) -> Keyring:
    """A first keyring of one key."""
    return Keyring.found(key, platform=platform, at=stamp(now), valid_until=stamp(now + timedelta(days=days)))


def load(home: Home, *, suite: str, platform: str, days: float, now: datetime) -> PlatformKeys:
    """Key and keyring, both made on first run; a rotation that was cut off is finished.

    Raises HomeError for files that are missing, exposed, of another platform or suite, or for a key out of its time.
    """
    if not home.keyring.exists():
        key = home.signing_key(suite)
        _write(home, founded(key, platform, now, days))
    keyring = read(home)
    if keyring.platform != platform:
        raise HomeError(
            f"{home.keyring} is of platform {keyring.platform}, CREDITLAB_PLATFORM says {platform}: a platform keeps "
            "its name",
            f"{home.keyring} 属于平台 {keyring.platform}，而 CREDITLAB_PLATFORM 为 {platform}：平台名称不可更改",
        )
    try:
        current = keyring.current(stamp(now))
    except KeyNotValid as error:
        raise HomeError(
            f"{home.keyring}: {error.message}; run creditlab keyring rotate --by with the recovery key",
            f"{home.keyring}：{error.message_zh}；请用恢复密钥运行 creditlab keyring rotate --by",
        ) from error
    prepared = _prepared(home, current.public.key_id)
    if prepared.exists():
        write_private(home.platform_key, prepared.read_bytes())
    for left in home.platform_key.parent.glob("next-*.pem"):
        left.unlink()
    key = home.signing_key(suite)
    if key.public != current.public:
        raise HomeError(
            f"{home.platform_key} is key {key.public.key_id}, the keyring's current one is {current.public.key_id}: "
            "restore both from one backup",
            f"{home.platform_key} 为密钥 {key.public.key_id}，而密钥环的当前密钥为 {current.public.key_id}："
            "请从同一备份恢复两者",
        )
    _publish(home, keyring)
    return PlatformKeys(key, keyring)


def read(home: Home) -> Keyring:
    """The keyring as it stands on disk. Raises HomeError."""
    try:
        return Keyring.read_untrusted(home.keyring.read_bytes().removesuffix(b"\n"))
    except (OSError, BadSignature) as error:
        raise HomeError(
            f"{home.keyring} holds no usable keyring ({error}): restore it from the backup",
            f"{home.keyring} 不是可用的密钥环：请从备份恢复",
        ) from error


def rotate(home: Home, *, suite: str, days: float, clock: Clock, by: SigningKey | None = None) -> Keyring:
    """A new working key; the old one's time ends. `by` signs in place of the old one (the recovery key).

    The new key begins one second after the old one's last, so that no signature has two keys. Raises HomeError,
    KeyringRefused or KeyNotValid.
    """
    keyring = read(home)
    signer = by or read_key(home.platform_key)
    old = read_key(home.platform_key).public
    new = SigningKey.generate(suite)
    write_private(_prepared(home, new.public.key_id), new.to_pem())
    now = clock()
    begins = now + timedelta(seconds=1)
    keyring = keyring.add(
        signer,
        new.public,
        at=stamp(now),
        valid_from=stamp(begins),
        valid_until=stamp(begins + timedelta(days=days)),
    )
    while stamp(clock()) < stamp(begins):
        time.sleep(0.02)
    known = keyring.key(old.key_id)
    if known.end > stamp(begins) and known.compromised_at is None:
        keyring = keyring.retire(new, old.key_id, at=stamp(begins))
    _write(home, keyring)
    write_private(home.platform_key, new.to_pem())
    _prepared(home, new.public.key_id).unlink()
    _publish(home, keyring)
    return keyring


def retire(home: Home, key_id: str, *, clock: Clock) -> Keyring:
    """Ends the time of a key that is not the working one (a recovery key, for instance)."""
    key = read_key(home.platform_key)
    if key.public.key_id == key_id:
        raise HomeError(
            f"key {key_id} is the working key: creditlab keyring rotate replaces it",
            f"密钥 {key_id} 正在使用：请用 creditlab keyring rotate 更换",
        )
    keyring = read(home).retire(key, key_id, at=stamp(clock()))
    _write(home, keyring)
    return keyring


def compromise(
    home: Home, key_id: str, *, since: str, suite: str, days: float, clock: Clock, by: SigningKey | None = None
) -> Keyring:
    """Declares a key compromised since then. The working key is replaced first, and its successor says it."""
    if read_key(home.platform_key).public.key_id == key_id:
        rotate(home, suite=suite, days=days, clock=clock, by=by)
    keyring = read(home).compromise(by or read_key(home.platform_key), key_id, since=since, at=stamp(clock()))
    _write(home, keyring)
    return keyring


def add_recovery(home: Home, out: Path, *, suite: str, days: float, clock: Clock) -> Keyring:
    """A recovery key: its private half goes to `out`, to be kept offline; its public half onto the keyring."""
    if out.exists():
        raise HomeError(f"{out} exists: choose another file", f"{out} 已存在：请另选文件")
    made = SigningKey.generate(suite)
    at = stamp(clock())
    keyring = read(home).add(
        read_key(home.platform_key),
        made.public,
        at=at,
        valid_from=at,
        valid_until=stamp(parse(at) + timedelta(days=days)),
        use=RECOVERY,
    )
    write_private(out, made.to_pem())
    _write(home, keyring)
    return keyring


def _prepared(home: Home, key_id: str) -> Path:
    return home.platform_key.with_name(f"next-{key_id}.pem")


def _write(home: Home, keyring: Keyring) -> None:
    write_private(home.keyring, keyring.to_json() + b"\n")
    home.keyring.chmod(0o644)


def _publish(home: Home, keyring: Keyring) -> None:
    """The public halves as files: the first key, by which others trust the keyring, and the working one."""
    working = read_key(home.platform_key).public
    assert keyring.key(working.key_id).use == DOCUMENTS
    for path, key in ((home.first_public, keyring.first), (home.platform_public, working)):
        text = key.b64 + "\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
