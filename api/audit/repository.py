"""Queries over the audit table."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.db import AuditRow


def page(session: Session, kind: str | None, object_id: str | None, after: int, limit: int) -> Sequence[AuditRow]:
    query = sa.select(AuditRow).where(AuditRow.seq > after).order_by(AuditRow.seq).limit(limit)
    if kind is not None:
        query = query.where(AuditRow.object_kind == kind)
    if object_id is not None:
        query = query.where(AuditRow.object_id == object_id)
    return session.scalars(query).all()
