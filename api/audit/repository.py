"""Queries over the audit table."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.audit.schemas import AuditFilter
from api.db import AuditRow


def page(session: Session, wanted: AuditFilter, after: int, limit: int) -> Sequence[AuditRow]:
    query = sa.select(AuditRow).where(AuditRow.seq > after).order_by(AuditRow.seq).limit(limit)
    for name in ("object_kind", "object_id", "actor", "institution", "action"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(getattr(AuditRow, name) == value)
    if wanted.since is not None:
        query = query.where(AuditRow.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditRow.at < wanted.until)
    return session.scalars(query).all()
