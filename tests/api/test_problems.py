"""Errors as RFC 9457 problems, the OpenAPI document, and requests that nobody thought of."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.api.world import World

# one waits for a node, the other takes lines of documents
_OWN_TESTS = {"/v1/scores", "/v1/consents/import"}


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
    assert http.get("/docs").status_code == 404  # the stock page loads scripts from elsewhere
    assert http.get("/redoc").status_code == 404
    document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "Problem" in document["components"]["schemas"]


def test_fuzzing_the_whole_document_finds_no_server_error_and_no_surprise(shared: World) -> None:
    """schemathesis over every operation and as every role that could call it; a smoke of a few examples each."""
    schema = schemathesis.openapi.from_dict(shared.app.openapi())
    schema.config.update(base_url=shared.url)
    job_id = shared.succeeded()
    shared.released(job_id)
    tokens = {name: shared.tokens[name] for name in ("operator", "risk", "owner", "reviewer3", "gateway", "bank-node")}
    skipped = [negative_data_rejection, positive_data_acceptance]
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in _OWN_TESTS:
            continue

        @settings(
            max_examples=6,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def fuzz(case: schemathesis.Case) -> None:
            for token in tokens.values():
                case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
                if case.query and "wait" in case.query:
                    case.query = {**case.query, "wait": 0}
                answer = case.call()
                assert answer.status_code < 500, (case.method, case.path, answer.text)
                case.validate_response(answer, excluded_checks=skipped)

        given(case=operation.as_strategy())(fuzz)()


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
