"""Reading the audit trail, oldest first, by keyset."""

from __future__ import annotations

from api.audit import repository
from api.audit.schemas import AuditEntry, AuditPage
from api.control import Control


def search(control: Control, kind: str | None, object_id: str | None, after: int, limit: int) -> AuditPage:
    with control.db.read() as session:
        rows = repository.page(session, kind, object_id, after, limit)
        items = [AuditEntry.model_validate(row) for row in rows]
    return AuditPage(items=items, next=items[-1].seq if len(items) == limit else None)
