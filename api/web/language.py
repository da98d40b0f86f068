"""Which of the two languages a caller reads, by `Accept-Language` (RFC 9110 §12.5.4)."""

from __future__ import annotations

from typing import Literal

Language = Literal["zh", "en"]


def of(header: str | None) -> Language:
    """The language that weighs most; English when the header says nothing of either."""
    best: tuple[float, Language] = (0.0, "en")
    for part in (header or "").split(","):
        tag, _, parameter = part.strip().partition(";")
        name = tag.strip().lower().split("-")[0]
        try:
            weight = float(parameter.partition("=")[2]) if parameter.strip().startswith("q=") else 1.0
        except ValueError:
            continue
        if name == "zh" and weight > best[0]:
            best = (weight, "zh")
        elif name == "en" and weight > best[0]:
            best = (weight, "en")
    return best[1]
