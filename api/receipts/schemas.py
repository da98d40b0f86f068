"""Shapes of receipts. A receipt is a JWS and a proof a ledger document; both are checked with `creditlab verify`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel


class ReceiptOut(BaseModel):
    """The receipt of one document of a consent, and the proof that the ledger holds it."""

    seq: int
    step: str
    recorded_at: datetime
    receipt: dict[str, Any]
    proof: dict[str, Any]


class Receipts(BaseModel):
    items: list[ReceiptOut]
