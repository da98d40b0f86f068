"""Applications and open needs: complete before review, reviewed before an institution sees them, decided apart."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from api.app import create_app
from api.auth import PERMISSIONS, Action, Role, actions_by_route
from api.client import LabClient
from api.db import Actor
from tests.api.financing import Firm, Loan, Refusal, as_owner, firm, officer, shelved, today
from tests.api.test_jobs import refused
from tests.api.world import World


@pytest.fixture(scope="module")
def bank(shared: World) -> LabClient:
    return officer(shared)


@pytest.fixture(scope="module")
def other(shared: World) -> LabClient:
    return officer(shared, "bank-b")


@pytest.fixture(scope="module")
def product(shared: World, bank: LabClient) -> str:
    return shelved(shared, bank)


@pytest.fixture
def who(shared: World) -> Firm:
    return firm(shared)


@pytest.fixture
def loan(shared: World, bank: LabClient, who: Firm, product: str) -> Loan:
    return Loan(shared, bank, who, product)


def review(world: World, name: str, **body: Any) -> dict[str, Any]:
    body = {"decision": "pass", "opinion": "材料齐全", **body}
    return world.operator.call("POST", f"/v1/applications/{name}/review", json=body)


def step(client: LabClient, referral: str, what: str, **body: Any) -> dict[str, Any]:
    return client.call("POST", f"/v1/referrals/{referral}/{what}", json=body)


def accept(client: LabClient, referral: str) -> dict[str, Any]:
    return step(client, referral, "accept", liaison_name="陈静", liaison_contact="020-0")


def ids(page: dict[str, Any]) -> set[str]:
    return {one["id"] for one in page["items"]}


def fails(call: Any, *args: Any, **options: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call(*args, **options)
    return caught.value


# ---- filling in


def test_nothing_is_submitted_before_basic_and_loan_information_are_complete(who: Firm, product: str) -> None:
    """R23."""
    empty = dict.fromkeys(("amount", "term_months", "purpose", "repayment"))
    name = who.draft(product, **empty, guarantees=[])["id"]
    lacks = ["amount", "term_months", "purpose", "repayment", "guarantees", "profile"]
    assert who.application(name)["missing"] == lacks
    refusal = fails(who.call, "POST", f"/applications/{name}/submit")
    assert (refusal.status, refusal.code, refusal.problem["missing"]) == (422, "application_incomplete", lacks)
    who.profile()
    who.call(
        "PUT",
        f"/applications/{name}",
        json={
            "product": product,
            "amount": "1000000",
            "term_months": 6,
            "purpose": "备货",
            "repayment": "回款",
            "guarantees": ["credit"],
        },
    )
    submitted = who.call("POST", f"/applications/{name}/submit")
    assert (submitted["state"], submitted["missing"]) == ("submitted", [])
    assert submitted["basic"]["region"] == "440305"


@pytest.mark.parametrize(
    ("changes", "misfits"),
    [
        ({"amount": "5000000.01"}, ["amount"]),
        ({"term_months": 48}, ["term_months"]),
        ({"guarantees": ["mortgage"]}, ["guarantees"]),
    ],
    ids=str,
)
def test_an_application_fits_its_product(who: Firm, product: str, changes: dict[str, Any], misfits: list[str]) -> None:
    """R21."""
    who.profile()
    name = who.draft(product, **changes)["id"]
    refusal = fails(who.call, "POST", f"/applications/{name}/submit")
    assert (refusal.code, refusal.problem["misfits"]) == ("product_not_fit", misfits)


def test_a_product_for_another_place_or_trade_does_not_fit(who: Firm, product: str) -> None:
    who.profile(region="320500", industry="I65")
    name = who.draft(product)["id"]
    assert fails(who.call, "POST", f"/applications/{name}/submit").problem["misfits"] == ["region", "industry"]


def test_what_was_submitted_is_reviewed_as_it_was(shared: World, who: Firm, product: str) -> None:
    name = who.submitted(product)
    who.profile(employees=9)
    body = {"product": product, "amount": "999999"}
    assert fails(who.call, "PUT", f"/applications/{name}", json=body).code == "not_editable"
    assert shared.operator.call("GET", f"/v1/applications/{name}")["basic"]["employees"] == 120


# ---- the platform's review


def test_only_what_passes_review_reaches_an_institution(
    shared: World, bank: LabClient, who: Firm, product: str
) -> None:
    """R23, R24."""
    draft = who.draft(product)["id"]
    who.profile()
    name = who.submitted(product)
    queue = ids(shared.operator.call("GET", "/v1/applications", params={"limit": 500}))
    assert name in queue
    assert draft not in queue
    mine = lambda: {r["application"] for r in bank.call("GET", "/v1/referrals")["items"]}  # noqa: E731
    assert name not in mine()
    returned = review(shared, name, decision="return", opinion="请补充还款来源")
    assert (returned["state"], returned["opinion"]) == ("returned", "请补充还款来源")
    assert "application_returned" in who.notices()
    assert name not in mine()
    who.call("POST", f"/applications/{name}/submit")
    pushed = review(shared, name)
    assert [(r["institution"], r["origin"], r["state"]) for r in pushed["referrals"]] == [
        ("bank-a", "product", "received")
    ]
    assert name in mine()
    told = [e["body"]["event"] for e in shared.risk.call("GET", "/v1/consent-events")["events"]]
    assert any(t.get("application_id") == name and t["state"] == "received" for t in told)


def test_a_draft_is_nobodys_but_the_enterprises(shared: World, who: Firm, product: str) -> None:
    name = who.draft(product)["id"]
    assert refused(shared.operator.call, "GET", f"/v1/applications/{name}").status == 404
    assert firm(shared).request("GET", f"/applications/{name}").status_code == 404


def test_a_private_purpose_reaches_the_reviewer_and_does_not_pass_silently(
    shared: World, who: Firm, product: str
) -> None:
    """R22, R50."""
    name = who.submitted(product, purpose="购房首付")
    assert shared.operator.call("GET", f"/v1/applications/{name}")["flags"] == ["购房"]
    assert refused(review, shared, name).code == "flags_not_considered"
    assert review(shared, name, flags_considered=True)["state"] == "pushed"


def test_the_platform_sets_no_credit_result(shared: World, loan: Loan) -> None:
    """R18: the platform is no party. Every route that decides on credit is an officer's, and no officer is its own."""
    table = actions_by_route(create_app(shared.control))
    deciding = {
        action
        for (method, path), action in table.items()
        if method != "GET" and path.startswith(("/v1/referrals", "/v1/credits", "/v1/needs", "/v1/guarantees"))
    }
    assert deciding == {
        Action.REFERRAL_DECIDE, Action.REFERRAL_ASK, Action.CREDIT_REPORT, Action.GUARANTEE_ANSWER,
        Action.MESSAGE_WRITE,
    }  # fmt: skip
    assert all(PERMISSIONS[action].roles == {Role.OFFICER} for action in deciding)
    error = refused(shared.operator.add_account, "own officer", "platform", ["officer"])
    assert error.code == "role_not_for_institution"
    assert refused(accept, shared.operator, loan.referral).code == "role_missing"


# ---- the institution


def test_the_walk_from_acceptance_to_a_credit_leaves_who_attested_each_step(loan: Loan, who: Firm) -> None:
    """R7, R9–R11, R25, R33."""
    accepted = loan.accept()
    assert (accepted["state"], accepted["liaison_name"]) == ("accepted", "陈静")
    assert loan.follow_up()["state"] == "followed_up"
    assert loan.approve()["state"] == "approved"
    credit = loan.result()
    assert (credit["state"], credit["amount"], credit["reported_late"]) == ("granted", "2000000.00", False)
    referral = loan.bank.call("GET", f"/v1/referrals/{loan.referral}")
    assert referral["state"] == "granted"
    assert [(p["step"], p["attested_name"]) for p in referral["progress"]] == [
        (step, "officer-bank-a") for step in ("accept", "follow_up", "approve", "grant")
    ]
    assert all(p["attested_at"] for p in referral["progress"])
    assert who.application(loan.application)["state"] == "closed"
    told = [kind for kind in who.notices() if kind.startswith("referral_")]
    assert told == ["referral_accepted", "referral_followed_up", "referral_approved", "referral_granted"]


def test_a_refusal_needs_its_reason_which_the_enterprise_reads(loan: Loan, who: Firm) -> None:
    """R10."""
    assert refused(loan.step, "refuse").status == 422
    loan.step("refuse", reason="行业限额已满")
    assert who.referral(loan.application)["reason"] == "行业限额已满"
    assert who.application(loan.application)["state"] == "closed"
    assert refused(loan.accept).status == 409


def test_steps_do_not_skip_each_other(loan: Loan) -> None:
    """R11."""
    assert refused(loan.follow_up).status == 409
    assert refused(loan.result).status == 409
    loan.accept()
    assert refused(loan.approve).status == 409
    assert refused(loan.accept).status == 409
    loan.follow_up()
    day = str(today(loan.world))
    assert loan.step("decline", on_day=day, note="现金流不足")["state"] == "declined"
    assert refused(loan.approve).status == 409


def test_a_step_is_on_a_day_since_the_application_and_not_in_the_future(loan: Loan) -> None:
    loan.accept()
    for day in ("2020-01-01", "2099-01-01"):
        assert refused(loan.step, "follow-up", on_day=day, note="x").code == "day_out_of_range"


def test_a_step_rests_only_on_a_use_of_this_enterprise_by_this_institution(loan: Loan) -> None:
    """R14, R27."""
    loan.accept()
    assert refused(loan.follow_up, usage_id="u-0000000000000000").status == 404
    used = {"id": "u-00000000000000aa", "institution": "bank-a", "object_id": loan.firm.uscc}
    with as_owner(loan.world) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO usage (id, at, account_id, user_name, institution, reason, content, object_kind,"
                " object_id, purpose, document) VALUES (:id, now(), 'a', 'a', :institution, 'r', 'c', 'enterprise',"
                " :object_id, 'underwriting_score', '{}')"
            ),
            used,
        )
    followed = loan.follow_up(usage_id="u-00000000000000aa")
    assert followed["progress"][-1]["usage_id"] == "u-00000000000000aa"


def test_another_bank_neither_sees_nor_decides_it(loan: Loan, other: LabClient) -> None:
    assert refused(other.call, "GET", f"/v1/referrals/{loan.referral}").status == 404
    assert refused(accept, other, loan.referral).status == 404
    assert loan.referral not in ids(other.call("GET", "/v1/referrals", params={"limit": 500}))


def test_what_the_enterprise_takes_back_is_taken_back_everywhere(loan: Loan, who: Firm) -> None:
    loan.accept()
    word = {"reason": "已自筹资金"}
    withdrawn = who.call("POST", f"/applications/{loan.application}/withdraw", json=word)
    assert withdrawn["state"] == "withdrawn"
    assert [r["state"] for r in withdrawn["referrals"]] == ["withdrawn"]
    assert refused(loan.follow_up).status == 409
    clocks = loan.bank.call("GET", f"/v1/referrals/{loan.referral}")["clocks"]
    assert all(clock["stopped_at"] for clock in clocks)


# ---- open needs


@pytest.fixture
def offers(shared: World, bank: LabClient, other: LabClient) -> dict[str, str]:
    """Both banks have a product that fits trade finance in Guangdong, a third has one elsewhere."""
    third = officer(shared, "bank-c")
    given = {"product_class": "trade_finance"}
    return {
        "bank-a": shelved(shared, bank, **given),
        "bank-b": shelved(shared, other, **given),
        "bank-c": shelved(shared, third, **given, regions=["320000"]),
    }


def need(who: Firm, **changes: Any) -> str:
    return who.submitted(None, **{"product_class": "trade_finance", **changes})


def test_an_open_need_goes_to_those_whose_products_fit(shared: World, who: Firm, offers: dict[str, str]) -> None:
    """R25."""
    pushed = review(shared, need(who))
    assert {r["institution"]: r["origin"] for r in pushed["referrals"]} == {"bank-a": "rule", "bank-b": "rule"}


def test_the_first_acceptance_closes_nothing_and_the_enterprise_chooses(
    shared: World, bank: LabClient, other: LabClient, who: Firm, offers: dict[str, str]
) -> None:
    """R25."""
    name = need(who)
    review(shared, name)
    mine, theirs = who.referral(name), who.referral(name, "bank-b")
    choice = {"referral": mine["id"], "reason": "利率更低"}
    assert fails(who.call, "POST", f"/applications/{name}/choose", json=choice).code == "not_taken_up"
    accept(bank, mine["id"])
    assert (who.application(name)["state"], who.referral(name, "bank-b")["state"]) == ("pushed", "received")
    accept(other, theirs["id"])
    chosen = who.call("POST", f"/applications/{name}/choose", json=choice)
    assert (chosen["state"], chosen["chosen"]) == ("pushed", mine["id"])
    assert {r["institution"]: r["state"] for r in chosen["referrals"]} == {
        "bank-a": "accepted",
        "bank-b": "withdrawn",
    }
    day = str(today(shared))
    step(bank, mine["id"], "follow-up", on_day=day, note="走访")
    step(bank, mine["id"], "decline", on_day=day, note="抵押不足")
    assert who.application(name)["state"] == "pushed"  # an open need ends when its enterprise says so
    word = {"reason": "不再需要"}
    assert who.call("POST", f"/applications/{name}/withdraw", json=word)["state"] == "withdrawn"


def test_institutions_ask_for_a_need_on_the_board_without_a_name_before(
    shared: World, bank: LabClient, who: Firm
) -> None:
    """R25, R45."""
    name = need(who, product_class="leasing", open_to_all=True)
    review(shared, name)
    shown = next(n for n in bank.call("GET", "/v1/needs")["items"] if n["id"] == name)
    assert who.uscc not in str(shown)
    assert "粤海" not in str(shown)
    referral = bank.call("POST", f"/v1/needs/{name}/ask")
    assert (referral["origin"], referral["state"], referral["enterprise"]) == ("asked", "received", who.uscc)
    assert refused(bank.call, "POST", f"/v1/needs/{name}/ask").code == "exists"
    assert "need_asked" in who.notices()


def test_a_need_that_is_not_open_to_all_cannot_be_asked_for(shared: World, who: Firm, offers: dict[str, str]) -> None:
    name = need(who)
    review(shared, name)
    third = officer(shared, "bank-c")
    assert name not in ids(third.call("GET", "/v1/needs"))
    assert refused(third.call, "POST", f"/v1/needs/{name}/ask").status == 404


def test_a_need_that_fits_nobody_is_pushed_to_those_the_platform_names(
    shared: World, who: Firm, other: LabClient
) -> None:
    name = need(who, product_class="bill")
    assert refused(review, shared, name).code == "nobody_to_refer_to"
    assert refused(review, shared, name, institutions=["lab"]).status == 404
    pushed = review(shared, name, institutions=["bank-b"])
    assert [(r["institution"], r["origin"]) for r in pushed["referrals"]] == [("bank-b", "named")]
    body = {"institutions": ["bank-a", "bank-b"], "reason": "增加推送"}
    more = shared.operator.call("POST", f"/v1/applications/{name}/push", json=body)
    assert {r["institution"] for r in more["referrals"]} == {"bank-a", "bank-b"}


def test_lists_page_without_gap_or_repetition(shared: World, bank: LabClient, product: str) -> None:
    made = {Loan(shared, bank, firm(shared), product).referral for _ in range(5)}
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2, "state": "received", **({"cursor": cursor} if cursor else {})}
        page = bank.call("GET", "/v1/referrals", params=params)
        seen += [r["id"] for r in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert len(seen) == len(set(seen))
    assert made <= set(seen)


# ---- the database itself


class Undone(Exception):
    """So that nothing of it stays."""


def raw(world: World, actor: Actor, statement: str, **values: Any) -> int:
    """Rows that raw SQL touches on behalf of `actor`, past all our code."""
    touched = -1
    with suppress(Undone), world.db.unit(actor) as unit:
        touched = unit.session.execute(sa.text(statement), values).rowcount
        raise Undone
    return touched


def test_the_database_lets_each_party_write_its_own_part_only(shared: World, loan: Loan) -> None:
    """R18, R23: whatever the code does, nobody but the institution writes a result."""
    bank, other = Actor("a", "a", "bank-a"), Actor("b", "b", "bank-b")
    who, platform_less = Actor("e", "e", loan.firm.uscc), Actor("x", "x", "")
    mine = {"id": loan.referral}
    take = "UPDATE referrals SET state = :state WHERE id = :id"
    assert raw(shared, bank, take, state="accepted", **mine) == 1
    assert raw(shared, who, take, state="withdrawn", **mine) == 1
    with pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
        raw(shared, who, take, state="approved", **mine)
    for stranger in (other, platform_less):
        assert raw(shared, stranger, take, state="accepted", **mine) == 0
        for table in ("applications", "referrals", "clocks", "enterprise_profiles"):
            assert raw(shared, stranger, f"SELECT FROM {table} WHERE enterprise = :e", e=loan.firm.uscc) == 0
    change = "UPDATE applications SET amount = 1 WHERE id = :id"
    with pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
        raw(shared, bank, change, id=loan.application)
    close = "UPDATE applications SET state = 'closed' WHERE id = :id"
    assert raw(shared, bank, close, id=loan.application) == 1
    assert raw(shared, other, close, id=loan.application) == 0
    credit = (
        "INSERT INTO credits (id, referral, institution, enterprise, enterprise_name, product_class, region, amount,"
        " rate, term_months, contract_no, approved_on, signed_on, begins_on, ends_on, guarantee, disbursed,"
        " outstanding, classification, days_overdue, state, granted_at, reported_late, version, attested_by,"
        " attested_name, attested_at) SELECT 'cr-x', :id, 'bank-a', :e, 'x', 'x', 'x', 1, 1, 1, 'x', now(), now(),"
        " now(), now(), 'x',"
        " 0, 0, 'normal', 0, 'granted', now(), false, 1, 'x', 'x', now()"
    )
    for forger in (who, other):
        with pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
            raw(shared, forger, credit, e=loan.firm.uscc, **mine)
    assert raw(shared, bank, credit, e=loan.firm.uscc, **mine) == 1
