"""Structured logs without personal data: one JSON object a line, and one line for each request.

A request's line carries the route's template, never its address, and the account's id, never a name. Owns the format;
what is said beyond requests is said by each module's logger under the same rule.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

from api.web.observing import Seen
from api.web.requests import current

log = logging.getLogger("creditlab.requests")

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# polled many times a second by nodes and probes: their lines would drown the rest
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/v1/node/work"})


class _RequestId(logging.Filter):
    """Puts the id of the request at hand on every record, whoever logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        info = current.get()
        record.request_id = info.id if info is not None else None
        return True


def configure(form: Literal["json", "text"], level: int = logging.INFO) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_RequestId())
    if form == "json":
        fields = "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s"
        handler.setFormatter(
            JsonFormatter(
                fields,
                rename_fields={"asctime": "at", "levelname": "level", "name": "logger"},
                datefmt="%Y-%m-%dT%H:%M:%S%z",
                json_ensure_ascii=False,
            )
        )
    else:
        handler.setFormatter(logging.Formatter(_TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("alembic", "httpx", "httpcore"):  # the latter two write out whole addresses
        logging.getLogger(name).setLevel(logging.WARNING)


def request(seen: Seen) -> None:
    """One line when the answer has gone out."""
    status = seen.status or 0
    if seen.route in _QUIET and status < 400:
        return
    info = current.get()
    log.info(
        "request",
        extra={
            "method": seen.method,
            "route": seen.route,
            "status": status,
            "ms": round(seen.seconds * 1000, 1),
            "account": info.account if info is not None else None,
        },
    )
