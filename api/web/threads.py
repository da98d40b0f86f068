"""One thread for a whole request: what the framework would do in three (caller, work, check of the answer) in one.

A route whose endpoint is a plain function waits for the database, so it is worked on in a thread. The framework goes
to a thread and back for every plain function on the way, and each time costs more than most of them do. Owns how such
a route is driven; what is called, in which order, and what is answered stay the framework's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, request_response

# at one time; more would only take the interpreter and the database's connections from each other
THREADS = 16


class RouteWaits(RuntimeError):
    """A programming error: something that waits for the event loop was called within a route of plain functions."""


def in_one_thread(route: APIRoute, threads: CapacityLimiter) -> None:
    """Has `route` worked on in one of the `threads`, when its endpoint and all it depends on are plain functions.

    Of coroutines it may depend on such as hand out what is there. Raises RouteWaits, answered as a fault of ours, when
    a request comes that has one wait after all.
    """
    field = route.body_field
    if not _plain(route.dependant) or (field is not None and isinstance(field.field_info, params.Form)):
        return
    described = route.dependant
    route.dependant = _at_once(described, {})
    try:
        handler = route.get_route_handler()
    finally:
        route.dependant = described  # what others read of the route

    async def handle(request: Request) -> Response:
        if field is not None:
            try:
                await request.body()
            except Exception:  # answered by the handler, which meets it again before anything else
                return await handler(request)
        return await to_thread.run_sync(_drive, handler(request), limiter=threads)

    route.app = request_response(handle)


def _plain(dependant: Dependant) -> bool:
    return not inspect.iscoroutinefunction(_body(dependant)) and not any(_generates(one) for one in _every(dependant))


def _every(dependant: Dependant) -> list[Dependant]:
    return [dependant, *(found for one in dependant.dependencies for found in _every(one))]


def _body(dependant: Dependant) -> Callable[..., Any]:
    """What is run: the function itself, or that of an object which is called."""
    call: Any = dependant.call
    return call if inspect.isroutine(call) else call.__call__


def _generates(dependant: Dependant) -> bool:
    return inspect.isgeneratorfunction(_body(dependant)) or inspect.isasyncgenfunction(_body(dependant))


def _at_once(dependant: Dependant, made: dict[int, Callable[..., Any]]) -> Dependant:
    """The same tree with every plain function as a coroutine that never waits."""
    call = dependant.call
    if call is not None and not inspect.iscoroutinefunction(_body(dependant)):
        call = made.setdefault(id(call), _coroutine(call))  # one for each, or it would be called twice
    return replace(dependant, call=call, dependencies=[_at_once(one, made) for one in dependant.dependencies])


def _coroutine(call: Callable[..., Any]) -> Callable[..., Any]:
    async def called(*args: Any, **named: Any) -> Any:
        return call(*args, **named)

    return called


def _drive(work: Coroutine[Any, Any, Response]) -> Response:
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    work.close()
    raise RouteWaits("a route of plain functions waits for the event loop")
