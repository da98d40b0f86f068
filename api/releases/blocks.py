"""The `release` block of a job and its report: how the newest release of its model stands."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from api.releases import repository
from api.releases.states import UNBLINDED


def of_job(session: Session, job_id: str, model_sha256: str | None) -> dict[str, Any]:
    """{id, state, sha256, reviewers}; reviewers are named once both reviews are in."""
    row = repository.newest_of_job(session, job_id)
    if row is None:
        return {"id": None, "state": "pending", "sha256": model_sha256, "reviewers": []}
    reviews = repository.reviews(session, row.id) if row.state in UNBLINDED else ()
    return {
        "id": row.id,
        "state": row.state,
        "sha256": row.sha256,
        "reviewers": [review.account_name for review in reviews],
    }
