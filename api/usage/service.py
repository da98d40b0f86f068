"""Reading usage records: the operator all, a bank its own."""

from __future__ import annotations

from datetime import datetime

from api.auth import Caller, Role
from api.control import Control
from api.usage import repository
from api.usage.schemas import UsageOut, UsagePage


def search(control: Control, caller: Caller, enterprise: str | None, before: datetime | None, limit: int) -> UsagePage:
    institution = None if Role.OPERATOR in caller.roles else caller.institution
    with control.db.read() as session:
        return UsagePage(
            items=[
                UsageOut(
                    id=row.id, at=row.at, user=row.user, institution=row.institution, reason=row.reason,
                    content=row.content, object_kind=row.object_kind, object=row.object_id, purpose=row.purpose,
                    consent_id=row.consent_id, job_id=row.job_id, release_id=row.release_id,
                    outcome=outcome, outcome_code=code,
                )
                for row, outcome, code in repository.page(session, enterprise, institution, before, limit)
            ]
        )  # fmt: skip
