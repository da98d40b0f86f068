"""Finding a request's route among some hundreds without trying each: by the address's first two words and its length.

The framework tries every route's pattern in turn. Owns the index, which only leaves out routes that cannot match; the
order among the others, and every answer, stay the framework's own.
"""

from __future__ import annotations

from collections.abc import Hashable

from fastapi import APIRouter
from starlette.convertors import PathConvertor
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send


class RouteIndex:
    """ASGI app in place of `router`'s own walk. Make it when every route is there; one added later is still found."""

    def __init__(self, router: APIRouter) -> None:
        self._router = router
        keys = [(route, _key(route)) for route in router.routes]
        self._parts: dict[Hashable, APIRouter] = {}
        for key in {key for _, key in keys if key is not None}:
            part = APIRouter(redirect_slashes=False, default=router.app)
            part.routes.extend(route for route, own in keys if own is None or own == key)
            self._parts[key] = part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope.get("root_path"):
            scope["router"] = self._router
            part = self._parts.get(_words(scope["path"]))
            if part is not None:
                await part.app(scope, receive, send)
                return
        await self._router.app(scope, receive, send)


def _words(path: str) -> Hashable:
    words = path.split("/")
    return (*words[1:3], len(words))


def _key(route: BaseRoute) -> Hashable | None:
    """What an address has in common with every other that `route` takes; None for a route that takes several kinds."""
    if not isinstance(route, Route) or any(isinstance(one, PathConvertor) for one in route.param_convertors.values()):
        return None
    if any("{" in word for word in route.path.split("/")[1:3]):
        return None
    return _words(route.path)
