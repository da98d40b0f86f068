"""Field types shared by the schemas: bounded texts and JSON values that every later step can carry.

PostgreSQL refuses NUL in texts and canonical JSON refuses integers beyond 2**53 and non-finite numbers, so both
are refused at the door, by name.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
_PRINTABLE_LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+$"

Text = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=_PRINTABLE)]
# a reason or comment is prose: line breaks are welcome
Prose = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=_PRINTABLE_LINES)]
Slug = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
# a reason that goes on a usage record (consent.usage): one line, told to the enterprise
Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")
]
# what a node tells of a fault: bounded, but never refused for its form, or the fault would not be heard of
Word = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00]*$")]
Told = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^j-[0-9a-f]{12}$")]
ReleaseId = Annotated[str, StringConstraints(pattern=r"^r-[0-9a-f]{12}$")]
UsageId = Annotated[str, StringConstraints(pattern=r"^u-[0-9a-f]{16}$")]
PermitId = Annotated[str, StringConstraints(pattern=r"^p-[0-9a-f]{16}$")]

MAX_INTEGER = 2**53
MAX_DEPTH = 12


def clean(value: Any, path: str = "", depth: int = 0) -> Any:
    """`value` unchanged when it is JSON that can be stored and signed; raises ValueError naming the place."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{path or '/'}: nested deeper than {MAX_DEPTH}")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValueError(f"{path or '/'}: integers up to 2**53 only")
        return value
    if isinstance(value, float):
        if not math.isfinite(value) or (value.is_integer() and abs(value) > MAX_INTEGER):
            raise ValueError(f"{path or '/'}: a finite number is needed, whole ones up to 2**53")
        return value
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError(f"{path or '/'}: a text must not contain NUL")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{path or '/'}: a text must be valid Unicode") from error
        return value
    if isinstance(value, list):
        for i, item in enumerate(value):
            clean(item, f"{path}/{i}", depth + 1)
        return value
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{path or '/'}: names must be texts")
            clean(name, f"{path}/{name!r}", depth + 1)
            clean(item, f"{path}/{name}", depth + 1)
        return value
    raise ValueError(f"{path or '/'}: not a JSON value")


JsonObject = Annotated[dict[str, Any], AfterValidator(clean)]
Limit = Annotated[int, Field(ge=1, le=500)]


class Body(BaseModel):
    """A request body: unknown fields are errors, so that a misspelt one is never silently ignored."""

    model_config = ConfigDict(extra="forbid")


class ReasonIn(Body):
    """Why something is done: all that many acts ask for."""

    reason: Prose


class SecretOut(BaseModel):
    """An answer that shows a secret this once: it goes out as `no-store` and is kept nowhere."""


class FleetingOut(BaseModel):
    """An answer with credit data: `no-store`, and kept for a repeated request for minutes, off the log of writes."""
