"""Shapes of the ledger's answers. Heads and proofs are the documents themselves, checked with `consent.ledger`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from api.fields import Body, JsonObject

PublicKey = Annotated[str, StringConstraints(min_length=40, max_length=100, pattern=r"^[A-Za-z0-9+/=]+$")]


class HeadOut(BaseModel):
    """One signed tree head and its number in the log, from 0."""

    number: int
    size: int
    head: dict[str, Any]


class Heads(BaseModel):
    items: list[HeadOut]


class NextHead(HeadOut):
    """The newest head; `path` shows that it extends the log of the size that was asked from (64 hex digits each)."""

    path: list[str]


class WitnessIn(Body):
    public_key: PublicKey


class WitnessOut(BaseModel):
    """A witness; `number` and `size` are those of the newest head it cosigned."""

    name: str
    public_key: str
    number: int | None
    size: int | None


class CosignedIn(Body):
    head: JsonObject


class LogOut(BaseModel):
    log_id: str
    hash: str
    size: int = Field(description="entries committed so far; the head may cover fewer for a moment")
    head: HeadOut | None
    witnesses: list[WitnessOut]


class EntriesOut(BaseModel):
    log_id: str
    start: int
    size: int
    entries: list[dict[str, Any]]
