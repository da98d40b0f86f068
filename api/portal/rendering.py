"""From a template and its values to a page: language, headers that bind the browser, and error pages.

Every answer carries the same strict headers. No page needs an inline script or style, another host, or a cookie
besides the session's and the language's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.enterprises.sessions import COOKIE
from api.portal import assets, words
from consent.notice import LANGUAGES

LANGUAGE_COOKIE = "__Host-language"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": (
        "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), geolocation=(), "
        "microphone=(), payment=()"
    ),
    "strict-transport-security": "max-age=31536000",
}

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class StrictHeaders:
    """ASGI middleware: the portal's headers on every answer, and no caching unless the answer says otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                added = {"cache-control": "no-store", **HEADERS}
                message["headers"] = [
                    *message["headers"],
                    *((n.encode(), v.encode()) for n, v in added.items() if n.encode() not in own),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)


def language_of(request: Request) -> str:
    """`zh` unless the address or the cookie says otherwise."""
    for said in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if said in LANGUAGES:
            return str(said)
    return LANGUAGES[0]


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A page of `templates/`, in the visitor's language."""
    language = language_of(request)
    answer = HTMLResponse(fragment(request, template, status=status, **values), status)
    if request.query_params.get("lang") in LANGUAGES:
        answer.set_cookie(LANGUAGE_COOKIE, language, secure=True, httponly=True, samesite="lax", max_age=31536000)
    return answer


def fragment(request: Request, template: str, *, status: int = 200, **values: Any) -> str:
    """A template's text, for a page or for a part of one."""
    language = language_of(request)
    t = words.translator(language)
    return _ENVIRONMENT.get_template(template).render(
        t=t,
        status=status,
        language=language,
        other="en" if language == "zh" else "zh",
        path=request.scope["path"],
        switch=request.method == "GET" and status < 400,
        visitor=getattr(request.state, "visitor", None),
        asset=assets.address,
        portal_name=_half(request.app.state.control.settings.portal_name, language),
        moment=lambda value: words.moment(value, language),
        day=lambda value: words.day(value, language),
        pair=lambda found: t(*found),
        words=words,
        **values,
    )


def _half(name: str, language: str) -> str:
    """A name that is written “中文 · English” in the one language; any other as it is."""
    parts = name.split(" · ")
    return parts[LANGUAGES.index(language)] if len(parts) == len(LANGUAGES) else name


def redirect(to: str) -> Response:
    return RedirectResponse(to, 303)


def set_session(answer: Response, token: str) -> None:
    answer.set_cookie(COOKIE, token, secure=True, httponly=True, samesite="strict")


def drop_session(answer: Response) -> None:
    answer.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict")


def wants_json(request: Request) -> bool:
    return request.headers.get("accept", "").startswith("application/json")


def refusal(request: Request, status: int, code: str, message: str, message_zh: str) -> Response:
    """An error for a person: a page, or for a script of ours the same in JSON."""
    t = words.translator(language_of(request))
    message = message[:1].upper() + message[1:]
    if wants_json(request):
        return JSONResponse({"code": code, "message": t(message_zh, message)}, status)
    return page(request, "error.html", status, code=code, message=t(message_zh, message))
