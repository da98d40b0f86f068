"""Reading the audit trail, oldest first, by keyset."""

from __future__ import annotations

from collections.abc import Iterator

from api.audit import repository
from api.audit.schemas import AuditEntry, AuditFilter, AuditPage
from api.auth import Caller
from api.control import Control

_PAGE = 500


def search(control: Control, caller: Caller, wanted: AuditFilter, after: int, limit: int) -> AuditPage:
    with control.db.read(caller) as session:
        rows = repository.page(session, wanted, after, limit)
        items = [AuditEntry.model_validate(row) for row in rows]
    return AuditPage(items=items, next=items[-1].seq if len(items) == limit else None)


def export(control: Control, caller: Caller, wanted: AuditFilter) -> Iterator[bytes]:
    """Every entry that fits, oldest first, one JSON object a line."""
    after = 0
    while True:
        page = search(control, caller, wanted, after, _PAGE)
        for item in page.items:
            yield item.model_dump_json().encode() + b"\n"
        if page.next is None:
            return
        after = page.next
