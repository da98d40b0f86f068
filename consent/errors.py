"""What consent documents are refused with: every error has a stable code and a message in English and Chinese."""

from __future__ import annotations


class Refused(Exception):
    """A document or an act is refused: `code` is stable, the messages are for a person."""

    code = "refused"

    def __init__(self, message: str, message_zh: str) -> None:
        super().__init__(message)
        self.message, self.message_zh = message, message_zh


class MalformedDocument(ValueError):
    """A document lacks a field or carries one that is not of its form; the message names the field."""

    code = "malformed_document"

    def __init__(self, message: str, message_zh: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.message_zh = message_zh or f"文件格式不符：{message}"
