"""Queries over usage records that bound how often one may guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from api.usage.repository import Usage
from consent.purposes import Mode


def alone(session: Session, institution: str, enterprise: str) -> None:
    """Lets one transaction at a time count and use: two at once would both find the last one left."""
    key = sa.func.hashtextextended(f"data/{institution}/{enterprise}", 0)
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def verified(
    session: Session, institution: str, enterprise: str, codes: Collection[str], since: datetime
) -> Counter[str]:
    """How often this institution has verified each of these items (category/item) of this enterprise since then."""
    content = sa.cast(Usage.document, JSONB)["content"]
    told = sa.select(sa.func.jsonb_array_elements_text(content["data"]).label("code")).where(
        Usage.object_kind == "enterprise",
        Usage.object_id == enterprise,
        Usage.institution == institution,
        Usage.at > since,
        content["use"].astext == str(Mode.VERIFICATION),
    )
    one = told.subquery()
    query = sa.select(one.c.code, sa.func.count().label("made")).where(one.c.code.in_(codes)).group_by(one.c.code)
    return Counter({row.code: row.made for row in session.execute(query)})
