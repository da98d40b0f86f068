"""Shapes that permits of every kind share."""

from __future__ import annotations

from pydantic import BaseModel

from api.fields import Body, Told, Word


class NodeError(Body):
    """Why a node did not do what its permit allows."""

    code: Word
    message: Told
    message_zh: Told | None = None


class Taken(BaseModel):
    """What became of the permit."""

    state: str
