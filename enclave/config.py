"""A node's configuration file (`node.toml`), read and checked once at start."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from consent import evidence
from consent.keys import BadSignature, VerifyingKey
from enclave.sandbox import Limits
from federated.relay.tls import Identity


class BadConfig(Exception):
    """node.toml is unusable; the message names file, field and remedy."""


@dataclass(frozen=True)
class NodeConfig:
    """Paths are absolute after loading. `relay` is host:port: the lab listens there; a bank leaves it empty."""

    name: str
    institution: str
    role: str
    data: Path
    control_url: str
    ca: Path
    cert: Path
    key: Path
    token_file: Path
    platform_key: Path
    state_dir: Path
    party: str | None = None
    relay: str | None = None
    # a lab's event store, out of which it answers queries, verifications and reports
    store: Path | None = None
    # for how long the last signed head of the consent feed permits new work and rounds, seconds
    feed_lease_seconds: float = 60.0
    # between two reports of the share of a released model's cohort that has withdrawn, seconds
    share_seconds: float = 300.0
    # of the rows that a model rests on, the share that may have withdrawn before its file is handed over or taken
    recall_share: float = 0.1
    # how many questions about uses, asked by session and code, are answered within 24 hours; 0 for none
    session_questions_per_day: int = 20
    # kinds of evidence that this owner does not take for a consent
    refuse_evidence: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)

    @property
    def identity(self) -> Identity:
        return Identity(self.ca, self.cert, self.key)

    def token(self) -> str:
        return self.token_file.read_text().strip()

    def platform(self) -> VerifyingKey:
        return VerifyingKey.from_b64(self.platform_key.read_text().strip())


_PATHS = ("data", "ca", "cert", "key", "token_file", "platform_key", "state_dir")
_OPTIONAL_PATHS = ("store",)
_REQUIRED = ("name", "institution", "role", "control_url", *_PATHS)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def load(path: Path) -> NodeConfig:
    """Reads `path`; relative paths are relative to its folder. Raises BadConfig."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(f"{path}: cannot be read: {error}") from error
    known = {f.name for f in fields(NodeConfig)}
    if unknown := sorted(raw.keys() - known):
        raise BadConfig(f"{path}: field {unknown[0]} is not known; known are {', '.join(sorted(known))}")
    if missing := [name for name in _REQUIRED if not raw.get(name)]:
        raise BadConfig(f"{path}: field {missing[0]} is missing")
    if raw["role"] not in ("bank", "lab"):
        raise BadConfig(f"{path}: field role: bank or lab is needed, found {raw['role']!r}")
    if (raw["role"] == "lab") != bool(raw.get("relay")):
        raise BadConfig(f"{path}: field relay: a lab node needs the address it listens on (host:port), a bank has none")
    if raw["role"] != "lab" and raw.get("store"):
        raise BadConfig(f"{path}: field store: a bank node has none, take it out")
    for name in (*_PATHS, *(one for one in _OPTIONAL_PATHS if one in raw)):
        raw[name] = (path.parent / raw[name]).resolve()
        if name != "state_dir" and not raw[name].exists():
            raise BadConfig(f"{path}: field {name}: {raw[name]} does not exist")
    refused = raw.pop("refuse_evidence", [])
    if not isinstance(refused, list) or not set(map(str, refused)) <= set(evidence.KINDS):
        raise BadConfig(f"{path}: field refuse_evidence: a list out of {', '.join(evidence.KINDS)} is needed")
    try:
        limits = Limits(**raw.pop("limits", {}))
        for name in ("feed_lease_seconds", "share_seconds"):
            if name in raw and not (_is_number(raw[name]) and 1 <= raw[name] <= 86_400):
                raise BadConfig(f"{path}: field {name}: seconds from 1 to 86400 are needed, found {raw[name]!r}")
        if "recall_share" in raw and not (_is_number(raw["recall_share"]) and 0 <= raw["recall_share"] < 1):
            raise BadConfig(
                f"{path}: field recall_share: a share from 0 to below 1 is needed, found {raw['recall_share']!r}"
            )
        most = raw.get("session_questions_per_day", 0)
        if type(most) is not int or not 0 <= most <= 1_000_000:
            raise BadConfig(
                f"{path}: field session_questions_per_day: a whole number from 0 to 1000000 is needed, found {most!r}"
            )
        config = NodeConfig(**raw, refuse_evidence=frozenset(refused), limits=limits)
        config.platform()
    except (TypeError, BadSignature) as error:
        raise BadConfig(f"{path}: {error}") from error
    return config
