"""A request is worked on in one thread: in the framework's order, once each, and answered as ever."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from anyio import CapacityLimiter
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import BaseModel

from api.web.threads import RouteWaits, in_one_thread
from tests.api.world import World


class Told(BaseModel):
    n: int


class Door:
    """Lets in who shows a header; says on which thread it stood."""

    def __init__(self) -> None:
        self.stood: list[int] = []

    def __call__(self, request: Request) -> int:
        self.stood.append(threading.get_ident())
        if "x-key" not in request.headers:
            raise HTTPException(401)
        return self.stood[-1]


async def settled(request: Request) -> str:
    return str(request.app.title)


async def waiting() -> None:
    await asyncio.sleep(0)


class Site:
    def __init__(self) -> None:
        self.door = door = Door()
        app = FastAPI(title="site", openapi_url=None)
        caller, name = Depends(door), Depends(settled)

        @app.post("/told", status_code=201)
        def told(told: Told, response: Response, who: int = caller, again: int = caller) -> Told:
            response.headers["x-same"] = str(who == again == threading.get_ident() != threading.main_thread().ident)
            return told

        @app.get("/title")
        def title(title: str = name) -> str:
            return title

        @app.get("/wrong")
        def wrong() -> Told:
            return {"n": "no number"}  # type: ignore[return-value]

        @app.get("/waits", dependencies=[Depends(waiting)])
        def waits() -> str:
            return "never"

        @app.get("/loop")
        async def loop() -> str:
            await asyncio.sleep(0)
            return "loop"

        for route in app.router.routes:
            assert isinstance(route, APIRoute)
            in_one_thread(route, CapacityLimiter(4))
        self.app = app
        self.http = TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def site() -> Site:
    return Site()


def test_caller_and_work_share_a_thread_and_each_is_called_once(site: Site) -> None:
    answer = site.http.post("/told", json={"n": 3}, headers={"x-key": "k"})
    assert (answer.status_code, answer.json(), answer.headers["x-same"]) == (201, {"n": 3}, "True")
    assert len(site.door.stood) == 1


def test_who_is_not_let_in_is_not_told_what_is_wrong_with_the_request(site: Site) -> None:
    assert site.http.post("/told", json={"n": "x"}).status_code == 401
    assert site.http.post("/told", json={"n": "x"}, headers={"x-key": "k"}).status_code == 422
    broken = site.http.post("/told", content=b"{", headers={"x-key": "k", "content-type": "application/json"})
    assert broken.status_code == 422


def test_coroutines_that_hand_out_what_is_there_and_routes_on_the_loop_go_on(site: Site) -> None:
    assert site.http.get("/title").json() == "site"
    assert site.http.get("/loop").json() == "loop"


def test_an_answer_that_is_not_as_declared_is_an_error(site: Site) -> None:
    assert site.http.get("/wrong").status_code == 500


def test_a_route_that_waits_after_all_is_named_an_error(site: Site) -> None:
    with pytest.raises(RouteWaits), TestClient(site.app) as strict:
        strict.get("/waits")


def test_no_route_of_the_app_depends_on_a_coroutine_but_the_one_that_hands_out_the_control(shared: World) -> None:
    def called(dependant: Any) -> set[Any]:
        return {dependant.call} | {call for one in dependant.dependencies for call in called(one)}

    routes = [route for route in shared.app.routes if isinstance(route, APIRoute)]
    calls = {call for route in routes for one in route.dependant.dependencies for call in called(one)}
    assert len(calls) > 20
    assert {call.__name__ for call in calls if asyncio.iscoroutinefunction(call)} == {"_control"}
