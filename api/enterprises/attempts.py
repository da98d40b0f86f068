"""How often something may be tried: counted by what it is aimed at and where it comes from, in a moving window.

An attempt is counted in a transaction of its own before the thing itself is looked at, so that failing, succeeding and
giving up count alike.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from datetime import timedelta

from api.control import Control
from api.db import SYSTEM
from api.enterprises import repository
from api.enterprises.repository import Attempt
from api.errors import ApiError

WINDOW = timedelta(minutes=15)
CODES_PER_ENTERPRISE = 10  # in a window
CODES_PER_ADDRESS = 60
LOGINS_PER_PASSKEY = 20
LOGINS_PER_ADDRESS = 120  # a whole office may come from one address


class TooManyAttempts(ApiError):
    """Attempts are slowed down."""

    status, code, title = 429, "too_many_attempts", "Too many attempts"

    def __init__(self) -> None:
        minutes = int(WINDOW.total_seconds() // 60)
        super().__init__(f"too many attempts: wait {minutes} minutes", f"尝试次数过多：请在 {minutes} 分钟后再试")


def _count(control: Control, limits: Mapping[str, int]) -> dict[str, int]:
    with control.db.unit(SYSTEM) as unit:
        repository.forget_attempts(unit.session, unit.now - WINDOW)
        unit.session.add_all(Attempt(subject=subject, at=unit.now) for subject in limits)
        unit.session.flush()
        counts = repository.attempts(unit.session, list(limits), unit.now - WINDOW)
    if any(counts.get(subject, 0) > most for subject, most in limits.items()):
        raise TooManyAttempts
    return counts


def code(control: Control, uscc: str, address: str) -> None:
    """One typed code. Raises TooManyAttempts."""
    _count(control, {f"enterprise:{uscc}": CODES_PER_ENTERPRISE, f"address:{address}": CODES_PER_ADDRESS})


def login(control: Control, address: str) -> None:
    """One challenge to sign in with a passkey: who asks is not known yet. Raises TooManyAttempts."""
    _count(control, {f"login:{address}": LOGINS_PER_ADDRESS})


def passkey(control: Control, credential_id: str) -> None:
    """One answer that names this passkey, whoever gives it. Raises TooManyAttempts."""
    named = hashlib.sha256(credential_id.encode()).hexdigest()  # what a stranger sends may be long
    _count(control, {f"passkey:{named}": LOGINS_PER_PASSKEY})


def staff(control: Control, address: str) -> None:
    """One password or first code of an institution's person: the name is slowed down apart. Raises TooManyAttempts."""
    _count(control, {f"staff:{address}": LOGINS_PER_ADDRESS})


def unknown(control: Control, login: str) -> int:
    """How often somebody who is not on record was named in the window, this time included."""
    subject = f"nobody:{hashlib.sha256(login.encode()).hexdigest()}"
    return _count(control, {subject: sys.maxsize})[subject]
