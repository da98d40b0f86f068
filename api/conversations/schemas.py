"""Shapes of messages."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from api.fields import Body, Prose


class MessageIn(Body):
    text: Prose


class MessageOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    side: Literal["enterprise", "institution"]
    author_name: str
    text: str
    at: datetime
