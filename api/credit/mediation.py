"""Mediation over a lent credit: one side proposes a mediator, the other agrees or refuses, the end is reported (R65).

Owns the hand-off and its record. The mediation itself takes place elsewhere, and the platform has no word in it.
"""

from __future__ import annotations

import secrets

from sqlalchemy.orm import Session

from api.auth import Caller
from api.consent_events import service as consent_events
from api.consents.requests import inform
from api.control import Control
from api.credit import repository
from api.credit.repository import Credit, Mediation
from api.credit.schemas import MediationAnswer, MediationEnd, MediationIn, MediationOut, Mediations
from api.credit.states import LENT, MEDIATION
from api.db import SYSTEM, Actor, Unit
from api.errors import Conflict, Forbidden, NotFound


def _credit(session: Session, actor: Actor, credit_id: str) -> tuple[Credit, str]:
    """The credit and on which side of it the actor is. Raises NotFound for anybody else."""
    row = repository.credit(session, credit_id)
    if row is not None and actor.institution in (row.institution, row.enterprise):
        return row, "institution" if actor.institution == row.institution else "enterprise"
    raise NotFound("credit", "授信", credit_id)


def propose(control: Control, actor: Actor, credit_id: str, body: MediationIn) -> MediationOut:
    """Raises Conflict when nothing is lent, or one is open already."""
    with control.db.unit(actor) as unit:
        credit, side = _credit(unit.session, actor, credit_id)
        if credit.state not in LENT:
            raise Conflict(
                f"credit {credit.id} is {credit.state}: there is nothing to mediate",
                f"授信 {credit.id} 当前状态为 {credit.state}，无可调解事项",
                code="not_lent",
            )
        if any(each.state not in MEDIATION.final for each in repository.mediations(unit.session, credit.id)):
            raise Conflict("a mediation is open already", "已有进行中的调解", code="exists")
        row = Mediation(
            id=f"md-{secrets.token_hex(6)}",
            credit=credit.id,
            institution=credit.institution,
            enterprise=credit.enterprise,
            side=side,
            proposed_at=unit.now,
            answer=None,
            answered_at=None,
            outcome=None,
            ended_at=None,
            **body.model_dump(),
        )
        row.attest(actor, unit.now)
        unit.create(row, "mediation.propose", body.reason, state="proposed", credit=credit.id)
        _tell(unit, row)
        return MediationOut.model_validate(row)


def _tell(unit: Unit, row: Mediation) -> None:
    body = {"mediation_id": row.id, "credit_id": row.credit, "state": row.state, "at": unit.now.isoformat()}
    consent_events.tell(unit, [(row.institution, "mediation", body)])
    inform(unit, row.enterprise, f"mediation_{row.state}", row.credit)


def _own(unit: Unit, actor: Actor, mediation_id: str) -> Mediation:
    row = repository.mediation(unit.session, mediation_id)
    if row is None or actor.institution not in (row.institution, row.enterprise):
        raise NotFound("mediation", "调解", mediation_id)
    return row


def answer(control: Control, actor: Actor, mediation_id: str, body: MediationAnswer) -> MediationOut:
    """By the side that did not propose it. Raises Forbidden for the one that did."""
    with control.db.unit(actor) as unit:
        row = _own(unit, actor, mediation_id)
        proposer = row.institution if row.side == "institution" else row.enterprise
        if actor.institution == proposer:
            raise Forbidden(
                "the other side answers what yours proposed", "须由对方答复贵方提出的调解", code="own_proposal"
            )
        row.answer, row.answered_at = body.answer, unit.now
        row.attest(actor, unit.now)
        unit.transition(row, "agreed" if body.agree else "refused", "mediation.answer", body.answer)
        _tell(unit, row)
        return MediationOut.model_validate(row)


def end(control: Control, caller: Caller, mediation_id: str, body: MediationEnd) -> MediationOut:
    """How it ended, as the institution reports it."""
    with control.db.unit(caller) as unit:
        row = _own(unit, caller, mediation_id)
        row.outcome, row.ended_at = body.outcome, unit.now
        row.attest(caller, unit.now)
        unit.transition(row, "settled" if body.settled else "failed", "mediation.end", body.outcome)
        _tell(unit, row)
        return MediationOut.model_validate(row)


def of_credit(control: Control, actor: Actor, credit_id: str) -> Mediations:
    """For its two sides, and for the platform to read."""
    with control.db.read(actor) as session:
        if actor.institution != SYSTEM.institution:
            _credit(session, actor, credit_id)
        rows = repository.mediations(session, credit_id)
        return Mediations(items=[MediationOut.model_validate(row) for row in rows])
