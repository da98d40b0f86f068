"""The one exception of ingestion. Never quotes the value of a cell."""

from __future__ import annotations


class IngestRefused(ValueError):
    """A delivery, a decision or a statement cannot be taken; nothing of it was kept. `code` names the rule."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        self.code = code
        self.message = message
        self.message_zh = message_zh
        super().__init__(message)
