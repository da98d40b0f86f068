"""Guarantors as parties: invited by the enterprise, answering for themselves against a clock (R65, R32)."""

from __future__ import annotations

from typing import Any

import pytest

from api.client import LabClient
from tests.api.financing import Firm, Loan, Refusal, firm, officer, shelved
from tests.api.test_jobs import refused
from tests.api.world import World


@pytest.fixture(scope="module")
def bank(shared: World) -> LabClient:
    return officer(shared)


@pytest.fixture(scope="module")
def guarantor(shared: World) -> LabClient:
    return officer(shared, "guarantor-a")


@pytest.fixture(scope="module")
def product(shared: World, bank: LabClient) -> str:
    return shelved(shared, bank)


@pytest.fixture
def loan(shared: World, bank: LabClient, product: str) -> Loan:
    return Loan(shared, bank, firm(shared), product)


def invite(who: Firm, application: str, guarantor: str = "guarantor-a") -> dict[str, Any]:
    body = {"guarantor": guarantor, "amount": "1000000", "note": "请为本笔贷款担保"}
    return who.call("POST", f"/applications/{application}/guarantees", json=body)


def answer(client: LabClient, name: str, decision: str = "accept") -> dict[str, Any]:
    return client.call("POST", f"/v1/guarantees/{name}/answer", json={"decision": decision, "answer": "经评审"})


def code(call: Any, *args: Any) -> str:
    with pytest.raises(Refusal) as caught:
        call(*args)
    return caught.value.code


def test_a_guarantor_judges_the_application_and_accepts_for_itself(
    shared: World, loan: Loan, guarantor: LabClient, bank: LabClient
) -> None:
    name = invite(loan.firm, loan.application)["id"]
    seen = guarantor.call("GET", f"/v1/guarantees/{name}")
    assert (seen["loan_amount"], seen["purpose"], seen["basic"]["region"]) == ("2000000.00", "采购生产原料", "440305")
    clocks = guarantor.call("GET", "/v1/clocks")["items"]
    assert any(c["kind"] == "guarantee" and c["object_id"] == name for c in clocks)
    assert refused(answer, bank, name).status == 404
    assert refused(answer, shared.operator, name).code == "role_missing"
    accepted = answer(guarantor, name)
    assert (accepted["state"], accepted["attested_name"]) == ("accepted", "officer-guarantor-a")
    assert "guarantee_accepted" in loan.firm.notices()
    assert not any(c["object_id"] == name for c in guarantor.call("GET", "/v1/clocks")["items"])
    listed = bank.call("GET", f"/v1/referrals/{loan.referral}/guarantees")["items"]
    assert [(g["guarantor"], g["state"]) for g in listed] == [("guarantor-a", "accepted")]
    assert refused(answer, guarantor, name, "refuse").status == 409


def test_it_is_invited_once_and_only_a_guarantor_while_the_application_is_open(
    shared: World, loan: Loan, product: str
) -> None:
    who = loan.firm
    assert code(invite, who, loan.application, "bank-a") == "not_found"
    draft = who.draft(product)["id"]
    assert code(invite, who, draft) == "not_open"
    invite(who, loan.application)
    assert code(invite, who, loan.application) == "exists"
    loan.step("refuse", reason="x")
    officer(shared, "guarantor-b")
    assert code(invite, who, loan.application, "guarantor-b") == "not_open"
    assert code(invite, firm(shared), loan.application) == "not_found"


def test_an_invitation_that_is_taken_back_needs_no_answer(loan: Loan, guarantor: LabClient) -> None:
    name = invite(loan.firm, loan.application)["id"]
    loan.firm.call("POST", f"/guarantees/{name}/withdraw", json={"reason": "改为抵押"})
    assert refused(answer, guarantor, name).status == 409
    assert not any(c["object_id"] == name for c in guarantor.call("GET", "/v1/clocks")["items"])


def test_a_guarantor_sees_no_application_but_those_it_is_invited_to(
    shared: World, loan: Loan, guarantor: LabClient
) -> None:
    other = officer(shared, "guarantor-b")
    name = invite(loan.firm, loan.application)["id"]
    assert refused(other.call, "GET", f"/v1/guarantees/{name}").status == 404
    assert name not in {g["id"] for g in other.call("GET", "/v1/guarantees")["items"]}
    assert refused(guarantor.call, "GET", f"/v1/referrals/{loan.referral}").status == 404


def test_who_stands_for_a_credit_is_warned_with_the_bank(shared: World, loan: Loan, guarantor: LabClient) -> None:
    """R27, R65."""
    answer(guarantor, invite(loan.firm, loan.application)["id"])
    credit = loan.lent()
    loan.status(credit, "overdue", classification="special_mention", days_overdue=3)
    risk = shared.person("risk-guarantor", "guarantor-a", "risk")
    told = [e["body"] for e in risk.call("GET", "/v1/consent-events", params={"after": 0, "limit": 500})["events"]]
    assert [e["event"]["credit_id"] for e in told if e["kind"] == "early_warning"] == [credit]
