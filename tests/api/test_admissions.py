"""Institutions let in on papers, their admins by written application; the work that keeps enterprises' records true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from api.client import LabClient
from api.db import SYSTEM
from api.enterprises import repository
from api.workdays import add_workdays, local_day, workdays_between
from tests.api.conftest import Databases
from tests.api.test_jobs import refused
from tests.api.world import World, admin_of

A = admin_of("first.admin", "李甲", "13800000001")
B = admin_of("second.admin", "赵乙", "13800000002")
AGREEMENT = {"reference": "AG-9", "signed_on": "2026-02-02"}
ASSESSMENT = {"reference": "SA-9", "assessor": "某测评中心", "assessed_on": "2026-02-03"}


@pytest.fixture(scope="module")
def house(new_database: Databases) -> Iterator[World]:
    week = 7 * 86400
    world = World.inhabited(new_database, staff_idle_seconds=week, staff_session_seconds=week)
    yield world
    world.close()


def application(world: World, **changes: Any) -> dict[str, Any]:
    today = local_day(world.clock()).isoformat()
    return {
        "kind": "open",
        "institution": "bank-a",
        "institution_name": "某某银行",
        "bank_code": "102100099996",
        "dated": today,
        "effective_on": today,
        "admin_a": A,
        "admin_b": B,
        "network_contact": {"name": "王网管", "contact": "010-88886666"},
        "pledge": True,
        **changes,
    }


def apply(world: World, who: LabClient | None = None, **changes: Any) -> Any:
    return (who or world.operator).call("POST", "/v1/admissions", json=application(world, **changes))


def denied(world: World, **changes: Any) -> str:
    body = application(world, **changes)
    return refused(world.operator.call, "POST", "/v1/admissions", json=body).code


# ---- institutions


def test_an_institution_is_opened_by_the_operator_and_by_nobody_else(house: World) -> None:
    """R1."""
    body = {"id": "bank-z", "name": "Z", "kind": "bank"}
    assert refused(house.risk.call, "POST", "/v1/institutions", json=body).code == "role_missing"
    with httpx.Client(base_url=house.url) as http:
        assert http.post("/v1/institutions", json=body).status_code == 401


def test_nothing_is_open_before_agreement_and_security_assessment_are_on_record(house: World) -> None:
    """R32, R52."""
    house.operator.add_institution("bank-n", "Bank N", "bank", None)
    risk = house.person("risk-n", "bank-n", "risk")
    node = house.node("node-n", "bank", "bank-n")
    assert node.http.get("/v1/feed").json()["code"] == "institution_not_admitted"
    assert refused(risk.jobs).code == "institution_not_admitted"
    house.operator.call("PUT", "/v1/institutions/bank-n/agreement", json=AGREEMENT)
    assert refused(risk.jobs).code == "institution_not_admitted"
    made = apply(house, institution="bank-n")
    house.operator.call("POST", f"/v1/admissions/{made['id']}/approve", json={"opinion": "ok"})
    path = f"/v1/admissions/{made['id']}/carry-out"
    assert refused(house.operator.call, "POST", path).code == "institution_not_admitted"
    said = house.operator.call("PUT", "/v1/institutions/bank-n/assessment", json=ASSESSMENT)
    assert said["state"] == "active"
    assert risk.jobs() == []


def test_an_unsafe_institution_rectifies_and_is_assessed_again_before_it_comes_back(house: World) -> None:
    """R52: rectify or remove after."""
    house.operator.add_institution("bank-u", "Bank U", "bank")
    risk = house.person("risk-u", "bank-u", "risk")
    house.operator.call("POST", "/v1/institutions/bank-u/rectify", json={"ground": "open port found"})
    assert refused(risk.jobs).code == "institution_rectifying"
    house.operator.call("PUT", "/v1/institutions/bank-u/agreement", json=AGREEMENT)
    assert refused(risk.jobs).code == "institution_rectifying"
    house.operator.call("PUT", "/v1/institutions/bank-u/assessment", json=ASSESSMENT)
    assert risk.jobs() == []


def test_a_guarantee_company_comes_in_the_same_way(house: World) -> None:
    """R32: guarantee companies and other non-banks too."""
    house.operator.add_institution("guard", "某某担保", "guarantor", None)
    house.operator.call("PUT", "/v1/institutions/guard/agreement", json=AGREEMENT)
    assert house.operator.call("PUT", "/v1/institutions/guard/assessment", json=ASSESSMENT)["state"] == "active"
    opened = house.apply(
        "guard", admin_of("guard.a", "钱丙", "13700000001"), admin_of("guard.b", "孙丁", "13700000002")
    )
    assert len(opened["people"]) == 2


# ---- applications


def test_admins_come_by_an_application_that_the_operator_decides_with_an_opinion(house: World) -> None:
    """R1, R2."""
    made = apply(house)
    assert made["state"] == "submitted"
    path = f"/v1/admissions/{made['id']}"
    assert refused(house.operator.call, "POST", f"{path}/carry-out").code == "illegal_transition"
    assert refused(house.operator.call, "POST", f"{path}/approve", json={"opinion": ""}).code == "invalid_request"
    done = house.operator.call("POST", f"{path}/approve", json={"opinion": "材料齐全"})
    assert (done["opinion"], done["decided_by"] is not None) == ("材料齐全", True)
    people = house.operator.call("POST", f"{path}/carry-out")["people"]
    assert [one["login"] for one in people] == ["first.admin", "second.admin"]
    signed = house.sign_in("first.admin", people[0]["code"])
    assert signed.client.whoami()["level"] == "admin"
    assert refused(house.operator.call, "POST", f"{path}/carry-out").code == "illegal_transition"


def test_an_application_may_be_returned_with_an_opinion(house: World) -> None:
    """R2."""
    path = f"/v1/admissions/{apply(house)['id']}"
    back = house.operator.call("POST", f"{path}/return", json={"opinion": "承诺书未盖章"})
    assert (back["state"], back["opinion"]) == ("returned", "承诺书未盖章")
    assert refused(house.operator.call, "POST", f"{path}/approve", json={"opinion": "ok"}).code == "illegal_transition"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"admin_b": A}, "admins_same_person"),
        ({"admin_b": {**B, "name": A["name"]}}, "admins_same_person"),
        ({"admin_b": {**B, "contact": A["contact"]}}, "admins_same_person"),
        ({"pledge": False}, "invalid_request"),
        ({"network_contact": {"name": "王网管"}}, "invalid_request"),
        ({"bank_code": None}, "bank_code_missing"),
        ({"bank_code": "12"}, "invalid_request"),
        ({"kind": "revoke"}, "operations_do_not_fit"),
        ({"institution": "nowhere"}, "not_found"),
        ({"effective_on": "2020-01-01"}, "day_is_over"),
    ],
)
def test_an_application_names_two_people_a_network_contact_and_the_pledge(
    house: World, changes: dict[str, Any], code: str
) -> None:
    """R2."""
    assert denied(house, **changes) == code


def test_a_change_of_admins_is_applied_for_three_working_days_ahead(make_world: Callable[..., World]) -> None:
    """R5."""
    week = 7 * 86400
    world = make_world(staff_idle_seconds=week, staff_session_seconds=week)
    world.apply("bank-a", A, B)
    leaving, coming = {**B, "op": "revoke"}, admin_of("third.admin", "周丙", "13800000003")
    change = {"kind": "change", "admin_a": coming, "admin_b": leaving}
    now = world.clock()
    day = local_day(add_workdays(now, 3) - timedelta(seconds=1))
    assert workdays_between(now, add_workdays(now, 3) - timedelta(seconds=1)) == 3
    early = local_day(add_workdays(now, 2) - timedelta(seconds=1))
    assert denied(world, **change, effective_on=early.isoformat()) == "notice_too_short"
    made = apply(world, **change, effective_on=day.isoformat())
    path = f"/v1/admissions/{made['id']}"
    world.operator.call("POST", f"{path}/approve", json={"opinion": "ok"})
    assert refused(world.operator.call, "POST", f"{path}/carry-out").code == "not_yet"
    world.clock.advance((add_workdays(now, 3) - world.clock()).total_seconds() - 60)
    (new,) = world.operator.call("POST", f"{path}/carry-out")["people"]
    assert new["login"] == "third.admin"
    people = {one["login"]: one["state"] for one in world.operator.call("GET", "/v1/staff")["items"]}
    assert people["second.admin"] == "cancelled"


def test_a_reset_by_application_ends_the_old_password_and_sessions(house: World) -> None:
    """R2."""
    house.operator.add_institution("bank-r", "Bank R", "bank")
    a, b = admin_of("reset.a", "吴一", "13600000001"), admin_of("reset.b", "郑二", "13600000002")
    signed = house.sign_in("reset.a", house.apply("bank-r", a, b)["people"][0]["code"])
    again = house.apply("bank-r", {**a, "op": "reset"}, {**b, "op": "reset"}, kind="reset")["people"]
    assert refused(signed.client.whoami).status == 401
    assert house.sign_in("reset.a", again[0]["code"], "Another-Harbour-93").client.whoami()["level"] == "admin"
    house.operator.add_institution("bank-r2", "Bank R2", "bank")
    other = {**a, "op": "revoke"}, {**b, "op": "revoke"}
    made = apply(house, institution="bank-r2", kind="revoke", admin_a=other[0], admin_b=other[1])
    house.operator.call("POST", f"/v1/admissions/{made['id']}/approve", json={"opinion": "ok"})
    path = f"/v1/admissions/{made['id']}/carry-out"
    assert refused(house.operator.call, "POST", path).status == 404  # another bank's admin


def test_an_admin_applies_for_the_own_institution_and_does_not_decide(house: World) -> None:
    """R2, R3."""
    house.operator.add_institution("bank-d", "Bank D", "bank")
    signed = house.admin("admin.d", "bank-d")
    leaving = [admin_of("admin.d", "李甲", "13800000001", "revoke"), admin_of("x.b", "赵乙", "13800000002", "revoke")]
    mine = {"institution": "bank-d", "kind": "revoke", "admin_a": leaving[0], "admin_b": leaving[1]}
    made = apply(house, signed.client, **mine)
    path = f"/v1/admissions/{made['id']}"
    assert refused(signed.client.call, "POST", f"{path}/approve", json={"opinion": "ok"}).code == "role_missing"
    body = application(house, institution="bank-a")
    assert refused(signed.client.call, "POST", "/v1/admissions", json=body).code == "other_institution"
    assert {one["institution"] for one in signed.client.call("GET", "/v1/admissions")["items"]} == {"bank-d"}
    assert signed.client.call("POST", f"{path}/withdraw")["state"] == "withdrawn"


# ---- enterprises


CODES = iter(["91350100M000100Y43", "91110108MA00DEM06X", "91440101MA5T000220"])
FIRM = {"name": "某某科技", "contact_name": "张三", "contact": "13911112222"}


def register(world: World, uscc: str, **changes: Any) -> httpx.Response:
    with httpx.Client(base_url=world.url) as http:
        return http.post("/v1/enterprises/registrations", json={"uscc": uscc, **FIRM, **changes})


def active(world: World, uscc: str) -> None:
    """Registered, verified, and enrolled by its first code."""
    register(world, uscc)
    world.operator.call("POST", f"/v1/enterprises/{uscc}/verify", json={"reason": "licence seen"})
    with world.db.unit(SYSTEM) as unit:  # what its first passkey does
        row = repository.enterprise(unit.session, uscc, lock=True)
        assert row is not None
        unit.transition(row, "active", "enterprise.enrol", "enrolled")


def test_an_enterprise_registers_itself_and_is_verified_before_it_can_come_in(house: World) -> None:
    """R19."""
    assert register(house, "91350100M000100Y4Z").json()["code"] == "uscc_invalid"
    uscc = next(CODES)
    assert register(house, uscc).status_code == 202
    assert house.operator.call("GET", f"/v1/enterprises/{uscc}")["state"] == "registered"
    detail = house.operator.call("GET", f"/v1/enterprises/{uscc}")
    assert detail["people"] == []  # nobody to sign in as, no code to sign in with
    house.operator.call("POST", f"/v1/enterprises/{uscc}/reject", json={"reason": "name differs from the licence"})
    assert register(house, uscc, name="某某科技有限公司").status_code == 202
    new = house.operator.call("POST", f"/v1/enterprises/{uscc}/verify", json={"reason": "licence seen"})
    assert (new["enterprise"]["state"], new["enterprise"]["name"]) == ("invited", "某某科技有限公司")
    assert new["code"]


def test_registering_tells_nobody_who_is_on_record(house: World) -> None:
    """R19: and what is on record is left as it is."""
    uscc = next(CODES)
    first, again = register(house, uscc), register(house, uscc, name="另一名称")
    assert first.json() == again.json()
    assert house.operator.call("GET", f"/v1/enterprises/{uscc}")["name"] == FIRM["name"]


@pytest.fixture(scope="module")
def firm(house: World) -> str:
    uscc = next(CODES)
    active(house, uscc)
    return uscc


def test_an_institution_certifies_what_it_has_checked_offline(house: World, firm: str) -> None:
    """R12."""
    body = {"visited_on": "2026-03-03", "found": "住所、经营一致"}
    said = house.risk.call("PUT", f"/v1/enterprises/{firm}/certification", json=body)
    assert (said["institution"], said["state"]) == ("bank-a", "standing")
    house.operator.add_institution("bank-c", "Bank C", "bank")
    other = house.person("risk-c", "bank-c", "risk")
    assert other.call("GET", f"/v1/enterprises/{firm}/certifications")["items"] == []
    path = f"/v1/enterprises/{firm}/certifications/bank-a/revoke"
    assert refused(other.call, "POST", path, json={"reason": "false"}).code == "role_missing"
    gone = house.operator.call("POST", path, json={"reason": "nobody was there: a false certification"})
    assert gone["state"] == "revoked"
    unknown = house.risk.call
    nobody = refused(unknown, "PUT", "/v1/enterprises/91350100M000100Y43/certification", json=body)
    assert nobody.status == 404  # registered and verified, but never signed in


def test_stale_data_are_prompted_corrected_within_ten_working_days_and_followed_up(house: World, firm: str) -> None:
    """R13."""
    body = {"item": "registered address", "text": "moved in May"}
    made = house.risk.call("POST", f"/v1/enterprises/{firm}/corrections", json=body)
    due = datetime.fromisoformat(made["due_at"])
    assert workdays_between(house.clock(), due - timedelta(seconds=1)) == 10
    other = house.person("risk-elsewhere", "bank-c", "risk")
    follow = f"/v1/enterprises/corrections/{made['id']}/follow-up"
    assert refused(other.call, "POST", follow, json={"to": "closed", "outcome": "x"}).status == 404
    closing = {"to": "closed", "outcome": "the new address is on record"}
    assert refused(house.risk.call, "POST", follow, json=closing).code == "illegal_transition"

    def overdue() -> list[str]:
        found = house.risk.call("GET", "/v1/enterprises/corrections", params={"overdue": True})["items"]
        return [one["id"] for one in found]

    assert overdue() == []
    house.clock.advance((due - house.clock()).total_seconds() + 1)
    assert overdue() == [made["id"]]
    answer = f"/v1/enterprises/corrections/{made['id']}/answer"
    assert house.gateway.call("POST", answer, json={"answer": "corrected"})["state"] == "corrected"
    assert overdue() == []
    assert house.risk.call("POST", follow, json=closing)["state"] == "closed"
