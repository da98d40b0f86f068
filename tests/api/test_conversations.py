"""Messages within a referral: its two parties and nobody else (R7, R18)."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from api.client import LabClient
from api.db import Actor
from tests.api.financing import Firm, Loan, firm, officer, shelved
from tests.api.test_jobs import refused
from tests.api.world import World


@pytest.fixture(scope="module")
def bank(shared: World) -> LabClient:
    return officer(shared)


@pytest.fixture(scope="module")
def loan(shared: World, bank: LabClient) -> Loan:
    return Loan(shared, bank, firm(shared), shelved(shared, bank))


def theirs(loan: Loan, who: Firm | None = None) -> list[tuple[str, str]]:
    found = (who or loan.firm).call("GET", f"/referrals/{loan.referral}/messages")["items"]
    return [(m["side"], m["text"]) for m in found]


def test_enterprise_and_institution_converse_in_order(loan: Loan, bank: LabClient, shared: World) -> None:
    """R7."""
    path = f"/v1/referrals/{loan.referral}/messages"
    bank.call("POST", path, json={"text": "请补充近三个月流水"})
    loan.firm.call("POST", f"/referrals/{loan.referral}/messages", json={"text": "已补充\n请查收"})
    bank.call("POST", path, json={"text": "收到"})
    expected = [("institution", "请补充近三个月流水"), ("enterprise", "已补充\n请查收"), ("institution", "收到")]
    assert theirs(loan) == expected
    found = bank.call("GET", path)["items"]
    assert [(m["side"], m["text"]) for m in found] == expected
    assert [m["author_name"] for m in found] == ["officer-bank-a", "王敏", "officer-bank-a"]
    assert loan.firm.notices().count("message") == 2
    told = shared.risk.call("GET", "/v1/consent-events", params={"after": 0, "limit": 500})["events"]
    bodies = [e["body"]["event"] for e in told if e["body"]["kind"] == "message"]
    assert len(bodies) == 1
    assert "已补充" not in str(bodies)


def test_neither_the_platform_nor_another_reads_or_writes_it(loan: Loan, shared: World) -> None:
    """R18."""
    path = f"/v1/referrals/{loan.referral}/messages"
    assert refused(shared.operator.call, "GET", path).code == "role_missing"
    assert refused(shared.operator.call, "POST", path, json={"text": "x"}).code == "role_missing"
    other = officer(shared, "bank-b")
    assert refused(other.call, "GET", path).status == 404
    assert refused(other.call, "POST", path, json={"text": "x"}).status == 404
    stranger = firm(shared)
    assert stranger.request("GET", f"/referrals/{loan.referral}/messages").status_code == 404


def test_a_message_is_never_changed_nor_written_in_the_others_name(loan: Loan, shared: World) -> None:
    bank = Actor("a", "a", "bank-a")
    with pytest.raises(sa.exc.DBAPIError), shared.db.unit(bank) as unit:
        unit.session.execute(sa.text("UPDATE messages SET text = 'x'"))
    forged = sa.text(
        "INSERT INTO messages (referral, institution, enterprise, side, author, author_name, text, at)"
        " VALUES (:referral, 'bank-a', :enterprise, 'enterprise', 'x', 'x', 'x', now())"
    )
    with pytest.raises(sa.exc.DBAPIError, match="row-level security"), shared.db.unit(bank) as unit:
        unit.session.execute(forged, {"referral": loan.referral, "enterprise": loan.firm.uscc})
