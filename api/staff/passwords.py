"""Passwords of people: argon2id (RFC 9106), what is too weak, and how long a wrong one makes wait."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from api.errors import Invalid

LEAST, MOST = 12, 128
_CLASSES = 3  # of: small letters, capitals, digits, anything else
FREE_FAILURES = 4
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)

_HASHER = PasswordHasher()


@cache
def _nobody() -> str:
    """Verified when nobody has that name, so that time does not tell who is on record."""
    return _HASHER.hash("nobody has this password")


class WeakPassword(Invalid):
    """The password breaks a rule, which the message names."""

    code = "password_weak"


def check_strength(password: str, *names: str) -> None:
    """Raises WeakPassword. `names` are the person's own: login, real name, contact."""
    if not LEAST <= len(password) <= MOST or not password.isprintable():
        raise WeakPassword(f"password: {LEAST} to {MOST} characters are needed", f"密码须为 {LEAST} 至 {MOST} 个字符")
    kinds = (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
    if sum(any(kind(c) for c in password) for kind in kinds) < _CLASSES:
        raise WeakPassword(
            "password: use three of small letters, capitals, digits and other characters",
            "密码须包含小写字母、大写字母、数字、其他字符中的三类",
        )
    if len(set(password)) < LEAST // 2:
        raise WeakPassword("password: too few different characters", "密码中不同的字符过少")
    plain = password.casefold()
    for name in names:
        for part in name.casefold().replace("@", ".").replace(" ", ".").split("."):
            if len(part) >= 2 and part in plain:
                raise WeakPassword("password: it contains your name or contact", "密码中不得包含本人姓名或联系方式")


def make(password: str) -> str:
    return _HASHER.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Whether this is the password; takes its time also when there is none."""
    try:
        return _HASHER.verify(stored or _nobody(), password) and stored is not None
    except (Argon2Error, InvalidHashError):
        return False


def is_outdated(stored: str) -> bool:
    """Whether the hash was made with weaker parameters than are used now."""
    return _HASHER.check_needs_rehash(stored)


def pause(failures: int) -> timedelta | None:
    """How long to wait after so many wrong ones in a row: 30 s, doubled each time, an hour at most."""
    if failures <= FREE_FAILURES:
        return None
    return min(FIRST_PAUSE * 2 ** min(failures - FREE_FAILURES - 1, 10), LONGEST_PAUSE)
