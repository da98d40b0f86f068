"""Canonical JSON (RFC 8785) and its digest: one byte sequence for one meaning, so signatures are stable."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785  # pure-Python JCS by Trail of Bits: the standard, not our own sorting


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value. Raises rfc8785.CanonicalizationError for what JSON cannot carry."""
    return rfc8785.dumps(value)


def digest(value: Any) -> str:
    """SHA-256, lower-case hex, of the canonical bytes."""
    return hashlib.sha256(canonical(value)).hexdigest()
