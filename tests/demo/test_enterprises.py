"""What the demo's enterprises sign: every document verifies, and each does what it says (R14)."""

from __future__ import annotations

import pytest

from api.demo.enterprises import Choices, Enterprise, Register, chance, first_answers
from consent import artefact
from consent.keys import BadSignature
from consent.purposes import Purpose
from consent.signed import signer, verify

BANKS = {"a": "bank-a", "b": "bank-b"}
EVERYBODY = [
    Enterprise(f"E{n}", n < 700, n >= 200, ("a", "b")[n % 2] if n < 700 else None, ("train", "test")[n % 3 == 0])
    for n in range(1000)
]


def answers(share: float = 0.1, scored: int = 20) -> tuple[Register, list[dict]]:
    register = Register("lab")
    return register, list(first_answers(register, EVERYBODY, dict(BANKS), Choices(share, scored)))


def test_every_document_is_well_formed_and_signed_by_its_enterprise() -> None:
    _, documents = answers()
    keys = {}
    for document in documents:
        body = verify(document, "enterprise")
        assert artefact.check(body) in {"consent", "refusal"}
        assert keys.setdefault(body["enterprise"], signer(document, "enterprise")) == signer(document, "enterprise")
    assert len(set(keys.values())) == len(keys) == len(EVERYBODY)


def test_everybody_is_asked_once_and_some_refuse() -> None:
    _, documents = answers(share=0.1)
    training = [d["body"] for d in documents if d["body"]["purpose"] == Purpose.JOINT_TRAINING]
    assert len({body["enterprise"] for body in training}) == len(training) == len(EVERYBODY)
    refused = sum(body["type"] == "refusal" for body in training)
    assert 60 < refused < 140
    assert not [d for d in answers(share=0)[1] if d["body"]["type"] == "refusal"]


def test_a_customer_is_asked_by_its_own_bank() -> None:
    _, documents = answers()
    own = {one.id: BANKS[one.party] for one in EVERYBODY if one.party}
    for document in documents:
        body = document["body"]
        assert own.get(body["enterprise"], body["recipient"]) == body["recipient"]
        assert body["provider"] == "lab"


def test_scoring_consents_are_of_common_customers_outside_the_training_window() -> None:
    _, documents = answers(scored=20)
    chosen = [d["body"] for d in documents if d["body"]["purpose"] == Purpose.UNDERWRITING_SCORE]
    known = {one.id: one for one in EVERYBODY}
    assert all(known[body["enterprise"]].in_bank and known[body["enterprise"]].in_lab for body in chosen)
    assert all(known[body["enterprise"]].split == "test" for body in chosen)
    per_bank = [sum(body["recipient"] == bank for body in chosen) for bank in BANKS.values()]
    assert per_bank == [20, 20]


def test_a_withdrawal_is_signed_by_the_key_that_consented_and_only_once() -> None:
    register, documents = answers(share=0)
    given = next(d for d in documents if d["body"]["purpose"] == Purpose.JOINT_TRAINING)
    enterprise, bank = given["body"]["enterprise"], given["body"]["recipient"]
    assert enterprise in register.live(bank, Purpose.JOINT_TRAINING)
    withdrawn = register.withdraw(enterprise, bank, Purpose.JOINT_TRAINING)
    body = verify(withdrawn, "enterprise", signer(given, "enterprise"))
    assert body["consent_id"] == given["body"]["consent_id"]
    assert enterprise not in register.live(bank, Purpose.JOINT_TRAINING)
    with pytest.raises(KeyError):
        register.withdraw(enterprise, bank, Purpose.JOINT_TRAINING)


def test_a_changed_document_does_not_verify() -> None:
    _, documents = answers()
    document = documents[0]
    document["body"]["recipient"] = "another-bank"
    with pytest.raises(BadSignature):
        verify(document, "enterprise")


def test_chance_repeats_itself_and_spreads() -> None:
    values = [chance(f"E{n}", "salt") for n in range(2000)]
    assert values == [chance(f"E{n}", "salt") for n in range(2000)]
    assert 0.45 < sum(values) / len(values) < 0.55
    assert all(0 <= value < 1 for value in values)
