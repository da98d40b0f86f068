"""What a page's request carries, read and bounded, and the names that every page shows. Decides nothing."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from api.control import Control
from api.db import SYSTEM
from api.errors import Invalid
from api.institutions import repository as institutions

_MAX_JSON = 32 << 10


def address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def agent(request: Request) -> str:
    return request.headers.get("user-agent", "")


async def json_body(request: Request) -> dict[str, Any]:
    """A script's request. Raises Invalid."""
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_JSON:
            raise Invalid("the request is too long", "请求过长", code="too_long")
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise Invalid("JSON is needed", "应为 JSON", code="not_json") from error
    if not isinstance(found, dict):
        raise Invalid("a JSON object is needed", "应为 JSON 对象", code="not_json")
    return found


def text_field(found: dict[str, Any], name: str, most: int = 128) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not 0 < len(value.strip()) <= most or not value.isprintable():
        raise Invalid(
            f"{name}: 1 to {most} characters are needed", f"{name}：须为 1 至 {most} 个字符", code="field_invalid"
        )
    return value.strip()


def institution_names(control: Control) -> dict[str, str]:
    with control.db.read(SYSTEM) as session:
        return {row.id: row.name for row in institutions.institutions(session)}
