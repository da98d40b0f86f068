"""Small builders of signed documents."""

from __future__ import annotations

import itertools

import pytest

from consent import artefact, templates
from consent.canonical import digest
from consent.keys import SigningKey
from consent.signed import countersign, sign

_numbers = itertools.count(1)


class Maker:
    """Makes feed events of one platform, in order."""

    def __init__(self) -> None:
        self.platform = SigningKey.generate()
        self.keys: dict[str, SigningKey] = {}
        self.events: list[dict] = []

    def key(self, enterprise: str) -> SigningKey:
        return self.keys.setdefault(enterprise, SigningKey.generate())

    def event(self, body: dict, key: SigningKey | None = None) -> dict:
        if artefact.signer_of(body) == "enterprise":
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
