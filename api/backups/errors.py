"""What can be wrong with a backup, by name."""

from __future__ import annotations


class BackupError(Exception):
    """It could not be made, read, verified or restored; the message names the file and the remedy."""

    def __init__(self, message: str, message_zh: str) -> None:
        super().__init__(message)
        self.message, self.message_zh = message, message_zh


class BackupDamaged(BackupError):
    """What the backup holds is not what it says it holds."""
