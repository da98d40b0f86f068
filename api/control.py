"""What a service function is given: settings, database (with its clock), signing key and hub, put together once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from api.db import Database
from api.hub import Hub
from api.platform_secret import PlatformSecret
from api.settings import Settings
from consent.keyring import Keyring
from consent.keys import SigningKey


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Control:
    settings: Settings
    db: Database
    key: SigningKey
    hub: Hub
    keyring: Keyring
    secret: PlatformSecret
    # leases are counted from here at the earliest: our own absence is not a node's
    started_at: datetime = field(default_factory=utc_now)


async def _control(request: Request) -> Control:  # a plain function would be called in a thread of its own
    control: Control = request.app.state.control
    return control


ControlDep = Annotated[Control, Depends(_control)]
