"""Optimistic concurrency: what a caller changes carries a version, and a change names the version it was made from.

A row with `version` as its mapper's `version_id_col` counts by itself. `ETag` tells the caller, `If-Match` comes back.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Response

from api.errors import ApiError

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=64, description="the ETag this change was made from; 412 when it has moved on"),
]


class PreconditionFailed(ApiError):
    status, code, title = 412, "version_moved", "Precondition failed"


def tell(response: Response, version: int) -> None:
    response.headers["ETag"] = f'"{version}"'


def check(if_match: str | None, version: int) -> None:
    """Raises PreconditionFailed when the object is no longer as the caller saw it. `*` and absence match anything."""
    if if_match is None or if_match.strip() == "*":
        return
    tags = {tag.strip() for tag in if_match.split(",")}
    if f'"{version}"' not in tags:
        raise PreconditionFailed(
            f'it has changed since: it is at version "{version}" now, read it again and repeat your change',
            f"内容已被修改：当前版本为 “{version}”，请重新读取后再提交",
        )
