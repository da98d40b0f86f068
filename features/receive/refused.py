"""What the service refuses, as problem documents (RFC 9457), and their one form.

Owns the status and the stable code of each refusal. Never quotes the value of a cell.
"""

from __future__ import annotations

from typing import Any

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "Bad request",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    422: "Invalid",
    429: "Too many requests",
    500: "Internal error",
    507: "Insufficient storage",
}


class PushRefused(Exception):
    """A request is refused; nothing of it was kept."""

    def __init__(self, status: int, code: str, message: str, message_zh: str, *, retry_after: int = 0) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.message_zh = message_zh
        self.retry_after = retry_after
        super().__init__(message)


class SettingsRefused(ValueError):
    """The settings file of the service is unusable; the message names field and remedy."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        self.code = code
        self.message = message
        self.message_zh = message_zh
        super().__init__(message)


def document(status: int, code: str, message: str, message_zh: str, instance: str, *, zh: bool) -> dict[str, Any]:
    """`detail` in the language asked for, `detail_zh` in Chinese always."""
    return {
        "type": f"urn:creditlab:problem:{code}",
        "title": TITLES[status],
        "status": status,
        "code": code,
        "detail": message_zh if zh else message,
        "detail_zh": message_zh,
        "instance": instance,
    }
