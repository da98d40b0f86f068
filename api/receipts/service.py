"""Receipts with their proofs. Made anew with the present key whenever they are asked for; nothing is kept.

Owns who may have one: the enterprise itself, the institution that the consent names, and the operator. Anybody else
does not learn that the consent exists.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.auth import Caller, Role
from api.consents import receipts
from api.consents.repository import Consent
from api.control import Control
from api.db import SYSTEM, Actor, tenant
from api.errors import NotFound
from api.ledger import service as ledger
from api.receipts.schemas import ReceiptOut, Receipts
from consent.canonical import canonical


@dataclass(frozen=True)
class Viewer:
    """Who asks: `enterprise` or `institution` bounds what is shown; neither of them is the operator."""

    enterprise: str | None = None
    institution: str | None = None

    @property
    def tenant(self) -> Actor:
        bound = self.enterprise or self.institution
        return SYSTEM if bound is None else tenant(bound)

    def sees(self, consent: Consent) -> bool:
        return (self.enterprise is None or consent.enterprise == self.enterprise) and (
            self.institution is None or consent.recipient == self.institution
        )


def viewer(caller: Caller) -> Viewer:
    return Viewer() if Role.OPERATOR in caller.roles else Viewer(institution=caller.institution)


def _seen(session: Session, consent_id: str, who: Viewer) -> Consent:
    found = session.get(Consent, consent_id)
    if found is None or not who.sees(found):
        raise NotFound("consent", "授权", consent_id)
    return found


def of_consent(control: Control, who: Viewer, consent_id: str) -> Receipts:
    """The receipt of every document of one consent, oldest first. Raises NotFound."""
    with control.db.read(who.tenant) as session:
        consent = _seen(session, consent_id, who)
        history = receipts.history(session, consent_id)
        made = [(one, receipts.of_event(control, session, consent.enterprise, one["seq"])) for one in history]
        places = [ledger.position(session, "feed", str(one["seq"]))[0].index for one in history]
    return Receipts(
        items=[
            ReceiptOut(
                seq=one["seq"],
                step=str(one["body"].get("action", one["body"]["type"])),
                recorded_at=one["recorded_at"],
                receipt=json.loads(raw),
                proof=proof,
            )
            for (one, raw), proof in zip(made, ledger.inclusions(control, places), strict=True)
        ]
    )


def file(control: Control, who: Viewer, consent_id: str, seq: int) -> bytes:
    """One receipt and its proof as one file for `creditlab verify`. Raises NotFound."""
    for one in of_consent(control, who, consent_id).items:
        if one.seq == seq:
            return canonical({"proof": one.proof, "receipt": one.receipt})
    raise NotFound("receipt", "回执", str(seq))
