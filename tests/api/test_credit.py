"""The credit ledger: what is granted, paid out and repaid, by the institution alone, consistent and attested."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from api.client import LabClient
from api.credit.states import CLASSES, best_class, is_better
from tests.api.financing import Firm, Loan, Refusal, firm, officer, shelved, today
from tests.api.test_jobs import refused
from tests.api.world import World


@pytest.fixture(scope="module")
def bank(shared: World) -> LabClient:
    return officer(shared)


@pytest.fixture(scope="module")
def product(shared: World, bank: LabClient) -> str:
    return shelved(shared, bank)


@pytest.fixture
def who(shared: World) -> Firm:
    return firm(shared)


@pytest.fixture
def loan(shared: World, bank: LabClient, who: Firm, product: str) -> Loan:
    return Loan(shared, bank, who, product)


def ready(loan: Loan) -> Loan:
    loan.accept()
    loan.follow_up()
    loan.approve()
    return loan


def credit_of(loan: Loan, name: str) -> dict[str, Any]:
    return loan.bank.call("GET", f"/v1/credits/{name}")


def test_a_result_enters_the_ledger_once_with_its_contract(loan: Loan) -> None:
    """R11, R25, R9."""
    name = loan.granted(contract_no="HT-2026-001")
    credit = credit_of(loan, name)
    assert (credit["referral"], credit["contract_no"], credit["state"]) == (loan.referral, "HT-2026-001", "granted")
    assert (credit["attested_name"], credit["classification"]) == ("officer-bank-a", "normal")
    assert refused(loan.result).status == 409
    assert name in {c["id"] for c in loan.bank.call("GET", "/v1/credits")["items"]}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount": "2000000.01"}, "credit_inconsistent"),  # above what was approved
        ({"rate": "36.01"}, "invalid_request"),
        ({"ends_on": "2020-01-01"}, "invalid_request"),
        ({"signed_on": "2099-01-01", "ends_on": "2099-12-31"}, "day_out_of_range"),
    ],
    ids=str,
)
def test_a_result_that_contradicts_the_approval_is_refused(loan: Loan, changes: dict[str, Any], code: str) -> None:
    ready(loan)
    assert refused(loan.result, **changes).code == code


def test_a_contract_is_not_signed_before_its_approval(loan: Loan) -> None:
    loan.world.clock.advance(5 * 86_400)
    ready(loan)
    day = today(loan.world) - timedelta(days=1)
    assert refused(loan.result, signed_on=str(day)).code == "credit_inconsistent"


def test_the_same_contract_is_not_entered_twice(loan: Loan, shared: World, bank: LabClient, product: str) -> None:
    loan.granted(contract_no="HT-SAME")
    second = ready(Loan(shared, bank, firm(shared), product))
    assert refused(second.result, contract_no="HT-SAME").status == 409


def test_payments_add_up_to_the_credit_at_most_and_a_voucher_counts_once(loan: Loan) -> None:
    """R25."""
    name = loan.granted()
    assert loan.pay(name, "1500000", "JJ-1")["state"] == "normal"
    again = loan.pay(name, "1500000", "JJ-1")
    assert (again["disbursed"], len(again["disbursements"])) == ("1500000.00", 1)
    assert refused(loan.pay, name, "1400000", "JJ-1").code == "voucher_differs"
    assert refused(loan.pay, name, "500000.01", "JJ-2").code == "credit_inconsistent"
    full = loan.pay(name, "500000", "JJ-2")
    assert (full["disbursed"], full["outstanding"]) == ("2000000.00", "2000000.00")
    assert [d["attested_name"] for d in full["disbursements"]] == ["officer-bank-a"] * 2
    assert refused(loan.step, "accept", liaison_name="x", liaison_contact="x").status == 409


def test_a_loan_is_followed_until_it_is_settled(loan: Loan) -> None:
    """R25, R26, R27."""
    name = loan.lent()
    assert loan.status(name, "normal", outstanding="1200000")["outstanding"] == "1200000.00"
    assert refused(loan.status, name, "normal").code == "credit_inconsistent"  # one report a day
    loan.world.clock.advance(86_400 * 30)
    worse = loan.status(name, "special_mention", classification="special_mention", outstanding="1200000")
    assert worse["state"] == "special_mention"
    loan.world.clock.advance(86_400 * 40)
    overdue = loan.status(name, "overdue", classification="special_mention", outstanding="1200000", days_overdue=12)
    assert overdue["state"] == "overdue"
    warned = loan.bank.call("GET", "/v1/credits/warnings")["items"]
    assert name in {c["id"] for c in warned}
    loan.world.clock.advance(86_400)
    settled = loan.status(name, "settled", outstanding="0")
    assert (settled["state"], settled["outstanding"]) == ("settled", "0.00")
    assert settled["ended_at"]
    assert [r["attested_name"] for r in settled["reports"]] == ["officer-bank-a"] * 4
    assert name not in {c["id"] for c in loan.bank.call("GET", "/v1/credits/warnings")["items"]}
    loan.world.clock.advance(86_400)
    assert refused(loan.status, name, "normal", outstanding="1").status == 409
    assert refused(loan.pay, name, "1", "JJ-9").code == "credit_inconsistent"


def test_a_worse_status_is_an_early_warning_at_once(loan: Loan, shared: World) -> None:
    """R27."""
    name = loan.lent()
    loan.status(name, "overdue", classification="special_mention", days_overdue=3)
    events = shared.risk.call("GET", "/v1/consent-events", params={"after": 0, "limit": 500})["events"]
    warnings = [e["body"]["event"] for e in events if e["body"]["kind"] == "early_warning"]
    assert [w["state"] for w in warnings if w["credit_id"] == name] == ["overdue"]
    assert "credit_overdue" in loan.firm.notices()


@pytest.mark.parametrize(
    ("days", "best"),
    [
        (0, "normal"),
        (1, "special_mention"),
        (90, "special_mention"),
        (91, "substandard"),
        (270, "substandard"),
        (271, "doubtful"),
        (360, "doubtful"),
        (361, "loss"),
    ],
)
def test_days_overdue_bound_the_class_of_risk(days: int, best: str) -> None:
    """商业银行金融资产风险分类办法 §8, §10–§12."""
    assert best_class(days) == best
    assert all(is_better(a, b) for i, a in enumerate(CLASSES) for b in list(CLASSES)[i + 1 :])


@pytest.mark.parametrize(
    ("status", "changes", "code"),
    [
        ("overdue", {"days_overdue": 91, "classification": "special_mention"}, "classification_too_good"),
        ("overdue", {"days_overdue": 0}, "credit_inconsistent"),
        ("normal", {"days_overdue": 5, "classification": "special_mention"}, "credit_inconsistent"),
        ("settled", {"outstanding": "1"}, "credit_inconsistent"),
        ("normal", {"outstanding": "0"}, "credit_inconsistent"),
        ("normal", {"outstanding": "2000000.01"}, "credit_inconsistent"),
        ("normal", {"as_of": "2099-01-01"}, "credit_inconsistent"),
        ("written_off", {"classification": "loss"}, "illegal_transition"),
    ],
    ids=str,
)
def test_numbers_that_contradict_each_other_are_refused(
    lent: tuple[Loan, str], status: str, changes: dict[str, Any], code: str
) -> None:
    loan, name = lent
    assert refused(loan.status, name, status, **changes).code == code


@pytest.fixture(scope="module")
def lent(shared: World, bank: LabClient, product: str) -> tuple[Loan, str]:
    loan = Loan(shared, bank, firm(shared), product)
    return loan, loan.lent()


def test_a_credit_that_is_never_paid_out_lapses(loan: Loan) -> None:
    name = loan.granted()
    lapse = lambda: loan.bank.call("POST", f"/v1/credits/{name}/lapse", json={"reason": "企业未提款"})  # noqa: E731
    assert lapse()["state"] == "lapsed"
    assert refused(loan.pay, name, "1").status in (409, 422)
    assert refused(lapse).status == 409


def test_the_ledger_is_the_institutions_the_enterprise_reads_its_own(loan: Loan, shared: World) -> None:
    """R18: the platform reads it and writes nothing."""
    name = loan.lent()
    other = officer(shared, "bank-b")
    assert refused(other.call, "GET", f"/v1/credits/{name}").status == 404
    body = {"voucher": "x", "amount": "1", "paid_on": str(today(shared))}
    assert refused(other.call, "POST", f"/v1/credits/{name}/disbursements", json=body).status == 404
    assert refused(shared.operator.call, "POST", f"/v1/credits/{name}/disbursements", json=body).code == "role_missing"
    assert shared.operator.call("GET", f"/v1/credits/{name}")["id"] == name
    fresh = firm(shared)
    assert fresh.request("GET", f"/credits/{name}").status_code == 404
    assert fresh.call("GET", "/credits")["items"] == []


def test_an_enterprise_reads_its_own_credits(shared: World, bank: LabClient, product: str) -> None:
    who = firm(shared)
    name = Loan(shared, bank, who, product).granted()
    assert [c["id"] for c in who.call("GET", "/credits")["items"]] == [name]
    assert who.call("GET", f"/credits/{name}")["contract_no"]


# ---- mediation


def test_a_dispute_is_handed_to_a_mediator_when_both_sides_want_it(
    shared: World, bank: LabClient, product: str
) -> None:
    """R65."""
    who = firm(shared)
    loan = Loan(shared, bank, who, product)
    credit = loan.granted()
    body = {"mediator": "金融纠纷调解中心", "reason": "对计息方式有争议"}
    propose = lambda: who.call("POST", f"/credits/{credit}/mediations", json=body)  # noqa: E731
    with pytest.raises(Refusal) as caught:
        propose()
    assert caught.value.code == "not_lent"
    loan.pay(credit, "2000000")
    name = propose()["id"]
    with pytest.raises(Refusal) as caught:
        propose()
    assert caught.value.code == "exists"
    agree = {"agree": True, "answer": "同意调解"}
    with pytest.raises(Refusal) as caught:
        who.call("POST", f"/mediations/{name}/answer", json=agree)
    assert caught.value.code == "own_proposal"
    act = lambda client, what, given: client.call("POST", f"/v1/mediations/{name}/{what}", json=given)  # noqa: E731
    ended = {"settled": True, "outcome": "达成还款协议"}
    assert refused(act, bank, "end", ended).status == 409
    assert refused(act, officer(shared, "bank-b"), "answer", agree).status == 404
    assert refused(act, shared.operator, "answer", agree).code == "role_missing"
    assert act(bank, "answer", agree)["state"] == "agreed"
    assert act(bank, "end", ended)["state"] == "settled"
    assert [kind for kind in who.notices() if kind.startswith("mediation_")] == [
        "mediation_proposed",
        "mediation_agreed",
        "mediation_settled",
    ]
    seen = [m["state"] for m in who.call("GET", f"/credits/{credit}/mediations")["items"]]
    assert seen == ["settled"]
    refusal = {"agree": False, "answer": "不同意"}
    second = bank.call("POST", f"/v1/credits/{credit}/mediations", json=body)["id"]
    assert who.call("POST", f"/mediations/{second}/answer", json=refusal)["state"] == "refused"
