"""The portal's style sheets and scripts, by a fixed list: from this folder and from the packages that npm installed.

Nothing that is not on the list is ever served, and nothing comes from another host.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
_STATIC, _PACKAGES = FOLDER / "static", FOLDER / "node_modules"
FILES = {
    "portal.css": (_STATIC / "portal.css", "text/css"),
    "portal.js": (_STATIC / "portal.js", "text/javascript"),
    "icon.svg": (_STATIC / "icon.svg", "image/svg+xml"),
    "tabler.css": (_PACKAGES / "@tabler/core/dist/css/tabler.min.css", "text/css"),
    "htmx.js": (_PACKAGES / "htmx.org/dist/htmx.min.js", "text/javascript"),
}


class AssetsMissing(Exception):
    """A file of the portal is not there."""

    def __init__(self, path: Path) -> None:
        self.message = f"{path} is missing: run `make assets`"
        self.message_zh = f"缺少 {path}：请运行 `make assets`"
        super().__init__(self.message)


@dataclass(frozen=True)
class Asset:
    body: bytes
    media_type: str
    version: str


@cache
def asset(name: str) -> Asset:
    """Raises KeyError for a name that is not on the list, AssetsMissing for a file that is not there."""
    path, media_type = FILES[name]
    if not path.is_file():
        raise AssetsMissing(path)
    body = path.read_bytes()
    return Asset(body, media_type, hashlib.sha256(body).hexdigest()[:12])


def address(name: str) -> str:
    """The file's address, with its version so that a browser may keep it."""
    return f"/portal/static/{name}?v={asset(name).version}"
