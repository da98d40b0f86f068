"""The index of routes finds what the framework's own walk would find, for every address."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute, Match

from api.web.routing import RouteIndex
from tests.api.world import World


def _first(routes: list[BaseRoute], path: str, method: str) -> tuple[BaseRoute | None, BaseRoute | None]:
    """The first route that takes the request, and the first that takes its address."""
    scope = {"type": "http", "path": path, "root_path": "", "method": method, "headers": []}
    found = [(route, route.matches(dict(scope))[0]) for route in routes]
    full = next((route for route, match in found if match is Match.FULL), None)
    return full, next((route for route, match in found if match is not Match.NONE), None)


def test_every_address_of_the_app_is_found_as_without_the_index(shared: World) -> None:
    router: APIRouter = shared.app.router
    index: Any = router.middleware_stack
    assert isinstance(index, RouteIndex)
    seen: list[tuple[str, str]] = []

    for route in router.routes:
        path = re.sub(r"\{[^}]*\}", "x", getattr(route, "path", ""))
        seen += [(path, method) for method in ("GET", "POST", "DELETE")]
        seen += [(f"{path}/more", "GET"), (f"{path}/", "POST")]
    assert len(seen) > 1000
    hit = 0
    for path, method in seen:
        part = index._parts.get((*path.split("/")[1:3], len(path.split("/"))))
        if part is not None:
            hit += 1
            assert _first(part.routes, path, method) == _first(router.routes, path, method), (method, path)
            assert len(part.routes) < len(router.routes) / 4
    assert hit > 700


@pytest.fixture
def client() -> TestClient:
    app = FastAPI(openapi_url=None)
    app.add_api_route("/v1/{kind}/stock", lambda kind: f"stock of {kind}")
    app.add_api_route("/v1/{place:path}/map", lambda place: f"map of {place}")
    app.add_api_route("/v1/things/first", lambda: "first")
    app.add_api_route("/v1/things/{name}", lambda name: name)
    app.add_api_route("/v1/things/{name}", lambda name: f"made {name}", methods=["POST"])
    app.add_api_route("/v1/files/{place:path}", lambda place: f"file {place}")
    app.add_api_route("/v1/{kind}/all", lambda kind: f"all {kind}")
    app.router.middleware_stack = RouteIndex(app.router)
    app.add_api_route("/v1/things/{name}/late", lambda name: f"late {name}")
    return TestClient(app)


def test_order_methods_and_strangers_are_answered_as_ever(client: TestClient) -> None:
    assert client.get("/v1/things/stock").json() == "stock of things"
    assert client.get("/v1/things/map").json() == "map of things"
    assert client.get("/v1/things/first").json() == "first"
    assert client.get("/v1/things/other").json() == "other"
    assert client.post("/v1/things/other?name=other").json() == "made other"
    assert client.get("/v1/files/a/b/c").json() == "file a/b/c"
    assert client.get("/v1/shelves/all").json() == "all shelves"
    assert client.get("/v1/things/x/late").json() == "late x"
    assert client.delete("/v1/things/x").status_code == 405
    assert client.get("/v1/things").status_code == 404
    assert client.get("/nowhere").status_code == 404
    assert client.get("/v1/things/first/", follow_redirects=False).status_code == 307
