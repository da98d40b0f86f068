"""The report of a job: assembled, validated against a published schema, rendered for people.

Owns report.json, its schema, its wording and its HTML page. It computes no metric and reads no row of data.
"""

from __future__ import annotations

from models.report.assemble import InvalidReport, assemble, read, validate, write
from models.report.summary import summary

__all__ = ["InvalidReport", "assemble", "read", "render", "summary", "validate", "write"]


def render(report: dict) -> str:  # type: ignore[type-arg]
    """The self-contained HTML page of a report. Raises InvalidReport."""
    from models.report.page import page  # Jinja2: only where a page is wanted

    return page(report)
