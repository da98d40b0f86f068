"""Errors as RFC 9457 problems, the OpenAPI document, and requests that nobody thought of."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.auth import PERMISSIONS, Action, Role, actions_by_route
from api.client import LabClient
from tests.api import recording
from tests.api.conftest import Databases
from tests.api.financing import Firm, Loan, firm, officer, shelved
from tests.api.test_permissions import address
from tests.api.world import World


@pytest.fixture(scope="module")
def http(shared: World) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {shared.tokens['operator']}"}
    with httpx.Client(base_url=shared.url, headers=headers, verify=False) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "not_found"),
        ("DELETE", "/v1/jobs", None, 405, "method_not_allowed"),
        ("GET", "/v1/jobs/j-000000000000", None, 404, "not_found"),
        ("GET", "/v1/jobs/abc", None, 422, "invalid_request"),
        ("POST", "/v1/institutions", {"id": "x y", "name": "n", "kind": "bank"}, 422, "invalid_request"),
        ("POST", "/v1/institutions", {"id": "x", "name": "n\x00", "kind": "bank"}, 422, "invalid_request"),
        ("POST", "/v1/institutions", {"id": "x", "name": "n", "kind": "bank", "extra": 1}, 422, "invalid_request"),
        ("GET", "/v1/audit?after=99999999999999999999999", None, 422, "invalid_request"),
    ],
)
def test_every_refusal_is_a_problem_in_two_languages(
    http: httpx.Client, method: str, path: str, body: dict | None, status: int, code: str
) -> None:
    answer = http.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"]
    assert any("\u4e00" <= c <= "\u9fff" for c in problem["detail_zh"])


def test_an_unexpected_error_shows_a_number_and_no_traceback(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from api.institutions import service

    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(service, "list_institutions", broken)
    with httpx.Client(base_url=shared.url, verify=False) as client:
        answer = client.get("/v1/institutions", headers={"Authorization": f"Bearer {shared.tokens['operator']}"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert answer.json()["error_id"] in answer.json()["detail"]
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_a_huge_body_is_refused(http: httpx.Client) -> None:
    body = b'{"id": "x", "name": "' + b"n" * (17 << 20) + b'", "kind": "bank"}'
    json_type = {"Content-Type": "application/json"}
    announced = http.post("/v1/institutions", content=body, headers=json_type)
    chunked = http.post("/v1/institutions", content=iter([body[: 9 << 20], body[9 << 20 :]]), headers=json_type)
    for answer in (announced, chunked):
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_health_and_documents(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ok"}
    assert http.get("/redoc").status_code == 404
    page = http.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page.text)  # nothing is loaded from elsewhere
    document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "Problem" in document["components"]["schemas"]


# answers beyond 499 that these operations give in a process without nodes and without workers, and why
ALONE = {
    ("POST", "/v1/scores"): {504: "no node is there to answer the permit"},
    ("POST", "/v1/scores/batch"): {504: "no node is there to answer the permits"},
    ("POST", "/v1/staff/oidc/login"): {503: "no identity provider is configured"},
    ("POST", "/v1/staff/oidc/login/finish"): {503: "no identity provider is configured"},
    ("GET", "/v1/staff/oidc/callback"): {503: "no identity provider is configured"},
    ("GET", "/v1/flows"): {503: "no worker runs here: tests/api/flows"},
    ("POST", "/v1/flows/{name}/runs"): {503: "no worker runs here: tests/api/flows"},
    ("GET", "/v1/consents/{consent_id}/impact"): {503: "no node is there", 504: "no node is there to answer"},
    ("POST", "/v1/usage/questions"): {503: "no node is there", 504: "no node is there to answer"},
}
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
TIMES = 3


@schemathesis.serializer("application/x-ndjson", "text/csv")
def lines(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """Whatever was thought of, a line each."""
    return "\n".join(map(str, value if isinstance(value, list) else [value])).encode()


def speakers(world: World) -> dict[Role, str]:
    """A token for each role alone."""
    world.operator.add_institution("witness-w", "Notary W", "witness")
    world.person("witness", "witness-w", "witness")
    officer(world)
    world.operator.add_institution("bank-f", "Bank F", "bank")
    world.tokens["admin"] = world.admin("admin.f", "bank-f").token
    names = {
        Role.DATA_OWNER: "owner",
        Role.REVIEWER: "reviewer3",
        Role.NODE: "bank-node",
        Role.OFFICER: "officer-bank-a",
    }
    return {role: world.tokens[names.get(role, str(role))] for role in Role}


def objects(world: World, who: Firm, bank: LabClient) -> dict[str, Any]:
    """Path parameters that name what there is, so that a request comes past the first look-up."""
    job_id = world.succeeded()
    product = shelved(world, bank)
    loan = Loan(world, bank, who, product)
    text = {"kind": "notice", "title": "通知", "text": "内容"}
    question = who.call("POST", "/questions", json={"title": "贴息", "text": "如何申请？"})
    dispute = {"enterprise": "E1", "consent_id": "c-E1", "kind": "dispute", "text": "期限有误"}
    template = {"id": "plain", "title": "Plain", "title_zh": "基础", "proposal": {"dataset": "sba"}}
    found = {
        "job_id": job_id,
        "release_id": world.released(job_id),
        "credit_id": loan.granted(),
        "application_id": loan.application,
        "referral_id": loan.referral,
        "product_id": shelved(world, bank, name="票据流贷"),
        "question_id": question["id"],
        "publication_id": bank.call("POST", "/v1/publications", json=text)["id"],
        "project_id": "sme",
        "template_id": world.risk.add_template(template)["id"],
        "dispute_id": world.operator.call("POST", "/v1/disputes", json=dispute)["id"],
        "consent_id": "c-E2",
        "uscc": firm(world).uscc,
        "institution_id": "bank-v",
        "index": 0,
        "seq": 1,
        "node": "lab-node",
        "month": "2026-10",
        "audience": "platform",
    }
    world.operator.add_institution("bank-v", "Bank V", "bank")
    found["account_id"] = world.operator.add_account("leaver", "bank-v", ["risk"])["account_id"]
    return found


@pytest.fixture(scope="module")
def house(new_database: Databases) -> Iterator[World]:
    """A world that is asked thousands of times from one address, and whose nodes have nothing to say."""
    often = {"rate_failures_per_minute": 1_000_000, "rate_per_minute": 1_000_000}
    with recording.paused():
        world = World.inhabited(new_database, score_seconds=0.05, **often)
    yield world
    world.close()


class Fuzzing:
    """Asks each operation a few times, in turn as everybody whom the table lets in, and notes what surprises."""

    def __init__(self, world: World) -> None:
        self.actions = actions_by_route(world.app)
        self.tokens = speakers(world)
        self.firm = firm(world)
        self.there = objects(world, self.firm, officer(world))
        self.session = requests.Session()
        self.answers: Counter[int] = Counter()
        self.faults: list[str] = []

    def callers(self, operation: APIOperation) -> list[dict[str, str]]:
        action = self.actions[(operation.method.upper(), operation.path)]
        if action is Action.PUBLIC:
            return [{}]
        if action in (Action.MY_READ, Action.MY_WRITE):
            return [self.firm.headers]
        return [{"Authorization": f"Bearer {self.tokens[role]}"} for role in sorted(PERMISSIONS[action].roles)]

    def ask(self, case: schemathesis.Case, who: dict[str, str], known: bool) -> None:
        """`known`: of what there is, so that the request comes past the first look-up."""
        if known:
            case.path_parameters = {name: self.there.get(name, value) for name, value in case.path_parameters.items()}
        if case.query and "wait" in case.query:
            case.query = {**case.query, "wait": 0}
        case.headers = {**(case.headers or {}), **who}
        answer = case.call(session=self.session)
        self.answers[answer.status_code] += 1
        sent = f"{case.method} {case.path} {case.path_parameters} {case.query} {str(case.body)[:300]}"
        if answer.status_code >= 500:
            if answer.status_code not in ALONE.get((case.method.upper(), case.path), {}):
                self.faults.append(f"{answer.status_code} {sent}: {answer.text[:300]}")
            return
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as found:
            told = [f"{type(one).__name__} {one} {sent}: {answer.text[:300]}" for one in found.exceptions]
            self.faults += told

    def run(self, operation: APIOperation) -> None:
        callers = self.callers(operation)
        turns = itertools.count()

        @settings(
            max_examples=TIMES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def fuzz(case: schemathesis.Case) -> None:
            turn = next(turns)
            self.ask(case, callers[turn % len(callers)], known=turn % 2 == 0)

        fuzz()


def test_fuzzing_the_whole_document_finds_no_server_error_and_no_surprise(house: World) -> None:
    """schemathesis over every operation, as everybody whom the table lets in, on objects that are there and not.

    The seed is fixed. Whoever has no role for it is answered 403: tests/api/test_permissions.py.
    """
    schema = schemathesis.openapi.from_dict(house.app.openapi())
    schema.config.update(base_url=house.url)
    fuzzing = Fuzzing(house)
    operations = [found.ok() for found in schema.get_all_operations()]
    # the session of the admin is ended by the last one
    for operation in sorted(operations, key=lambda one: one.path.endswith("logout")):
        fuzzing.run(operation)
    assert not fuzzing.faults, "\n".join(fuzzing.faults)
    assert ALONE.keys() <= fuzzing.actions.keys()
    assert len(operations) > 200
    # it reaches what the operations do, and not their doors alone
    assert sum(count for status, count in fuzzing.answers.items() if status < 300) > 200, fuzzing.answers
    assert fuzzing.answers[401] < 30, fuzzing.answers


def test_a_method_that_an_address_does_not_take_is_told_those_it_takes(http: httpx.Client, shared: World) -> None:
    """RFC 9110, 15.5.6: 405 with the whole list in Allow, wherever two routes share an address."""
    taken: dict[str, set[str]] = defaultdict(set)
    for method, path in actions_by_route(shared.app):
        taken[path].add(method)
    wrong = []
    for path, methods in taken.items():
        answer = http.request("PATCH", address("GET", path))
        allowed = {word.strip() for word in answer.headers.get("allow", "").split(",")}
        # a name may fit a sibling's pattern: /v1/products/classes is taken for a product by PUT
        if (answer.status_code, answer.json()["code"]) != (405, "method_not_allowed") or not methods <= allowed:
            wrong.append((path, answer.status_code, allowed, methods))
    assert not wrong


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.recursive(
                st.none() | st.text() | st.floats(),
                lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["body", "signatures", "type", "role"]), x),
                max_leaves=8,
            ),
            max_size=4,
        ).map(lambda values: "\n".join(json.dumps(v) for v in values).encode()),
    )
)
def test_whatever_is_sent_to_the_import_is_answered_line_by_line(shared: World, body: bytes) -> None:
    with httpx.Client(base_url=shared.url, verify=False) as client:
        answer = client.post(
            "/v1/consents/import", content=body, headers={"Authorization": f"Bearer {shared.tokens['gateway']}"}
        )
    assert answer.status_code == 200
    lines = [line for line in body.split(b"\n") if line.strip()]
    assert answer.json()["failed"] == len(lines)
