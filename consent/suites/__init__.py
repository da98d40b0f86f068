"""The crypto suites by id: `ed25519` and `sm2`. A suite is named by its caller; nothing here reads configuration.

Every signature and sealed box names its suite, and a key belongs to exactly one, so that neither can stand in for the
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from consent.suites.base import Suite
from consent.suites.ed25519 import Ed25519Suite
from consent.suites.errors import UnknownSuite
from consent.suites.sm2 import Sm2Suite

DEFAULT = Ed25519Suite.id
SUITES: Mapping[str, Suite] = MappingProxyType({each.id: each for each in (Ed25519Suite(), Sm2Suite())})


def suite(name: object) -> Suite:
    """The suite of that id. Raises UnknownSuite."""
    found = SUITES.get(name) if isinstance(name, str) else None
    if found is None:
        known = ", ".join(SUITES)
        raise UnknownSuite(
            f"suite {name!r} is not known: one of {known} is needed", f"未知的密码套件 {name!r}：须为 {known}"
        )
    return found
