"""Examples of the OpenAPI document: one request and answer of every route, as the tests have made them.

Kept in examples.json, which `tests/api/recording.py` writes; a test checks every one against its schema, so an example
that the API has outgrown is found.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("examples.json")


@cache
def _examples() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8")) if _FILE.exists() else {}
    return found


def add(schema: dict[str, Any]) -> None:
    """Puts the example of each operation into an OpenAPI document, in place."""
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            example = _examples().get(f"{method.upper()} {path}")
            if example is None:
                continue
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None and example["request"] is not None:
                body["example"] = example["request"]
            answer = operation["responses"].get(str(example["status"]), {}).get("content", {}).get("application/json")
            if answer is not None and example["response"] is not None:
                answer["example"] = example["response"]
