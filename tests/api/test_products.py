"""Products: reviewed before they are seen, refused by class, flagged by words, filtered by enterprises."""

from __future__ import annotations

from typing import Any

import pytest

from api.client import LabClient
from tests.api.financing import Firm, Refusal, firm, officer, product_body, shelved
from tests.api.test_jobs import refused
from tests.api.world import World


@pytest.fixture(scope="module")
def bank(shared: World) -> LabClient:
    return officer(shared)


@pytest.fixture(scope="module")
def someone(shared: World) -> Firm:
    return firm(shared)


@pytest.fixture(scope="module")
def on_shelf(shared: World, bank: LabClient) -> str:
    return shelved(shared, bank)


def act(client: LabClient, name: str, what: str, **body: Any) -> dict[str, Any]:
    return client.call("POST", f"/v1/products/{name}/{what}", json=body or {"reason": "按规定"})


def made(bank: LabClient, **changes: Any) -> dict[str, Any]:
    return bank.call("POST", "/v1/products", json=product_body(**changes))


def test_a_product_is_seen_only_on_the_shelf_and_only_after_review(
    shared: World, bank: LabClient, someone: Firm
) -> None:
    """R22, R24, R8."""
    product = made(bank, name="walk")
    name = product["id"]
    seen = lambda: someone.request("GET", f"/products/{name}").status_code == 200  # noqa: E731
    assert (product["state"], seen()) == ("draft", False)
    assert refused(act, bank, name, "list").status == 409
    act(bank, name, "submit")
    assert refused(act, bank, name, "list").status == 409
    act(shared.operator, name, "review", decision="return", opinion="利率区间不清")
    assert bank.call("GET", f"/v1/products/{name}")["opinion"] == "利率区间不清"
    bank.call("PUT", f"/v1/products/{name}", json=product_body(name="walk", rate_max="5"))
    act(bank, name, "submit")
    act(shared.operator, name, "review", decision="approve", opinion="合规")
    assert not seen()
    act(bank, name, "list")
    assert seen()
    act(bank, name, "delist")
    assert not seen()
    act(bank, name, "list")
    act(bank, name, "delist")
    act(bank, name, "retire")
    assert refused(act, bank, name, "list").status == 409
    states = [row["to_state"] for row in shared.operator.audit("product", name) if row["to_state"]]
    assert states == [
        "draft", "submitted", "returned", "submitted", "approved",
        "on_shelf", "off_shelf", "on_shelf", "off_shelf", "retired",
    ]  # fmt: skip


def test_what_was_reviewed_is_not_changed_without_another_review(shared: World, bank: LabClient) -> None:
    """R24."""
    name = shelved(shared, bank)
    change = lambda: bank.call("PUT", f"/v1/products/{name}", json=product_body(rate_max="30"))  # noqa: E731
    assert refused(change).code == "not_editable"
    act(bank, name, "delist")
    act(bank, name, "revise")
    assert change()["state"] == "draft"
    assert refused(act, bank, name, "list").status == 409


@pytest.mark.parametrize("product_class", ["personal_consumer", "personal_housing", "credit_card", "wealth", "fund"])
def test_consumer_loans_and_wealth_products_are_refused_by_name(bank: LabClient, product_class: str) -> None:
    """R22."""
    error = refused(made, bank, product_class=product_class)
    assert (error.status, error.code) == (422, "product_class_refused")
    assert "不予发布" in error.message_zh


def test_words_of_a_refused_product_reach_the_reviewer_and_do_not_pass_silently(shared: World, bank: LabClient) -> None:
    """R22: a consumer loan under a business class."""
    name = made(bank, summary="个人消费装修均可使用")["id"]
    flags = act(bank, name, "submit")["flags"]
    assert set(flags) == {"消费", "装修"}
    review = {"decision": "approve", "opinion": "已核查"}
    assert refused(act, shared.operator, name, "review", **review).code == "flags_not_considered"
    assert act(shared.operator, name, "review", **review, flags_considered=True)["state"] == "approved"


def test_the_platform_reviews_and_takes_down_but_writes_no_product(shared: World, bank: LabClient) -> None:
    """R8, R18."""
    assert refused(made, shared.operator).code == "role_missing"
    name = shelved(shared, bank)
    assert refused(act, bank, name, "review", decision="approve", opinion="自审").code == "role_missing"
    taken = act(shared.operator, name, "take-down", reason="宣传不实")
    assert (taken["state"], taken["opinion"]) == ("draft", "宣传不实")
    assert refused(act, bank, name, "list").status == 409


def test_who_attested_and_when_is_on_every_product(shared: World, bank: LabClient) -> None:
    """R9."""
    product = made(bank)
    assert product["attested_name"] == "officer-bank-a"
    assert product["attested_at"]


def test_another_bank_neither_reads_nor_changes_a_draft(shared: World, bank: LabClient) -> None:
    other = officer(shared, "bank-b")
    name = made(bank)["id"]
    assert refused(other.call, "GET", f"/v1/products/{name}").status == 404
    assert refused(other.call, "PUT", f"/v1/products/{name}", json=product_body()).status == 404
    assert refused(act, other, name, "submit").status == 404
    assert name not in {p["id"] for p in other.call("GET", "/v1/products")["items"]}


def test_a_change_from_an_old_version_is_refused(bank: LabClient) -> None:
    name = made(bank)["id"]
    put = lambda tag: bank.call("PUT", f"/v1/products/{name}", json=product_body(), headers={"If-Match": tag})  # noqa: E731
    version = bank.call("GET", f"/v1/products/{name}")["version"]
    assert put(f'"{version}"')["version"] == version + 1
    assert refused(put, f'"{version}"').status == 412


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"amount": 100_000}, True),
        ({"amount": 99_999}, False),
        ({"amount": 5_000_001}, False),
        ({"term_months": 36}, True),
        ({"term_months": 37}, False),
        ({"rate_max": "3.45"}, True),
        ({"rate_max": "3.44"}, False),
        ({"region": "440305"}, True),
        ({"region": "440000"}, True),
        ({"region": "320500"}, False),
        ({"industry": "C3922"}, True),
        ({"industry": "I65"}, False),
        ({"product_class": "working_capital"}, True),
        ({"product_class": "leasing"}, False),
        ({"guarantee": "credit"}, True),
        ({"guarantee": "mortgage"}, False),
        ({"module": "strategic"}, True),
        ({"module": "green"}, False),
        ({"institution": "bank-a"}, True),
        ({"institution": "bank-b"}, False),
    ],
    ids=str,
)
def test_enterprises_filter_products(on_shelf: str, someone: Firm, filters: dict[str, Any], found: bool) -> None:
    """R21; R63: the special modules."""
    names = {p["id"] for p in someone.call("GET", "/products", params={**filters, "limit": 500})["items"]}
    assert (on_shelf in names) == found


def test_a_product_everywhere_and_for_everyone_is_found_anywhere(shared: World, bank: LabClient, someone: Firm) -> None:
    name = shelved(shared, bank, regions=[], industries=[], name="everywhere")
    items = someone.call("GET", "/products", params={"region": "320500", "industry": "I65", "limit": 500})["items"]
    assert name in {p["id"] for p in items}


def test_the_list_pages_by_rate_without_gap_or_repetition(shared: World, bank: LabClient, someone: Firm) -> None:
    for rate in ("3.1", "3.2", "3.2"):
        shelved(shared, bank, rate_min=rate)
    seen, cursor = [], None
    while True:
        page = someone.call("GET", "/products", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        seen += [(float(p["rate_min"]), p["id"]) for p in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == sorted(seen)
    assert len(seen) == len(set(seen)) >= 4


def test_a_suspended_institution_offers_nothing_at_once(shared: World, someone: Firm) -> None:
    """R17."""
    name = shelved(shared, officer(shared, "bank-s"))
    offered = lambda: name in {p["id"] for p in someone.call("GET", "/products", params={"limit": 500})["items"]}  # noqa: E731
    assert offered()
    shared.operator.call("POST", "/v1/institutions/bank-s/suspend", json={"ground": "违规收费"})
    assert not offered()
    application = someone.submitted(name)
    review = {"decision": "pass", "opinion": "齐全"}
    error = refused(shared.operator.call, "POST", f"/v1/applications/{application}/review", json=review)
    assert error.code == "institution_suspended"
    shared.operator.call("POST", "/v1/institutions/bank-s/reinstate", json={"ground": "已整改"})
    assert offered()


def test_staff_and_strangers_are_kept_out_of_what_is_an_enterprises_own(shared: World, bank: LabClient) -> None:
    assert refused(bank.call, "GET", "/v1/my/products").code == "role_missing"
    assert refused(shared.operator.call, "GET", "/v1/my/applications").code == "role_missing"
    looking = firm(shared, rights=("view",))
    with pytest.raises(Refusal) as caught:
        looking.draft()
    assert caught.value.code == "right_missing"
    looking.headers.pop("X-CSRF-Token")
    with pytest.raises(Refusal) as caught:
        looking.draft()
    assert caught.value.code == "csrf_missing"
    looking.headers["Origin"] = "https://evil.example"
    with pytest.raises(Refusal) as caught:
        looking.draft()
    assert caught.value.code == "wrong_origin"
    looking.headers.pop("Cookie")
    assert looking.request("GET", "/products").status_code == 401
