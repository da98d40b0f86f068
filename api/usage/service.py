"""Reading usage records: the operator all, a bank its own, an enterprise all of its own, with proofs to take away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from api.auth import Caller, Role
from api.control import Control
from api.db import tenant
from api.errors import NotFound
from api.ledger import service as ledger
from api.usage import repository
from api.usage.repository import Usage
from api.usage.schemas import Sentence, UsageOut, UsagePage
from consent.ledger import records
from consent.usage import sentence

_BATCH = 200


def _view(row: Usage, outcome: str | None, code: str | None) -> UsageOut:
    record: dict[str, Any] = json.loads(row.document)
    zh, en = sentence(record)
    # told from the document that stands in the ledger; the columns are there for searching
    return UsageOut(
        id=row.id, at=row.at, user=record["user"], institution=record["institution"], reason=record["reason"],
        content=row.content, object_kind=record["object"]["kind"], object=record["object"]["id"],
        purpose=record["purpose"], consent_id=record["consent_id"], job_id=record["job_id"],
        release_id=record["release_id"], permit_id=record["permit_id"],
        outcome=outcome, outcome_code=code, record=record, sentence=Sentence(zh=zh, en=en),
    )  # fmt: skip


def _institution(caller: Caller) -> str | None:
    """None when the caller sees every institution's records, else the one."""
    return None if Role.OPERATOR in caller.roles else caller.institution


def search(control: Control, caller: Caller, enterprise: str | None, before: datetime | None, limit: int) -> UsagePage:
    with control.db.read(caller) as session:
        rows = repository.page(session, enterprise, _institution(caller), before, limit)
        return UsagePage(items=[_view(row, outcome, code) for row, outcome, code in rows])


def of_enterprise(control: Control, enterprise: str, before: datetime | None = None, limit: int = 100) -> UsagePage:
    """For the enterprise itself: every use of its data, newest first. The caller has made sure that it is the one."""
    with control.db.read(tenant(enterprise)) as session:
        rows = repository.page(session, enterprise, None, before, limit)
        return UsagePage(items=[_view(row, outcome, code) for row, outcome, code in rows])


def _record(control: Control, session: Session, rows: list[Usage]) -> list[bytes]:
    kept = ledger.kept(session, "usage", [row.id for row in rows])
    proofs = ledger.inclusions(control, [kept[row.id].position for row in rows])
    return [
        records.make(json.loads(row.document), bytes(kept[row.id].salt), proof)
        for row, proof in zip(rows, proofs, strict=True)
    ]


def of_job(control: Control, session: Session, row: Usage) -> dict[str, Any]:
    """The record of one job's use, with salt and proof."""
    found: dict[str, Any] = json.loads(_record(control, session, [row])[0])
    return found


def record(control: Control, caller: Caller, usage_id: str) -> bytes:
    """One record with salt and proof, for `creditlab verify`. Raises NotFound, also for another bank's."""
    institution = _institution(caller)
    with control.db.read(caller) as session:
        row = session.get(Usage, usage_id)
        if row is None or (institution is not None and row.institution != institution):
            raise NotFound("usage record", "使用记录", usage_id)
        return _record(control, session, [row])[0]


def record_of(control: Control, enterprise: str, usage_id: str) -> bytes:
    """The same for the enterprise whose data were used; another's is not found."""
    with control.db.read(tenant(enterprise)) as session:
        row = session.get(Usage, usage_id)
        if row is None or (row.object_kind, row.object_id) != ("enterprise", enterprise):
            raise NotFound("usage record", "使用记录", usage_id)
        return _record(control, session, [row])[0]


def download(control: Control, enterprise: str) -> Iterator[bytes]:
    """Every record of an enterprise with salt and proof, oldest first, one a line: each line is a file for `verify`."""
    after = None
    while True:
        with control.db.read(tenant(enterprise)) as session:
            rows = repository.in_order(session, enterprise, after, _BATCH)
            if not rows:
                return
            lines = _record(control, session, rows)
        yield from (line + b"\n" for line in lines)
        after = (rows[-1].at, rows[-1].id)
