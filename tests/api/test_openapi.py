"""The OpenAPI document: 3.1, an example with every operation, each fitting its own schema; secrets declared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from jsonschema import Draft202012Validator

from api.fields import SecretOut
from tests.api.financing import Loan, firm, officer, shelved
from tests.api.world import World

# what no test asks over this process's own wire, and why
WITHOUT_EXAMPLE = {
    "GET /metrics": "no JSON",
    "GET /healthz": "outside /v1",
    "GET /readyz": "outside /v1",
    "GET /v1/staff/oidc/callback": "a browser's way to the answer of POST /v1/staff/oidc/login/finish",
    "GET /v1/flows": "needs a worker, which tests run as processes of their own",
    "POST /v1/flows/{name}/runs": "the same",
}


@pytest.fixture(scope="module")
def document(shared: World) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{shared.url}/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def bodies(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    parts = [operation.get("requestBody", {}), *(v for k, v in operation["responses"].items() if k.startswith("2"))]
    for part in parts:
        if (body := part.get("content", {}).get("application/json")) is not None:
            yield body


def test_it_is_openapi_3_1_with_words_for_every_operation(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["tags"], name
        problems = {
            code for code, answer in operation["responses"].items() if "application/problem+json" in str(answer)
        }
        assert {"400", "401", "403", "404", "409", "412", "422", "429", "503"} <= problems, name


def test_every_operation_with_a_body_has_an_example(document: dict[str, Any]) -> None:
    missing = [
        name
        for name, operation in operations(document)
        if name not in WITHOUT_EXAMPLE
        and any(body.get("schema") and "example" not in body for body in bodies(operation))
    ]
    assert not missing, f"record them anew (tests/api/recording.py): {missing}"


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    faults = []
    for name, operation in operations(document):
        for body in bodies(operation):
            if "example" in body:
                schema = {**body["schema"], "components": document["components"]}
                for error in Draft202012Validator(schema).iter_errors(body["example"]):
                    faults.append(f"{name}: {error.json_path}: {error.message[:120]}")
    assert not faults, faults


def test_lists_and_code_tables_answer_whoever_may_read_them(shared: World) -> None:
    """Plain reading that no other test comes by; an address that is not there any more is found."""
    bank, who = officer(shared), firm(shared)
    loan = Loan(shared, bank, who, shelved(shared, bank))
    credit = loan.lent()
    who.call("POST", f"/credits/{credit}/mediations", json={"mediator": "金融纠纷调解中心", "reason": "对利率有异议"})
    who.call("POST", "/questions", json={"title": "贴息", "text": "如何申请？"})
    notice = bank.publish({"kind": "notice", "title": "服务时间", "text": "工作日九点至五点"})["id"]
    officer(shared, "guarantor-o")
    need = who.submitted(None)
    asked = {"guarantor": "guarantor-o", "amount": "1000000", "note": "请担保"}
    who.call("POST", f"/applications/{need}/guarantees", json=asked)
    shared.operator.add_institution("bank-o", "Bank O", "bank")
    ground = {"ground": "检查", "evidence": "函〔2026〕1号"}
    for step in ("suspend", "reinstate"):
        shared.operator.call("POST", f"/v1/institutions/bank-o/{step}", json=ground)
    dispute = shared.operator.call(
        "POST", "/v1/disputes", json={"enterprise": who.uscc, "kind": "complaint", "text": "久未答复"}
    )["id"]
    shared.operator.call("POST", f"/v1/disputes/{dispute}/withdraw", json={"reason": "已解决"})
    admin = shared.admin("admin.o", "bank-o").client
    body = {"login": "sun.risk", "name": "孙戊", "contact": "13900000003", "post": "风险部 经理", "roles": ["risk"]}
    person = admin.add_person(body)["account_id"]
    assert admin.call("POST", f"/v1/staff/{person}/reset", json={"reason": "遗忘"})["code"]
    assert shared.risk.report(shared.succeeded())["models"]
    receipts = "/v1/consents/c-E1/receipts"
    seq = shared.risk.call("GET", receipts)["items"][0]["seq"]
    assert shared.risk.call("GET", f"{receipts}/{seq}/file")
    for path in ("institutions/onboardings", "institutions/standings", "accounts", "nodes"):
        assert shared.operator.call("GET", f"/v1/{path}")["items"], path
    assert bank.call("GET", "/v1/products/classes")["classes"]
    assert bank.call("GET", "/v1/clocks/periods")["items"]
    assert bank.call("GET", f"/v1/publications/{notice}")["id"] == notice
    assert bank.call("GET", f"/v1/credits/{credit}/mediations")["items"]
    for path in ("applications", "questions", f"applications/{need}/guarantees"):
        assert who.call("GET", f"/{path}")["items"], path


def test_an_answer_with_a_secret_is_declared_as_one(shared: World) -> None:
    """Forgetting it would keep the secret with the Idempotency-Key."""
    names = {"token", "secret", "password", "totp_secret", "recovery_codes", "otpauth"}
    seen = 0
    for context in iter_route_contexts(shared.app.routes):
        model = getattr(context.route, "response_model", None)
        if isinstance(model, type) and names & set(getattr(model, "model_fields", {})):
            assert issubclass(model, SecretOut), f"{context.path}: {model.__name__} shows a secret"
            seen += 1
    assert seen
