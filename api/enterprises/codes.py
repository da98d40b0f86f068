"""One-time codes that a person types: 60 random bits, a slow hash in the database, one use.

A code never stands in an address or a log line. Who types one too often waits (`api.enterprises.attempts`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from api.control import Control
from api.db import Unit
from api.enterprises import repository
from api.enterprises.repository import Code
from api.errors import Forbidden

ENROL = "enrol"
LOGIN = "login"
CONFIRM = "confirm"
RECOVER = "recover"  # issued as such, used as an enrolment

# Crockford's base 32: no letter that is taken for a digit
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 12
_TYPED = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None, "\t": None})


class CodeRefused(Forbidden):
    """Which of enterprise and code was wrong is not said: that would answer who is enrolled."""

    code = "code_refused"

    def __init__(self) -> None:
        super().__init__(
            "the enterprise or the code is not right, or the code was used or has run out: ask for a new one",
            "企业代码或验证码不正确，或验证码已使用、已过期：请重新索取",
        )


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


def match(codes: Sequence[Code], hashed: bytes) -> Code | None:
    """The code with this hash; every one is compared, so that time tells nothing."""
    found = None
    for each in codes:
        if hmac.compare_digest(each.hash, hashed):
            found = each
    return found
