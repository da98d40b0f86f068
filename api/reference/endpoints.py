"""/docs and its files, by a fixed list; nothing comes from another host."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Depends, Response

from api.auth import Action, permits
from api.errors import Unavailable

router = APIRouter(prefix="/docs", include_in_schema=False, dependencies=[Depends(permits(Action.PUBLIC))])

_HERE = Path(__file__).parent
_PACKAGE = _HERE.parent / "portal" / "node_modules" / "swagger-ui-dist"
_FILES = {
    "page.html": (_HERE / "page.html", "text/html; charset=utf-8"),
    "reference.js": (_HERE / "reference.js", "text/javascript"),
    "swagger-ui-bundle.js": (_PACKAGE / "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": (_PACKAGE / "swagger-ui.css", "text/css"),
}
# Swagger UI writes styles into its elements
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@cache
def _file(name: str) -> tuple[bytes, str]:
    path, media_type = _FILES[name]
    if not path.is_file():
        raise Unavailable(
            f"{path} is missing: run `make assets`", f"缺少 {path}：请运行 `make assets`", code="assets_missing"
        )
    return path.read_bytes(), media_type


def _answer(name: str) -> Response:
    body, media_type = _file(name)
    return Response(body, media_type=media_type, headers=_HEADERS)


@router.get("")
def page() -> Response:
    """The reference page."""
    return _answer("page.html")


@router.get("/{name}")
def file(name: Literal["reference.js", "swagger-ui-bundle.js", "swagger-ui.css"]) -> Response:
    """One of the page's files."""
    return _answer(name)
