"""Three kinds of users, each by a door of its own: enterprises, financial institutions, the managing body (R30)."""

from __future__ import annotations

import pytest

from api.auth import PERMISSIONS, Role
from tests.api.financing import Loan, Refusal, firm, officer, shelved
from tests.api.test_jobs import refused
from tests.api.world import World


def test_each_kind_of_user_does_its_own_part_of_one_loan_and_no_other(shared: World) -> None:
    """R18, R30: the enterprise asks, the platform refers, the institution decides; none stands in for another."""
    bank, who = officer(shared), firm(shared)
    loan = Loan(shared, bank, who, shelved(shared, bank))
    accept = {"liaison_name": "陈静", "liaison_contact": "020-0000000"}

    # the managing body neither decides for the institution nor files for the enterprise
    path = f"/v1/referrals/{loan.referral}/accept"
    assert refused(shared.operator.call, "POST", path, json=accept).code == "role_missing"
    assert refused(shared.operator.call, "GET", "/v1/my/applications").code == "role_missing"
    # the institution neither reviews for the managing body nor files for the enterprise
    review = {"decision": "pass", "opinion": "x"}
    path = f"/v1/applications/{loan.application}/review"
    assert refused(bank.call, "POST", path, json=review).code == "role_missing"
    assert refused(bank.call, "POST", "/v1/my/applications", json={}).code == "role_missing"
    # an enterprise's session opens what is its own and nothing else
    for method, path in (("POST", f"/v1/referrals/{loan.referral}/accept"), ("GET", "/v1/applications")):
        answer = who.http.request(method, path, headers=who.headers, json=accept if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")

    assert loan.accept()["state"] == "accepted"
    assert who.application(loan.application)["state"] == "pushed"


def test_no_institution_and_no_enterprise_sees_what_is_anothers(shared: World) -> None:
    """R15, R30."""
    bank, who, other = officer(shared), firm(shared), firm(shared)
    loan = Loan(shared, bank, who, shelved(shared, bank))
    assert refused(officer(shared, "bank-q").call, "GET", f"/v1/referrals/{loan.referral}").status == 404
    with pytest.raises(Refusal) as told:
        other.application(loan.application)
    assert told.value.status == 404


def test_every_action_belongs_to_one_kind_of_user_at_least() -> None:
    """R30: an enterprise's own actions are no role's, and every role is an institution's or the managing body's."""
    own = {action for action, row in PERMISSIONS.items() if not row.roles}
    assert {str(action) for action in own} == {"my.read", "my.write"}
    held = {role for row in PERMISSIONS.values() for role in row.roles}
    assert held == set(Role)
