"""One-time codes that a person types: 60 random bits, a slow hash in the database, one use, and a limit of attempts.

A code never stands in an address or a log line. Who types a wrong one too often waits, whatever the code.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from api.control import Control
from api.db import SYSTEM, Unit
from api.enterprises import repository
from api.enterprises.repository import Attempt, Code
from api.errors import ApiError, Forbidden

ENROL = "enrol"
LOGIN = "login"
CONFIRM = "confirm"
RECOVER = "recover"  # issued as such, used as an enrolment

# Crockford's base 32: no letter that is taken for a digit
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 12
_TYPED = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None, "\t": None})
WINDOW = timedelta(minutes=15)
PER_ENTERPRISE = 10  # attempts in a window
PER_ADDRESS = 60


class CodeRefused(Forbidden):
    """Which of enterprise and code was wrong is not said: that would answer who is enrolled."""

    code = "code_refused"

    def __init__(self) -> None:
        super().__init__(
            "the enterprise or the code is not right, or the code was used or has run out: ask for a new one",
            "企业代码或验证码不正确，或验证码已使用、已过期：请重新索取",
        )


class TooManyAttempts(ApiError):
    """Attempts are slowed down."""

    status, code, title = 429, "too_many_attempts", "Too many attempts"

    def __init__(self) -> None:
        minutes = int(WINDOW.total_seconds() // 60)
        super().__init__(f"too many attempts: wait {minutes} minutes", f"尝试次数过多：请在 {minutes} 分钟后再试")


def new_code() -> str:
    """Twelve characters in three groups."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return "-".join(letters[i : i + 4] for i in range(0, _LENGTH, 4))


def digest(uscc: str, typed: str) -> bytes:
    """scrypt (RFC 7914) of what was typed; letters that look like digits are taken for them."""
    plain = typed.upper().translate(_TYPED)[: 2 * _LENGTH]
    return hashlib.scrypt(plain.encode(), salt=b"creditlab/code/1/" + uscc.encode(), n=2**14, r=8, p=1)


def issue(unit: Unit, control: Control, uscc: str, person_id: str, use: str) -> tuple[str, datetime]:
    """A new code for one person; earlier ones for the same use end. Returns the code and when it runs out."""
    repository.void_codes(unit.session, person_id, use, unit.now)
    code = new_code()
    expires_at = unit.now + timedelta(seconds=control.settings.portal_code_seconds)
    unit.session.add(
        Code(
            id=f"ec-{secrets.token_hex(6)}",
            person=person_id,
            use=use,
            hash=digest(uscc, code),
            expires_at=expires_at,
            used_at=None,
        )
    )
    return code, expires_at


def attempt(control: Control, uscc: str, address: str) -> None:
    """Counts one attempt, in a transaction of its own. Raises TooManyAttempts."""
    subjects = {f"enterprise:{uscc}": PER_ENTERPRISE, f"address:{address}": PER_ADDRESS}
    with control.db.unit(SYSTEM) as unit:
        repository.forget_attempts(unit.session, unit.now - WINDOW)
        unit.session.add_all(Attempt(subject=subject, at=unit.now) for subject in subjects)
        unit.session.flush()
        counts = repository.attempts(unit.session, list(subjects), unit.now - WINDOW)
    if any(counts.get(subject, 0) > most for subject, most in subjects.items()):
        raise TooManyAttempts


def match(codes: Sequence[Code], hashed: bytes) -> Code | None:
    """The code with this hash; every one is compared, so that time tells nothing."""
    found = None
    for each in codes:
        if hmac.compare_digest(each.hash, hashed):
            found = each
    return found
