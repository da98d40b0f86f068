"""Logs, metrics and traces tell how the platform runs and name no enterprise, person or secret (R15, R51)."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.web import logs, tracing
from tests.api.world import World

SECRET = "91350100M000100Y43"


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict]]]:
    """What the control plane logs, as JSON objects."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure("json")
    stream = io.StringIO()
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)


def test_a_request_is_one_line_with_its_route_and_id(world: World, lines: Callable[[], list[dict]]) -> None:
    headers = {"Authorization": f"Bearer {world.tokens['operator']}", "X-Request-ID": "trace-me-1234"}
    answer = httpx.get(f"{world.url}/v1/enterprises/{SECRET}", headers=headers)
    assert answer.headers["x-request-id"] == "trace-me-1234"
    (line,) = [one for one in lines() if one.get("request_id") == "trace-me-1234" and one["message"] == "request"]
    assert (line["route"], line["status"], line["method"]) == ("/v1/enterprises/{uscc}", answer.status_code, "GET")
    assert line["ms"] >= 0
    assert line["account"]


def test_no_log_line_names_an_enterprise_a_person_or_a_token(world: World, lines: Callable[[], list[dict]]) -> None:
    operator = {"Authorization": f"Bearer {world.tokens['operator']}"}
    body = {
        "uscc": SECRET,
        "name": "某某公司",
        "subject": "legal_person",
        "contact_name": "王敏",
        "contact": "13800000000",
    }
    with httpx.Client(base_url=world.url, headers=operator) as client:
        for _ in range(2):  # the second contradicts the first in the database
            client.post("/v1/enterprises", json=body)
        client.get(f"/v1/enterprises/{SECRET}/nothing")
        client.get("/v1/jobs", params={"state": SECRET})
        client.get("/v1/whoami", headers={"Authorization": "Bearer stolen-token"})
    text = json.dumps(lines(), ensure_ascii=False)
    assert "request" in text
    for secret in (SECRET, "某某公司", "王敏", "13800000000", "stolen-token", world.tokens["operator"]):
        assert secret not in text


def test_an_id_that_could_forge_a_log_line_is_replaced(world: World) -> None:
    answer = httpx.get(f"{world.url}/healthz", headers={"X-Request-ID": "short"})
    assert answer.headers["x-request-id"] != "short"
    assert len(answer.headers["x-request-id"]) == 16


def test_metrics_count_routes_and_states_and_need_the_right(world: World) -> None:
    operator = {"Authorization": f"Bearer {world.tokens['operator']}"}
    httpx.get(f"{world.url}/v1/enterprises/{SECRET}", headers=operator)
    assert httpx.get(f"{world.url}/metrics").status_code == 401
    risk = {"Authorization": f"Bearer {world.tokens['risk']}"}
    assert httpx.get(f"{world.url}/metrics", headers=risk).status_code == 403
    text = httpx.get(f"{world.url}/metrics", headers=operator).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    routes = {sample.labels["route"] for sample in families["creditlab_requests"].samples}
    assert "/v1/enterprises/{uscc}" in routes
    assert "creditlab_request_seconds" in families
    assert families["creditlab_database_connections"].samples
    assert SECRET not in text


def test_a_span_carries_the_route_and_nothing_that_names_anybody(world: World) -> None:
    exporter = InMemorySpanExporter()
    app = create_app(world.control)
    provider = tracing.install(app, exporter)
    import asyncio

    async def ask() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.get(f"/v1/enterprises/{SECRET}?name={SECRET}", headers={"User-Agent": SECRET})

    asyncio.run(ask())
    provider.force_flush()
    spans = exporter.get_finished_spans()
    provider.shutdown()
    assert spans
    for span in spans:
        assert SECRET not in span.to_json()
    assert any((span.attributes or {}).get("http.route") == "/v1/enterprises/{uscc}" for span in spans)
    assert any("request.id" in (span.attributes or {}) for span in spans)
