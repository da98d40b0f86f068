"""The route of a request as its template: the only form of an address that logs, metrics and traces may carry.

An address itself may name an enterprise; the template never does.
"""

from __future__ import annotations

from starlette.types import Scope

UNKNOWN = "(no route)"


def template(scope: Scope) -> str:
    """`/v1/jobs/{job_id}` for a routed request, a constant for any other. Call it after routing."""
    root = scope.get("app_root_path", scope.get("root_path", ""))
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if path is None:
        return UNKNOWN
    return f"{root}{path}" if root and not str(path).startswith(root) else str(path)
