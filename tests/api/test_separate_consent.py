"""Consent as the law wants it, through the service: separate, asked again on change, and never a price for others.

PIPL §14 (asked again when purpose, way or kind of data change), §15 (withdrawn as easily as given), §16 (refusing costs
no other service), §23 and §29 (separately for each recipient, purpose and kind of data).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consent.lifecycle import State
from consent.purposes import Purpose
from consent.times import stamp
from tests.api.test_consent_requests import answer, ask, enrolled, take
from tests.api.test_jobs import refused
from tests.api.test_recalls import book_of
from tests.api.test_scores import score
from tests.api.world import Enterprise, World

NOW = stamp(datetime.now(UTC))
TERM = {"valid_until": stamp(datetime.now(UTC) + timedelta(days=100))}  # within every purpose's template


def test_a_change_of_terms_is_asked_again_and_the_old_terms_hold_until_the_enterprise_signs(world: World) -> None:
    """PIPL §14, R51: neither the bank nor the platform can widen what was signed."""
    one = enrolled(world)
    first = ask(world, one, terms={"window_months": 12, "data": {"tax": ["tax_grade"]}})
    take(world, answer(one, first))
    wider = {"terms": {"window_months": 24, "data": {"tax": ["tax_grade"], "judicial": "*"}}}
    assert refused(ask, world, one, **wider).code == "consent_stands"
    renewal = ask(world, one, supersedes=first["consent_id"], **wider)

    def terms() -> tuple[str, int, dict[str, Any]]:
        entry = book_of(world).entry(one.name, "bank-a", "underwriting_score")
        assert entry is not None
        return entry.consent_id, entry.terms.window_months, dict(entry.terms.data)

    old = (first["consent_id"], 12, {"tax": ("tax_grade",)})
    assert terms() == old
    offer = json.loads(answer(one, renewal))
    for forged in ({**offer, "signatures": []}, {**offer, "body": {**offer["body"], "window_months": 23}}):
        assert take(world, json.dumps(forged).encode())["accepted"] == 0
    assert terms() == old
    take(world, answer(one, renewal))
    assert terms() == (renewal["consent_id"], 24, {"tax": ("tax_grade",), "judicial": "*"})


@pytest.mark.parametrize("given", list(Purpose))
def test_one_signature_permits_one_purpose_to_one_recipient(shared: World, given: Purpose) -> None:
    """PIPL §23, §29, R14, R43: nothing for another purpose, another bank or another provider's data."""
    one = Enterprise(f"E-{given}")
    assert take(shared, one.consent(f"c-{given}", purpose=given, **TERM))["accepted"] == 1
    book = book_of(shared)
    for purpose in Purpose:
        for recipient in ("bank-a", "bank-b"):
            for provider in ("lab", "lab-2"):
                wanted = (purpose, recipient, provider) == (given, "bank-a", "lab")
                assert book.covers(one.name, recipient, purpose, NOW, provider=provider, used={}) is wanted


def test_refusing_or_withdrawing_one_purpose_costs_no_other(world: World) -> None:
    """PIPL §16: after a refusal of training and a withdrawn report query the loan is scored as before."""
    job_id = world.succeeded()
    world.released(job_id)
    one = Enterprise("E-score")
    take(world, one.consent("c-score", purpose="underwriting_score"))
    take(world, one.consent("c-report", purpose="report_query", **TERM))
    assert score(world, job_id)["consent_id"] == "c-score"
    take(world, one.refusal("c-training", purpose="joint_training"))
    take(world, one.withdrawal("c-report"))
    assert score(world, job_id)["consent_id"] == "c-score"
    states = {row["consent_id"]: row["state"] for row in world.risk.consents("E-score")}
    assert states == {"c-score": "active", "c-report": "withdrawn", "c-training": "refused"}


def test_no_rule_of_the_policy_looks_at_another_purposes_answer(shared: World) -> None:
    """PIPL §16: what is judged of a purpose is the answer to this purpose; a no to all the others changes nothing."""
    quiet, free = Enterprise("E-quiet"), Enterprise("E-free")
    for one in (quiet, free):
        take(shared, one.consent(f"c-{one.name}", purpose="underwriting_score"))
    for purpose in set(Purpose) - {Purpose.UNDERWRITING_SCORE}:
        take(shared, quiet.refusal(f"c-no-{purpose}", purpose=purpose, **TERM))
    book = book_of(shared)
    facts = [book.facts(one.name, "bank-a", "underwriting_score", NOW, used={}) for one in (quiet, free)]
    assert facts[0] == facts[1]
    assert facts[0].consent_state is State.ACTIVE


def test_a_withdrawal_needs_no_more_than_the_consents_number(world: World) -> None:
    """PIPL §15: giving states every term; taking back names the consent, and is never out of step."""
    one = Enterprise("E-back")
    given = one.consent("c-back")
    take(world, given)
    paused = one.transition(given, "pause")
    take(world, paused, one.transition(paused, "resume"))
    withdrawal = one.withdrawal("c-back")
    asked = {name for name, value in json.loads(withdrawal)["body"].items() if value is not None}
    assert asked < set(json.loads(given)["body"]) | {"action", "at"}
    assert take(world, withdrawal)["withdrawn"] == 1
    assert take(world, one.withdrawal("c-back"))["unchanged"] == 1
