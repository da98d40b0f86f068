"""Fields that may never be registered, found by name in either language.

Owns the search; which words are forbidden stands in `forbidden.toml`. Never judges a value.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("forbidden.toml")
_LATIN = re.compile(r"[a-z]+")
_HAN = re.compile(r"[^一-鿿]")


@cache
def _listed() -> tuple[tuple[str, tuple[str, ...], frozenset[str]], ...]:
    document = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return tuple(
        (concept, tuple(listed["zh"]), frozenset("".join(_LATIN.findall(word)) for word in listed["en"]))
        for concept, listed in document.items()
    )


def found(text: str) -> str | None:
    """The forbidden concept that `text` names, or None.

    Chinese words are found anywhere, also with spaces or marks between the characters; English ones as whole
    words, in one piece or in several (`blood_type`, `finger print`), singular or plural.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    han = _HAN.sub("", text)
    latin = _LATIN.findall(text)
    runs = {"".join(latin[start:end]) for start in range(len(latin)) for end in range(start + 1, start + 4)}
    runs |= {run.removesuffix("s") for run in runs}
    for concept, zh, en in _listed():
        if any(word in han for word in zh) or runs & en:
            return concept
    return None
