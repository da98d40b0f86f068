"""A catalogue's compiled expressions in a file beside a view, so that no day's refresh has to parse them again.

Owns that file and when it counts: for exactly this catalogue, grammar and parser. Anything else is compiled anew.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

import duckdb

from features.catalogue.model import Catalogue
from features.derive import expression
from features.derive.expression import Expression

_NAME = "expressions.json"


def _good_for(catalogue: Catalogue) -> str:
    grammar = hashlib.sha256(Path(expression.__file__).read_bytes()).hexdigest()
    return f"{catalogue.version} {grammar} {duckdb.__version__}"


def load(folder: Path, catalogue: Catalogue) -> dict[str, Expression] | None:
    """Feature → expression as `keep` wrote them in this folder; None when they are missing or of something else."""
    try:
        found = json.loads((folder / _NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if found.get("good_for") != _good_for(catalogue):
        return None
    return {
        name: Expression(
            one["sql"],
            frozenset(one["windows"]),
            frozenset(one["live"]),
            frozenset((item, days) for item, days in one["ahead"]),
        )
        for name, one in found["expressions"].items()
    }


def keep(folder: Path, catalogue: Catalogue, expressions: Mapping[str, Expression]) -> None:
    """Puts them into the folder in one step."""
    written = {
        name: {
            "sql": one.sql,
            "windows": sorted(one.windows),
            "live": sorted(one.live),
            "ahead": sorted(one.ahead),
        }
        for name, one in expressions.items()
    }
    draft = folder / f".{secrets.token_hex(8)}.draft"
    draft.write_text(json.dumps({"good_for": _good_for(catalogue), "expressions": written}), encoding="utf-8")
    draft.replace(folder / _NAME)
