"""Parties of the financing workflow over HTTP: enterprises with a person signed in, officers of banks, guarantors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import httpx
import numpy as np
import sqlalchemy as sa

from api.client import LabClient
from api.db import SYSTEM
from api.enterprises import repository, sessions
from api.workdays import local_day
from features.uscc import simulate
from tests.api.world import World

ORIGIN = "https://localhost:8443"
_CODES = iter(simulate(np.random.default_rng(71), 3000))
_numbers = itertools.count(1)


class Refusal(AssertionError):
    """What the control plane answered instead."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.status_code} {answer.text}")
        self.status = answer.status_code
        self.problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        self.code = self.problem.get("code")


@dataclass
class Firm:
    """An enterprise and its person's browser."""

    world: World
    uscc: str
    http: httpx.Client
    headers: dict[str, str] = field(default_factory=dict)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        return self.http.request(method, f"/v1/my{path}", headers=headers, **options)

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = self.request(method, path, **options)
        if answer.is_error:
            raise Refusal(answer)
        return answer.json()

    # ---- shortcuts

    def profile(self, **changes: Any) -> dict[str, Any]:
        body = {
            "region": "440305",
            "industry": "C3922",
            "size": "small",
            "established_on": "2015-06-01",
            "employees": 120,
            "annual_revenue": "56000000.00",
            "address": "深圳市南山区",
            "contact_name": "王敏",
            "contact": "0755-0000000",
            "certifications": ["high_tech"],
        }
        return self.call("PUT", "/profile", json={**body, **changes})

    def draft(self, product: str | None = None, **changes: Any) -> dict[str, Any]:
        body: dict[str, Any] = {
            "amount": "2000000.00",
            "term_months": 12,
            "rate_most": "6",
            "purpose": "采购生产原料",
            "repayment": "销售回款",
            "guarantees": ["credit"],
        }
        body |= {"product": product} if product is not None else {"product_class": "working_capital"}
        return self.call("POST", "/applications", json={**body, **changes})

    def submitted(self, product: str | None = None, **changes: Any) -> str:
        """An application that was handed in; the profile is made when there is none."""
        if self.request("GET", "/profile").status_code == 404:
            self.profile()
        name = self.draft(product, **changes)["id"]
        assert self.call("POST", f"/applications/{name}/submit")["state"] == "submitted"
        return name

    def application(self, name: str) -> dict[str, Any]:
        return self.call("GET", f"/applications/{name}")

    def referral(self, name: str, institution: str = "bank-a") -> dict[str, Any]:
        return next(r for r in self.application(name)["referrals"] if r["institution"] == institution)

    def notices(self) -> list[str]:
        with self.world.db.read(SYSTEM) as session:
            from api.consents.requests import notices

            return [row.kind for row in notices(session, self.uscc, 0, 500)]


def firm(world: World, rights: tuple[str, ...] = ("view", "decide", "withdraw", "manage")) -> Firm:
    """An enterprise on record whose person is signed in."""
    uscc = next(_CODES)
    number = next(_numbers)
    with world.db.unit(SYSTEM) as unit:
        row = repository.Enterprise(
            uscc=uscc,
            name=f"粤海精密{number}",
            subject="company",
            contact_name="王敏",
            contact="0",
            created_at=unit.now,
        )
        unit.create(row, "test", "test", state="invited")
        unit.transition(row, "active", "test", "test")
        person = repository.Person(
            id=f"ep-{number:012x}", enterprise=uscc, name="王敏", rights=list(rights), created_at=unit.now
        )
        unit.create(person, "test", "test", state="invited")
        unit.transition(person, "active", "test", "test")
        token = sessions.open_session(unit, world.control, person, sessions.PORTAL, "test")
    headers = {"Cookie": f"{sessions.COOKIE}={token}", "Origin": ORIGIN}
    made = Firm(world, uscc, httpx.Client(base_url=world.url, timeout=30), headers)
    world.clients.append(made.http)  # type: ignore[arg-type]  # closed with the world's own
    made.headers["X-CSRF-Token"] = made.call("GET", "/session")["csrf"]
    return made


def officer(world: World, institution: str = "bank-a") -> LabClient:
    """The officer of an institution, which is opened as a bank when it is not on record."""
    name = f"officer-{institution}"
    if name in world.tokens:
        return world.client(name)
    known = {one["id"] for one in world.operator.call("GET", "/v1/institutions")["items"]}
    if institution not in known:
        kind = "guarantor" if institution.startswith("guarantor") else "bank"
        world.operator.add_institution(institution, institution, kind)
    return world.person(name, institution, "officer")


@contextmanager
def as_owner(world: World) -> Iterator[sa.Connection]:
    """The database's owner, past triggers and policies, for rows that would take a whole job to come about."""
    with world.db.owner.begin() as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        yield connection


def product_body(**changes: Any) -> dict[str, Any]:
    body = {
        "name": "科创流贷",
        "product_class": "working_capital",
        "summary": "面向科技型小微企业的流动资金贷款",
        "amount_min": "100000",
        "amount_max": "5000000",
        "term_min": 3,
        "term_max": 36,
        "rate_min": "3.45",
        "rate_max": "5.60",
        "guarantees": ["credit", "guaranteed"],
        "regions": ["440000"],
        "industries": ["C"],
        "modules": ["strategic"],
        "conditions": "成立满两年，纳税正常",
        "materials": ["营业执照", "近两年财务报表"],
        "liaison_name": "陈静",
        "liaison_contact": "020-0000000",
    }
    return {**body, **changes}


def shelved(world: World, bank: LabClient, **changes: Any) -> str:
    """A product on the shelf."""
    name = bank.call("POST", "/v1/products", json=product_body(**changes))["id"]
    bank.call("POST", f"/v1/products/{name}/submit", json={"reason": "请审核"})
    world.operator.call("POST", f"/v1/products/{name}/review", json={"decision": "approve", "opinion": "合规"})
    assert bank.call("POST", f"/v1/products/{name}/list", json={"reason": "上架"})["state"] == "on_shelf"
    return name


def today(world: World) -> date:
    return local_day(world.clock())


class Loan:
    """One application for a product before its bank, step by step."""

    def __init__(self, world: World, bank: LabClient, who: Firm, product: str) -> None:
        self.world, self.bank, self.firm = world, bank, who
        self.application = who.submitted(product)
        world.operator.call(
            "POST", f"/v1/applications/{self.application}/review", json={"decision": "pass", "opinion": "材料齐全"}
        )
        (referral,) = who.application(self.application)["referrals"]
        self.referral = referral["id"]

    def step(self, what: str, **body: Any) -> dict[str, Any]:
        return self.bank.call("POST", f"/v1/referrals/{self.referral}/{what}", json=body)

    def accept(self) -> dict[str, Any]:
        return self.step("accept", liaison_name="陈静", liaison_contact="020-0000000")

    def follow_up(self, **more: Any) -> dict[str, Any]:
        return self.step("follow-up", on_day=str(today(self.world)), note="实地走访", **more)

    def approve(self, amount: str = "2000000", **more: Any) -> dict[str, Any]:
        day = str(today(self.world))
        return self.step("approve", **{"on_day": day, "note": "审批通过", "approved_amount": amount, **more})

    def result(self, **changes: Any) -> dict[str, Any]:
        day = today(self.world)
        body = {
            "amount": "2000000",
            "rate": "4.35",
            "term_months": 12,
            "contract_no": f"HT-{next(_numbers)}",
            "signed_on": str(day),
            "begins_on": str(day),
            "ends_on": str(day.replace(year=day.year + 1, day=min(day.day, 28))),
            "guarantee": "credit",
        }
        return self.step("result", **{**body, **changes})

    def granted(self, **changes: Any) -> str:
        """The number of its credit."""
        self.accept()
        self.follow_up()
        self.approve()
        return self.result(**changes)["id"]

    def lent(self, amount: str = "2000000") -> str:
        credit = self.granted()
        self.pay(credit, amount)
        return credit

    def pay(self, credit: str, amount: str, voucher: str = "JJ-1") -> dict[str, Any]:
        body = {"voucher": voucher, "amount": amount, "paid_on": str(today(self.world))}
        return self.bank.call("POST", f"/v1/credits/{credit}/disbursements", json=body)

    def status(self, credit: str, status: str, **changes: Any) -> dict[str, Any]:
        body = {
            "as_of": str(today(self.world)),
            "status": status,
            "classification": "normal",
            "outstanding": "2000000",
            "days_overdue": 0,
            "note": "贷后检查",
        }
        return self.bank.call("POST", f"/v1/credits/{credit}/status", json={**body, **changes})
