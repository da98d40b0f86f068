"""The enterprises of the demo: each with its own signing key, giving, refusing and withdrawing consent.

Owns what an enterprise's own device would own: keys that nobody else holds. In operation these documents come from
the enterprises; here they are made for ids of a data folder. Never gives a consent that nobody would have asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from consent import artefact, templates
from consent.keys import SigningKey
from consent.purposes import Purpose
from consent.signed import sign
from consent.times import stamp

_TERM = timedelta(days=365)


@dataclass(frozen=True)
class Enterprise:
    """One line of `creditlab data ids`."""

    id: str
    in_bank: bool
    in_lab: bool
    party: str | None
    split: str | None


def read_enterprises(lines: Iterable[str]) -> list[Enterprise]:
    return [Enterprise(**json.loads(line)) for line in lines]


def chance(enterprise: str, salt: str) -> float:
    """A number in [0, 1) that is always the same for the same enterprise: the demo repeats itself exactly."""
    digest = hashlib.sha256(f"{salt}|{enterprise}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass
class Register:
    """Keys and documents of all enterprises of one demo; `provider` is the lab's institution."""

    provider: str
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _keys: dict[str, SigningKey] = field(default_factory=dict)
    _consents: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def _key(self, enterprise: str) -> SigningKey:
        if enterprise not in self._keys:
            self._keys[enterprise] = SigningKey.generate()
        return self._keys[enterprise]

    def _fields(self, enterprise: str, recipient: str, purpose: Purpose) -> dict[str, Any]:
        identity = hashlib.sha256(f"{enterprise}|{recipient}|{purpose}".encode()).hexdigest()[:24]
        return {
            "consent_id": f"c-{identity}",
            "enterprise": enterprise,
            "recipient": recipient,
            "provider": self.provider,
            # clocks of nodes differ: valid from a moment ago
            "valid_from": stamp(self.now - timedelta(minutes=5)),
            "valid_until": stamp(self.now + _TERM),
            "given_at": stamp(self.now),
            # nobody acts but this program: the evidence says so
            "evidence": {"kind": "import", "reference": hashlib.sha256(b"creditlab demo").hexdigest()},
            **templates.terms(purpose),
        }

    def consent(self, enterprise: str, recipient: str, purpose: Purpose) -> dict[str, Any]:
        """A consent signed by the enterprise."""
        body = artefact.consent(**self._fields(enterprise, recipient, purpose))
        self._consents[enterprise, recipient, purpose] = body["consent_id"]
        return sign(body, self._key(enterprise), "enterprise")

    def refuse(self, enterprise: str, recipient: str, purpose: Purpose) -> dict[str, Any]:
        """A refusal signed by the enterprise."""
        return sign(
            artefact.refusal(**self._fields(enterprise, recipient, purpose)), self._key(enterprise), "enterprise"
        )

    def withdraw(self, enterprise: str, recipient: str, purpose: Purpose) -> dict[str, Any]:
        """The withdrawal of a consent given here, signed by the same key. Raises KeyError when there is none."""
        consent_id = self._consents.pop((enterprise, recipient, purpose))
        body = artefact.withdrawal(consent_id=consent_id, enterprise=enterprise, at=stamp(datetime.now(UTC)))
        return sign(body, self._key(enterprise), "enterprise")

    def consent_id(self, enterprise: str, recipient: str, purpose: Purpose) -> str:
        """The number of a consent given here. Raises KeyError when there is none."""
        return self._consents[enterprise, recipient, purpose]

    def key_pem(self, enterprise: str) -> bytes:
        """The enterprise's private key, for a person who plays the enterprise."""
        return self._key(enterprise).to_pem()

    def live(self, recipient: str, purpose: Purpose) -> set[str]:
        """Enterprises whose consent to this recipient and purpose stands."""
        return {one for one, to, kind in self._consents if to == recipient and kind == purpose}


@dataclass(frozen=True)
class Choices:
    """Who refuses, and how many consent to scoring, in one demo."""

    refuse_share: float = 0.04
    scored: int = 300


def first_answers(
    register: Register, everybody: list[Enterprise], banks: dict[str | None, str], choices: Choices
) -> Iterator[dict[str, Any]]:
    """Every enterprise's answer when asked for joint training, and some consents to be scored.

    `banks` maps a value of the party column to the bank's institution; an enterprise that no bank serves is asked
    by one of them. Of a bank's customers in the test window, `scored` consent to an underwriting score.
    """
    institutions = sorted(set(banks.values()))
    scored = dict.fromkeys(institutions, 0)
    for one in everybody:
        bank = banks.get(one.party) or institutions[int(chance(one.id, "bank") * len(institutions))]
        if chance(one.id, "refuse") < choices.refuse_share:
            yield register.refuse(one.id, bank, Purpose.JOINT_TRAINING)
            continue
        yield register.consent(one.id, bank, Purpose.JOINT_TRAINING)
        if one.in_bank and one.in_lab and one.split != "train" and scored[bank] < choices.scored:
            scored[bank] += 1
            yield register.consent(one.id, bank, Purpose.UNDERWRITING_SCORE)
