"""Small builders of signed documents."""

from __future__ import annotations

import itertools

import pytest

from consent import artefact, person, templates
from consent.canonical import digest
from consent.evidence import role_of
from consent.keys import SigningKey
from consent.signed import countersign, sign
from tests.support.authenticator import EVIDENCE, Passkey

_numbers = itertools.count(1)


class Maker:
    """Makes feed events of one platform, in order."""

    def __init__(self) -> None:
        self.platform = SigningKey.generate()
        self.keys: dict[str, SigningKey] = {}
        self.events: list[dict] = []

    def key(self, enterprise: str) -> SigningKey:
        return self.keys.setdefault(enterprise, SigningKey.generate())

    def event(self, body: dict, key: SigningKey | None = None, passkey: Passkey | None = None) -> dict:
        if (signer := artefact.signer_of(body)) == "person":
            # no passkey by default: the platform stands for the person as registrar
            signed = passkey.sign(body) if passkey else sign(body, self.platform, "registrar")
            document = countersign(signed, self.platform, "platform")
        elif role_of(body) == "registrar":
            document = countersign(sign(body, self.platform, "registrar"), self.platform, "platform")
        elif signer == "enterprise":
            signed = sign(body, key or self.key(body["enterprise"]), "enterprise")
            document = countersign(signed, self.platform, "platform")
        else:
            document = sign(body, self.platform, "platform")
        event = {"seq": len(self.events) + 1, "kind": body["type"], "document": document}
        self.events.append(event)
        return event

    @staticmethod
    def fields(enterprise: str, **changes: object) -> dict:
        fields = {
            "consent_id": f"c-{next(_numbers)}",
            "enterprise": enterprise,
            "recipient": "bank_a",
            "provider": "lab",
            "valid_from": "2026-01-01T00:00:00Z",
            "valid_until": "2027-01-01T00:00:00Z",
            "given_at": "2026-01-01T00:00:00Z",
            "evidence": {"kind": "import", "reference": "0" * 64},
        }
        return {**fields, **templates.terms(str(changes.get("purpose", "joint_training"))), **changes}

    def consent(self, enterprise: str, **changes: object) -> dict:
        return self.event(artefact.consent(**self.fields(enterprise, **changes)))

    def refusal(self, enterprise: str, **changes: object) -> dict:
        return self.event(artefact.refusal(**self.fields(enterprise, **changes)))

    # ---- persons

    def offer(self, enterprise: str, role: str = "sole_trader", who: str = "p-1", **changes: object) -> dict:
        """What is offered to a person, of the terms that `consent` would have with the same changes."""
        return person.offer({"storage": "lab_zone", **self.fields(enterprise, **changes)}, who, role)

    @staticmethod
    def named(offer: dict) -> dict:
        """The entry of an enterprise's `persons` that refers to an offer."""
        return {"role": offer["role"], "reference": person.reference(offer)}

    def said(self, offer: dict, kind: str = person.CONSENT, passkey: Passkey | None = None, **changes: object) -> dict:
        """A person's answer, by session and code, or by a passkey."""
        fields = {
            "consent_id": f"pc-{next(_numbers)}",
            "valid_from": "2026-01-01T00:00:00Z",
            "valid_until": "2027-01-01T00:00:00Z",
            "given_at": "2026-01-01T00:00:00Z",
            "evidence": EVIDENCE if passkey else {"kind": "session_code", "reference": "0" * 64},
            **changes,
        }
        return self.event(person.answer(kind, offer, **fields), passkey=passkey)

    def taken_back(
        self, said: dict, at: str = "2026-06-01T00:00:00Z", passkey: Passkey | None = None, **changes: object
    ) -> dict:
        body = said["document"]["body"]
        fields = {name: body[name] for name in ("consent_id", "person", "enterprise", "evidence")}
        return self.event(person.withdrawal(**{**fields, "at": at, **changes}), passkey=passkey)

    def ran_out(self, said: dict, at: str, **changes: object) -> dict:
        """The platform's word that a person's consent is over."""
        body = said["document"]["body"]
        fields = {name: body[name] for name in ("consent_id", "person", "enterprise")}
        return self.event(person.expiry(**{**fields, "at": at, **changes}))

    def withdrawal(self, consent: dict, at: str = "2026-06-01T00:00:00Z", key: SigningKey | None = None) -> dict:
        body = consent["document"]["body"]
        withdrawn = artefact.withdrawal(consent_id=body["consent_id"], enterprise=body["enterprise"], at=at)
        return self.event(withdrawn, key)

    def transition(self, before: dict, action: str, at: str, key: SigningKey | None = None) -> dict:
        """The transition that follows an answer or another transition."""
        body = before["document"]["body"]
        place = body["sequence"] if body["type"] == "transition" else 0 if body["request"] is None else 1
        moved = artefact.transition(
            consent_id=body["consent_id"],
            enterprise=body["enterprise"],
            action=action,
            at=at,
            sequence=place + 1,
            previous=digest(body),
        )
        return self.event(moved, key)


@pytest.fixture
def make() -> Maker:
    return Maker()
