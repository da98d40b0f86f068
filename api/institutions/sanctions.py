"""Suspending, reinstating and removing an institution (R17): signed into the feed, and felt everywhere at once.

The nodes' gates obey the signed word; the control plane ends the institution's jobs in the same transaction. Owns no
other effect: scores, jobs, releases and requests ask `repository.state` each time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from api.auth import Caller
from api.consent_events import service as consent_events
from api.consents import feed
from api.control import Control
from api.db import SYSTEM, Unit
from api.errors import Conflict, Forbidden, Invalid, NotFound
from api.institutions import repository
from api.institutions.repository import Standing
from api.institutions.schemas import SanctionIn, StandingOut
from api.jobs import service as jobs
from consent import artefact
from consent.times import stamp

_WORDS = {
    "suspended": ("institution_suspended", "suspended", "暂停"),
    "removed": ("institution_removed", "removed", "移除"),
}


def sanction(control: Control, caller: Caller, institution_id: str, state: str, body: SanctionIn) -> StandingOut:
    """Suspends or removes. Raises NotFound, Forbidden for the platform itself, IllegalTransition."""
    with control.db.unit(caller) as unit:
        found = repository.institution(unit.session, institution_id)
        if found is None:
            raise NotFound("institution", "机构", institution_id)
        if found.kind == "platform":
            raise Forbidden("the platform cannot be sanctioned by itself", "平台不能处分自身", code="own_institution")
        if body.until is not None and (state != "suspended" or body.until <= unit.now):
            raise Invalid("until: a suspension may have an end, which lies ahead", "until：仅暂停可设将来的截止时间")
        row = _say(control, unit, institution_id, state, body.ground, body.evidence, body.until)
        code, word, word_zh = _WORDS[state]
        jobs.stop_for_institution(
            unit, institution_id, code, f"{institution_id} was {word}: {body.ground}",
            f"机构 {institution_id} 被{word_zh}：{body.ground}", removed=state == "removed",
        )  # fmt: skip
        return StandingOut.model_validate(row)


def reinstate(control: Control, caller: Caller, institution_id: str, body: SanctionIn) -> StandingOut:
    """Ends a suspension. Raises Conflict when there is none."""
    with control.db.unit(caller) as unit:
        return StandingOut.model_validate(_reinstate(control, unit, institution_id, body.ground, body.evidence))


def _reinstate(control: Control, unit: Unit, institution_id: str, ground: str, evidence: str | None) -> Standing:
    if repository.standing(unit.session, institution_id) is None:
        raise Conflict(
            f"{institution_id} is not suspended", f"机构 {institution_id} 未被暂停", code="illegal_transition"
        )
    return _say(control, unit, institution_id, "active", ground, evidence, None)


def _say(
    control: Control,
    unit: Unit,
    institution_id: str,
    state: str,
    ground: str,
    evidence: str | None,
    until: datetime | None,
) -> Standing:
    writer = feed.Writer(unit)
    row = repository.standing(unit.session, institution_id)
    at = stamp(unit.now)
    said = artefact.institution_state(institution=institution_id, state=state, at=at, ground=ground)
    values: dict[str, Any] = {"ground": ground, "evidence": evidence, "since": unit.now, "until": until}
    seq = feed.say(writer, control.key, said, institution_id)
    writer.close()
    if row is None:
        row = Standing(institution=institution_id, seq=seq, **values)
        unit.create(row, f"institution.{state}", ground, state=state, seq=seq)
    else:
        unit.transition(row, state, f"institution.{state}", ground, seq=seq)
        for name, value in {**values, "seq": seq}.items():
            setattr(row, name, value)
        unit.session.flush()
    consent_events.tell(unit, [(institution_id, "institution", {"state": state, "ground": ground, "at": at})])
    return row


def sweep(control: Control) -> int:
    """Ends suspensions whose time is over; returns how many."""
    with control.db.read(SYSTEM) as session:
        over = repository.ended_suspensions(session, control.db.clock())
    for institution_id in over:
        with control.db.unit(SYSTEM) as unit:
            row = repository.standing(unit.session, institution_id)
            if row is not None and row.state == "suspended" and row.until is not None and row.until <= unit.now:
                _reinstate(control, unit, institution_id, "the suspension's time is over", None)
    return len(over)


def standings(control: Control) -> dict[str, StandingOut]:
    with control.db.read(SYSTEM) as session:
        return {name: StandingOut.model_validate(row) for name, row in repository.standings(session).items()}
