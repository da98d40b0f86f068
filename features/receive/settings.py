"""The settings of the service (`receive.toml`): where it listens, its bounds, and who may push what.

Owns their checks. Denies by default: what no grant names may not be pushed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from features.catalogue.model import Catalogue, UnknownName
from features.ingest import Delivery, IngestRefused
from features.ingest.clock import civil_now
from features.receive.refused import SettingsRefused

_PATHS = ("store", "spool", "ca", "cert", "key")
_REQUIRED = ("host", "port", *_PATHS, "allow")
#: Bounds with the values that they may have.
_BOUNDS: Mapping[str, tuple[int, int]] = {
    "port": (0, 65_535),
    "max_body_mb": (1, 1024),
    "max_rows": (1, 10_000_000),
    "body_seconds": (1, 3600),
    "max_waiting": (1, 1000),
}


@dataclass(frozen=True)
class Grant:
    """The holder of the certificate with common name `unit` may push these categories as `source`.

    `backfill`: history with its own `known_at` too.
    """

    unit: str
    source: str
    categories: frozenset[str]
    backfill: bool = False


@dataclass(frozen=True)
class Settings:
    """Paths are absolute after loading. `max_rows`: of one batch, which is handled in memory, about 2 kB a row.

    `body_seconds`: for a whole request. `max_waiting`: batches of one unit that are received and not taken in yet.
    """

    host: str
    port: int
    store: Path
    spool: Path
    ca: Path
    cert: Path
    key: Path
    allow: tuple[Grant, ...]
    max_body_mb: int = 64
    max_rows: int = 500_000
    body_seconds: int = 300
    max_waiting: int = 20
    by_unit: Mapping[str, tuple[Grant, ...]] = field(init=False)

    def __post_init__(self) -> None:
        units = {one.unit: tuple(each for each in self.allow if each.unit == one.unit) for one in self.allow}
        object.__setattr__(self, "by_unit", units)


def load(path: Path, catalogue: Catalogue) -> Settings:
    """Reads `path`; relative paths are relative to its folder. Raises SettingsRefused."""
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsRefused(
            "receive_settings",
            f"{path.name}: cannot be read as TOML in UTF-8 ({error}); correct it",
            f"{path.name}：无法按 UTF-8 编码的 TOML 读取（{error}），请改正",
        ) from None
    known = {one.name for one in fields(Settings) if one.init}
    for key in said:
        if key not in known:
            raise _wrong(
                key, f"not known; known are {', '.join(sorted(known))}", f"未知；可用：{'、'.join(sorted(known))}"
            )
    for key in _REQUIRED:
        if key not in said:
            raise _wrong(key, "missing; add it", "缺失，请补充")
    for key in ("host", *_PATHS):
        if not isinstance(said[key], str) or not said[key]:
            raise _wrong(key, "must be a text", "应为文本")
    for key, (least, most) in _BOUNDS.items():
        if key in said and not (type(said[key]) is int and least <= said[key] <= most):
            raise _wrong(key, f"must be a whole number from {least} to {most}", f"应为 {least} 至 {most} 的整数")
    said |= {key: (path.parent / said[key]).resolve() for key in _PATHS}
    for key in _PATHS:
        if key != "spool" and not said[key].exists():
            raise _wrong(key, "does not exist; correct the path", "不存在，请改正路径")
    if not isinstance(said["allow"], list) or not all(isinstance(one, dict) for one in said["allow"]):
        raise _wrong("allow", "must be tables written [[allow]]", "应写作 [[allow]] 表")
    grants = tuple(_grant(one, place, catalogue) for place, one in enumerate(said["allow"], start=1))
    return Settings(**{**said, "allow": grants})


def _grant(said: Mapping[str, Any], place: int, catalogue: Catalogue) -> Grant:
    where = f"allow, {place}"
    strange = sorted(said.keys() - {"unit", "source", "categories", "backfill"})
    if strange:
        raise _wrong(f"{where}, {strange[0]}", "not known", "未知")
    categories = said.get("categories")
    if not (isinstance(categories, list) and categories and all(isinstance(one, str) for one in categories)):
        raise _wrong(f"{where}, categories", "must be a list of categories", "应为类别列表")
    for key in ("unit", "source"):
        if not isinstance(said.get(key), str) or not said[key]:
            raise _wrong(f"{where}, {key}", "must be a text", "应为文本")
    if not isinstance(said.get("backfill", False), bool):
        raise _wrong(f"{where}, backfill", "must be true or false", "应为 true 或 false")
    for category in categories:
        try:
            Delivery(said["source"], category, "grant", "push", said["unit"]).check(catalogue, civil_now())
        except (IngestRefused, UnknownName) as refused:
            raise _wrong(where, refused.message, refused.message_zh) from None
    return Grant(said["unit"], said["source"], frozenset(categories), said.get("backfill", False))


def _wrong(key: str, expected: str, expected_zh: str) -> SettingsRefused:
    return SettingsRefused(
        "receive_settings", f"settings of the service, `{key}`: {expected}", f"服务设置 `{key}`：{expected_zh}"
    )
