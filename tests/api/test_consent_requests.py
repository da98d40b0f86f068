"""Banks ask, enterprises answer or do not: bounds, quiet periods, files of many, expiry (R14, R50, R51)."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from api.client import LabError
from api.consents import requests
from api.db import SYSTEM
from consent import artefact
from consent.book import ConsentBook, verify_event
from consent.canonical import digest
from consent.signed import sign, verify
from consent.times import stamp
from features.uscc import simulate
from tests.api.test_jobs import refused
from tests.api.world import Enterprise, World

_CODES = iter(simulate(np.random.default_rng(8), 500))


def enrolled(world: World) -> Enterprise:
    body = {"uscc": next(_CODES), "name": "试验企业", "contact_name": "王敏", "contact": "0000-0000000"}
    return Enterprise(world.operator.call("POST", "/v1/enterprises", json=body)["enterprise"]["uscc"])


def ask(world: World, enterprise: Enterprise | str, **changes: Any) -> dict[str, Any]:
    name = enterprise if isinstance(enterprise, str) else enterprise.name
    body = {"enterprise": name, "provider": "lab", "purpose": "underwriting_score", "valid_days": 90, **changes}
    return world.risk.call("POST", "/v1/consent-requests", json=body)


def answer(enterprise: Enterprise, asked: dict[str, Any], kind: str = "consent", **narrower: Any) -> bytes:
    offer = asked["document"]["body"]
    body = artefact.answer(
        offer,
        kind,
        digest=digest(offer),
        given_at=stamp(datetime.now(UTC)),
        evidence={"kind": "import", "reference": "0" * 64},
        **narrower,
    )
    return json.dumps(sign(body, enterprise.key, "enterprise")).encode()


def take(world: World, *lines: bytes) -> dict[str, Any]:
    return world.gateway.import_consents(list(lines))


def test_a_request_is_signed_by_the_platform_and_told_to_the_bank(world: World) -> None:
    """R14: what the enterprise will be shown is what was asked."""
    one = enrolled(world)
    asked = ask(world, one, reason="贷款申请 17 号")
    body = verify(asked["document"], "platform", world.key.public)
    assert (body["recipient"], body["enterprise"], body["type"]) == ("bank-a", one.name, "request")
    assert (asked["state"], asked["reason"]) == ("requested", "贷款申请 17 号")
    [event] = world.risk.call("GET", "/v1/consent-events")["events"]
    told = verify(event, "platform", world.key.public)
    assert (told["kind"], told["event"]["state"], told["event"]["consent_id"]) == (
        "request", "requested", asked["consent_id"],
    )  # fmt: skip


def test_the_answer_ends_the_request_and_grants_what_it_says(world: World) -> None:
    one = enrolled(world)
    asked = ask(world, one)
    result = take(world, answer(one, asked, window_months=24))
    assert (result["accepted"], result["errors"]) == (1, [])
    assert world.risk.call("GET", f"/v1/consent-requests/{asked['consent_id']}")["state"] == "active"
    [row] = world.risk.consents(one.name)
    assert (row["consent_id"], row["state"], row["sequence"]) == (asked["consent_id"], "active", 1)
    book = ConsentBook()
    for event in world.bank.feed()["events"]:
        verify_event(event, world.key.public)
        book.apply(event)
    entry = book.by_id(asked["consent_id"])
    assert entry is not None and entry.terms.window_months == 24
    again = take(world, answer(one, asked, "refusal"))
    assert again["errors"][0]["code"] == "consent_id_reused"


def test_an_answer_that_says_more_than_the_request_is_refused(world: World) -> None:
    one = enrolled(world)
    asked = ask(world, one, terms={"window_months": 12})
    offer = asked["document"]["body"]
    wider = {**offer, "window_months": 24}
    terms = {k: wider[k] for k in wider.keys() - {"type", "version", "at", "notice"}}
    body = artefact.consent(
        given_at=stamp(datetime.now(UTC)),
        evidence={"kind": "import", "reference": "0" * 64},
        request=digest(offer),
        **terms,
    )
    [error] = take(world, json.dumps(sign(body, one.key, "enterprise")).encode())["errors"]
    assert error["code"] == "malformed_document"
    assert "window_months" in error["message"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"purpose": "marketing"}, "purpose_not_allowed"),
        ({"terms": {"window_months": 61}}, "exceeds_template"),
        ({"valid_days": 800}, "exceeds_template"),
        ({"terms": {"modes": ["raw_detail"]}}, "malformed_document"),
        ({"terms": {"data": {"key_persons": "*"}}}, "person_consent_missing"),
        ({"provider": "bank-a"}, "not_found"),
        ({"enterprise": "91350100M000100Y43"}, "not_found"),
        ({"valid_days": None}, "invalid_request"),
        ({"surprise": 1}, "invalid_request"),
    ],
)
def test_what_may_not_be_asked_is_refused_by_name(shared: World, changes: dict[str, Any], code: str) -> None:
    """R50, R51: financing only, and no more than the template of the purpose."""
    one = enrolled(shared)
    body = {"enterprise": one.name, "provider": "lab", "purpose": "underwriting_score", "valid_days": 90, **changes}
    denied = refused(shared.risk.call, "POST", "/v1/consent-requests", json=body)
    assert denied.code == code
    assert denied.message_zh
    assert shared.risk.call("GET", "/v1/consent-requests", params={"enterprise": one.name})["items"] == []


def test_after_a_no_nobody_is_asked_again_before_the_quiet_period_is_over(make_world: Any) -> None:
    """网络数据安全管理条例: no repeated asking, under another provider's name neither."""
    world = make_world(quiet_after_refusal_days=10, quiet_after_withdrawal_days=5)
    world.operator.add_institution("lab-2", "Another lab", "lab")
    one, two = enrolled(world), enrolled(world)
    take(world, answer(one, ask(world, one), "refusal"))
    take(world, answer(two, ask(world, two)))
    given = world.risk.consents(two.name)[0]["consent_id"]
    take(world, two.withdrawal(given))
    for who in (one, two):
        denied = refused(ask, world, who)
        assert denied.code == "quiet_period"
        assert refused(ask, world, who, provider="lab-2").code == "quiet_period"
        assert ask(world, who, purpose="report_query")["state"] == "requested"  # another purpose, another question
    world.clock.advance(5 * 86_400 + 60)
    assert ask(world, two)["state"] == "requested"
    assert refused(ask, world, one).code == "quiet_period"
    world.clock.advance(5 * 86_400)
    assert ask(world, one)["state"] == "requested"


def test_a_refused_renewal_leaves_the_consent_and_quiets_the_asking(world: World) -> None:
    one = enrolled(world)
    first = ask(world, one)
    take(world, answer(one, first))
    assert refused(ask, world, one).code == "consent_stands"
    renewal = ask(world, one, supersedes=first["consent_id"], valid_days=180)
    assert take(world, answer(one, renewal, "refusal"))["refused"] == 1
    assert [c["state"] for c in world.risk.consents(one.name)] == ["active", "refused"]
    assert refused(ask, world, one, supersedes=first["consent_id"], valid_days=180).code == "quiet_period"


def test_a_suspended_institution_may_not_ask(world: World) -> None:
    one = enrolled(world)
    world.operator.call("POST", "/v1/institutions/bank-a/suspend", json={"ground": "case 7"})
    assert refused(ask, world, one).code == "institution_suspended"


def test_the_same_reference_is_the_same_request_and_another_use_of_it_is_refused(world: World) -> None:
    one, two = enrolled(world), enrolled(world)
    first = ask(world, one, reference="A-17")
    assert ask(world, one, reference="A-17")["consent_id"] == first["consent_id"]
    assert refused(ask, world, two, reference="A-17").code == "reference_reused"
    assert refused(ask, world, one, reference="A-18").code == "request_pending"
    assert len(world.risk.call("GET", "/v1/consent-requests")["items"]) == 1


def test_calls_at_once_make_one_request(world: World) -> None:
    one = enrolled(world)
    outcomes: list[str] = []

    def call() -> None:
        with world.client("risk") as client:
            body = {"enterprise": one.name, "provider": "lab", "purpose": "report_query", "valid_days": 30}
            try:
                client.call("POST", "/v1/consent-requests", json=body)
                outcomes.append("asked")
            except LabError as error:
                outcomes.append(error.code)

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["asked"] + ["request_pending"] * 5


def test_a_file_of_many_keeps_its_good_lines_and_names_the_bad(world: World) -> None:
    one, two, three = enrolled(world), enrolled(world), enrolled(world)
    rows = [
        "enterprise,provider,purpose,valid_days,reference",
        f"{one.name},lab,underwriting_score,90,r1",
        f"{two.name},lab,marketing,90,r2",
        f"{two.name},lab,report_query,many,r3",
        f"{one.name},lab,underwriting_score,90,r4",
        f"{three.name},lab,report_query,30,r5",
    ]

    def send(text: str, kind: str) -> dict[str, Any]:
        headers = {"Content-Type": kind}
        return world.risk.call("POST", "/v1/consent-requests/import", content=text.encode(), headers=headers)

    result = send("\ufeff" + "\r\n".join(rows), "text/csv; charset=utf-8")
    assert [i["line"] for i in result["items"]] == [2, 6]
    assert [(e["line"], e["code"]) for e in result["errors"]] == [
        (3, "purpose_not_allowed"),
        (4, "invalid_request"),
        (5, "request_pending"),
    ]
    assert (result["asked"], result["failed"]) == (2, 3)
    assert [i["consent_id"] for i in send("\n".join(rows), "text/csv")["items"]] == [
        i["consent_id"] for i in result["items"]
    ]
    lines = [
        {"enterprise": two.name, "provider": "lab", "purpose": "report_query", "valid_days": 10},
        {"enterprise": two.name, "provider": "lab"},
    ]
    result = send("\n".join(map(json.dumps, lines)) + "\n{broken\n", "application/x-ndjson")
    assert (result["asked"], [e["code"] for e in result["errors"]]) == (1, ["invalid_request", "not_json"])
    counts = world.risk.call("GET", "/v1/consent-requests/counts")
    assert counts["total"]["requested"] == 3
    assert world.operator.call("GET", "/v1/consent-requests/counts") == counts


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        (b"a,b\n1,2\n", "text/csv", "column_unknown"),
        (b"enterprise\nx\n", "text/csv", "column_absent"),
        (b"\xff\xfe", "text/csv", "invalid"),
        (b"{}", "application/json", "invalid"),
    ],
)
def test_what_is_no_such_file_is_refused_whole(shared: World, text: bytes, kind: str, code: str) -> None:
    headers = {"Content-Type": kind}
    denied = refused(shared.risk.call, "POST", "/v1/consent-requests/import", content=text, headers=headers)
    assert (denied.status, denied.code) == (422, code)


def test_an_unanswered_request_expires_and_can_be_made_anew(world: World) -> None:
    one = enrolled(world)
    asked = ask(world, one)
    world.clock.advance(30 * 86_400 + 60)
    address = f"/v1/consent-requests/{asked['consent_id']}"
    deadline = time.monotonic() + 5
    while world.risk.call("GET", address)["state"] != "expired":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert take(world, answer(one, asked))["errors"][0]["code"] == "illegal_transition"
    assert ask(world, one)["state"] == "requested"

    with world.db.read(SYSTEM) as session:
        assert [n.kind for n in requests.notices(session, one.name, 0, 10)] == [
            "request", "request_expired", "request",
        ]  # fmt: skip


def test_a_bank_sees_its_own_requests_only(world: World) -> None:
    one = enrolled(world)
    asked = ask(world, one)
    world.operator.add_institution("bank-b", "Bank B", "bank")
    other = world.person("risk-b", "bank-b", "risk")
    assert other.call("GET", "/v1/consent-requests")["items"] == []
    assert refused(other.call, "GET", f"/v1/consent-requests/{asked['consent_id']}").status == 404
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    seen = world.operator.call("GET", "/v1/consent-requests", params={"state": "requested", "before": later})
    assert [i["consent_id"] for i in seen["items"]] == [asked["consent_id"]]


# ---- taken back


def cancel(client: Any, consent_id: str) -> dict[str, Any]:
    return client.cancel_consent_request(consent_id, "asked by mistake")


def test_a_bank_takes_back_what_is_not_answered_and_the_enterprise_is_told(world: World) -> None:
    """R14: what was taken back can be answered no more, and is no refusal: it may be asked anew."""
    one = enrolled(world)
    asked = ask(world, one)
    over = cancel(world.risk, asked["consent_id"])
    assert (over["state"], over["ended_at"] is not None) == ("cancelled", True)
    with world.db.read(SYSTEM) as session:
        assert [row.kind for row in requests.notices(session, one.name, 0, 10)] == ["request", "request_cancelled"]
    last = world.risk.call("GET", "/v1/consent-events")["events"][-1]["body"]["event"]
    assert (last["consent_id"], last["state"]) == (asked["consent_id"], "cancelled")
    audit = world.operator.call("GET", "/v1/audit", params={"object_id": asked["consent_id"]})["items"]
    assert ("request.cancel", "asked by mistake") in {(row["action"], row["reason"]) for row in audit}
    for kind in ("consent", "refusal"):
        result = take(world, answer(one, asked, kind))
        assert (result["accepted"], result["refused"], result["errors"][0]["code"]) == (0, 0, "illegal_transition")
    assert world.risk.consents(one.name) == []
    assert ask(world, one)["state"] == "requested"


def test_only_a_pending_request_of_its_own_is_taken_back(world: World) -> None:
    one, two = enrolled(world), enrolled(world)
    asked, open_one = ask(world, one), ask(world, two)
    take(world, answer(one, asked))
    assert refused(cancel, world.risk, asked["consent_id"]).code == "illegal_transition"
    world.operator.add_institution("bank-c", "Bank C", "bank")
    other = world.person("risk-c", "bank-c", "risk")
    assert refused(cancel, other, open_one["consent_id"]).status == 404
    assert refused(cancel, world.operator, open_one["consent_id"]).code == "role_missing"
    cancel(world.risk, open_one["consent_id"])
    assert refused(cancel, world.risk, open_one["consent_id"]).code == "illegal_transition"
