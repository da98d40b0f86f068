"""Statistics before, during and after the loan: right, exportable, and telling of no single enterprise of others."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest

from api.client import LabClient
from api.statistics.service import withheld
from api.workdays import ZONE
from tests.api.financing import Loan, firm, officer, shelved
from tests.api.test_jobs import refused
from tests.api.world import World


@pytest.fixture(scope="module")
def book(shared: World) -> World:
    """bank-a: four applications, three lent, of which one overdue; bank-b: two granted, one of them paid out."""
    bank, other = officer(shared), officer(shared, "bank-b")
    mine, theirs = shelved(shared, bank), shelved(shared, other)
    loans = [Loan(shared, bank, firm(shared), mine) for _ in range(4)]
    loans[0].step("refuse", reason="不符合条件")
    lent = [loan.lent() for loan in loans[1:]]
    loans[1].status(lent[0], "overdue", classification="special_mention", days_overdue=5, outstanding="500000")
    away = [Loan(shared, other, firm(shared), theirs) for _ in range(2)]
    paid, granted = away[0].granted(rate="5"), away[1].granted(rate="3")
    away[0].pay(paid, "1000000")
    assert granted
    return shared


def ask(client: LabClient, stage: str, *by: str, **more: Any) -> dict[tuple[str | None, ...], dict[str, Any]]:
    found = client.call("GET", "/v1/statistics", params={"stage": stage, "by": list(by), **more})
    return {tuple(g["keys"][name] for name in by): {**g["figures"], "withheld": g["withheld"]} for g in found["groups"]}


def test_before_during_and_after_the_loan_by_institution(book: World) -> None:
    """R26."""
    every = {"everybody": True}
    before = ask(book.operator, "before", "institution", **every)
    assert set(before) == {("bank-a",), ("bank-b",)}
    a = before[("bank-a",)]
    assert (a["applications"], a["accepted"], a["refused"], a["granted"], a["late"]) == (4, 3, 1, 3, 0)
    assert a["amount"] == "8000000.00"
    during = ask(book.operator, "during", "institution", **every)
    assert (during[("bank-a",)]["credits"], during[("bank-a",)]["disbursed"]) == (3, "6000000.00")
    assert during[("bank-b",)]["rate"] == "4.0000"  # weighted by amount
    after = ask(book.operator, "after", "institution", **every)
    a = after[("bank-a",)]
    assert (a["credits"], a["normal"], a["overdue"], a["overdue_amount"]) == (3, 2, 1, "500000.00")
    assert after[("bank-b",)]["credits"] == 1  # one was never paid out


def test_by_region_product_and_month(book: World) -> None:
    """R26."""
    month = book.clock().astimezone(ZONE).strftime("%Y-%m")
    assert set(ask(book.operator, "before", "region", "month", everybody=True)) == {("440305", month)}
    by_product = ask(book.operator, "during", "product", everybody=True)
    assert sorted(figures["credits"] for figures in by_product.values()) == [2, 3]
    nothing = ask(book.operator, "before", "month", everybody=True, last="2024-12")
    assert nothing == {}
    assert ask(book.operator, "before", "month", everybody=True, first=month, last=month)[(month,)]["applications"] == 6


def test_an_institution_sees_its_own_whole_and_of_others_no_small_group(book: World) -> None:
    """R45: two enterprises of another bank are too few, four are not."""
    a, b = officer(book), officer(book, "bank-b")
    assert set(ask(b, "before", "institution")) == {("bank-b",)}
    assert ask(b, "before", "institution")[("bank-b",)]["applications"] == 2
    seen_by_a = ask(a, "before", "institution", everybody=True)
    assert seen_by_a[("bank-a",)]["applications"] == 4
    assert seen_by_a[("bank-b",)]["withheld"] is True
    assert seen_by_a[("bank-b",)]["applications"] is None
    seen_by_b = ask(b, "before", "institution", everybody=True)
    assert seen_by_b[("bank-a",)]["applications"] == 4


def test_what_is_left_after_taking_ones_own_off_is_not_a_small_group(book: World) -> None:
    """R45: bank-a could subtract its four from six."""
    assert ask(officer(book), "before", "region", everybody=True)[("440305",)]["withheld"] is True
    assert ask(officer(book, "bank-b"), "before", "region", everybody=True)[("440305",)]["applications"] == 6


@pytest.mark.parametrize(
    ("others", "own", "hidden"),
    [(0, False, False), (1, False, True), (2, False, True), (3, False, False), (1, True, False)],
)
def test_the_least_number_of_enterprises(others: int, own: bool, hidden: bool) -> None:
    assert withheld(others, 3, own) is hidden


def test_figures_are_exported_as_csv(book: World) -> None:
    """R26."""
    headers = {"Authorization": f"Bearer {book.tokens['officer-bank-a']}"}
    params = {"stage": "before", "by": ["institution"], "everybody": True, "format": "csv"}
    answer = httpx.get(f"{book.url}/v1/statistics", params=params, headers=headers)
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(r["institution"], r["applications"], r["withheld"]) for r in rows] == [
        ("bank-a", "4", "false"),
        ("bank-b", "", "true"),
    ]


def test_what_cannot_be_asked_is_refused(book: World) -> None:
    for params in ({"stage": "before"}, {"stage": "now", "by": "month"}, {"stage": "after", "by": "enterprise"}):
        assert refused(book.operator.call, "GET", "/v1/statistics", params=params).status == 422
    bad = {"stage": "after", "by": "month", "first": "2026-13"}
    assert refused(book.operator.call, "GET", "/v1/statistics", params=bad).status == 422
    assert refused(book.risk.call, "GET", "/v1/statistics", params={"stage": "after", "by": "month"}).status == 403
