"""Shapes of nodes, their datasets' metadata and their work."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from api.fields import Body, JsonObject, Prose, Slug, Text, Told, Word

Relay = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:\[\]-]{1,255}:[0-9]{1,5}$")]
QuestionId = Annotated[str, StringConstraints(pattern=r"^q-[0-9a-f]{16}$")]
ZoneKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]


class ColumnIn(Body):
    """A column; a lab adds what its catalogue says of one that is a feature."""

    name: Text
    kind: Literal["numeric", "categorical"]
    unit: Literal["days_after_as_of"] | None = None
    title: Text | None = None
    title_zh: Text | None = None
    meaning: Prose | None = None
    meaning_zh: Prose | None = None
    category: Text | None = None


class DatasetIn(Body):
    """What a node says of one table: names, kinds and counts."""

    name: Text
    title: Text | None = None
    id: Text
    as_of: Text | None = None
    label: Text | None = None
    split: JsonObject | None = None
    columns: Annotated[list[ColumnIn], Field(min_length=1, max_length=5000)]
    party: Text | None = None
    rows: Annotated[int, Field(ge=0, le=2**53)] | None = None


class NodeIn(Body):
    role: Literal["bank", "lab"]
    institution: Slug
    relay: Relay | None = Field(None, description="host:port where a lab's relay listens")
    zone_key: ZoneKey | None = Field(None, description="base64 X25519 key to seal samples to")
    datasets: Annotated[list[DatasetIn], Field(max_length=100)] = Field(default_factory=list)


class NodeOut(BaseModel):
    name: str
    role: str
    institution: str
    relay: str | None
    zone_key: str | None
    datasets: list[dict[str, Any]]
    registered_at: datetime
    heard_at: datetime | None


class Nodes(BaseModel):
    items: list[NodeOut]


class Work(BaseModel):
    """What waits for the node; an item repeats until the node's report acknowledges it."""

    items: list[dict[str, Any]]
    feed_head: int


class AnswerIn(Body):
    """A node's answer to a question: what the field named by `TOLD` holds, or why the node does not say."""

    TOLD: ClassVar[str]

    code: Word | None = None
    message: Told | None = None
    message_zh: Told | None = None

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if (getattr(self, self.TOLD) is None) == (self.code is None):
            raise ValueError(f"exactly one of {self.TOLD} and code is needed")
        return self
