"""The table of authority for people to read: who may do what, on what, by which right, in which states (R3, R47).

Owns the export only; the table is `api.auth.PERMISSIONS`, and a route without a row in it is not served.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.auth import PERMISSIONS, Action, Role, permits

router = APIRouter(prefix="/v1", tags=["authority"])
COLUMNS = ("action", "resource", "right", "duty", "states", *(str(role) for role in Role))


def matrix() -> list[dict[str, object]]:
    """One row for each action, in the table's order."""
    return [
        {
            "action": str(action),
            "resource": str(row.resource),
            "right": str(row.right),
            "duty": row.duty,
            "states": None if row.states is None else sorted(row.states),
            "roles": sorted(map(str, row.roles)),
        }
        for action, row in PERMISSIONS.items()
    ]


def _cells(row: dict[str, object]) -> list[str]:
    states, roles = row["states"], row["roles"]
    assert isinstance(roles, list)
    told = " ".join(states) if isinstance(states, list) else ""
    named = [str(row[name]) for name in ("action", "resource", "right", "duty")]
    return [*named, told, *("yes" if role in roles else "" for role in Role)]


def as_json() -> str:
    return json.dumps({"items": matrix()}, indent=2) + "\n"


def as_csv() -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(row) for row in matrix())
    return text.getvalue()


def as_markdown() -> str:
    """The matrix as a table: ✓ where a role may."""
    roles = [str(role) for role in Role]
    lines = ["| action | duty | states | " + " | ".join(roles) + " |", "|---" * (3 + len(roles)) + "|"]
    for row in matrix():
        cells = _cells(row)
        marks = " | ".join("✓" if cell else "" for cell in cells[5:])
        lines.append(f"| `{cells[0]}` | {cells[3]} | {cells[4].replace(' ', ', ')} | {marks} |")
    return "\n".join(lines) + "\n"


@router.get(
    "/authority",
    dependencies=[Depends(permits(Action.AUTHORITY_READ))],
    response_class=Response,
    responses={200: {"content": {"application/json": {}, "text/csv": {}, "text/markdown": {}}}},
)
def authority(format: Annotated[str, Query(pattern="^(json|csv|markdown)$")] = "json") -> Response:
    """The whole matrix: JSON, CSV or Markdown."""
    if format == "csv":
        return Response(as_csv(), media_type="text/csv; charset=utf-8")
    if format == "markdown":
        return Response(as_markdown(), media_type="text/markdown; charset=utf-8")
    return Response(as_json(), media_type="application/json")
