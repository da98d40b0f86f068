"""A small OpenID provider as a process of its own: `python -m tests.support.identity_provider PORT`.

Signs everybody in at once as the subject in `login_hint`-free `POST /as`; checks client, redirect and PKCE as a real
one does. What it is told at `POST /lie` goes into the next ID tokens, so that a test can send wrong ones.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import sys
import time
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey

CLIENT = "creditlab-test"


def provider(issuer: str) -> FastAPI:
    app = FastAPI()
    key = ECKey.generate_key("P-256", parameters={"kid": "k1", "use": "sig", "alg": "ES256"})
    stranger = ECKey.generate_key("P-256", parameters={"kid": "k1"})
    state: dict[str, Any] = {"sub": "nobody", "lie": {}}
    codes: dict[str, dict[str, str]] = {}

    @app.get("/.well-known/openid-configuration")
    def configuration() -> dict[str, str]:
        return {
            "issuer": state["lie"].get("configured_issuer", issuer),
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/jwks",
        }

    @app.get("/jwks")
    def jwks() -> Response:
        return JSONResponse(KeySet([key]).as_dict(private=False))

    @app.post("/as")
    async def sign_in_as(request: Request) -> dict[str, Any]:
        state.update(await request.json())
        return state

    @app.get("/authorize")
    def authorize(request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        codes[code] = asked
        return RedirectResponse(f"{asked['redirect_uri']}?code={code}&state={asked['state']}", 302)

    @app.post("/token")
    async def token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        asked = codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        given = (form["redirect_uri"], challenge)
        if asked is None or (asked["redirect_uri"], asked["code_challenge"]) != given:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": issuer,
            "aud": form["client_id"],
            "sub": state["sub"],
            "nonce": asked["nonce"],
            "iat": now,
            "exp": now + 300,
            **state["lie"].get("claims", {}),
        }
        how = state["lie"].get("key")
        if how == "shared":
            made = jwt.encode({"alg": "HS256", "kid": "k1"}, claims, OctKey.import_key("s" * 32))
        else:
            made = jwt.encode({"alg": "ES256", "kid": "k1"}, claims, stranger if how == "stranger" else key)
        return JSONResponse({"access_token": "unused", "token_type": "Bearer", "id_token": made})

    return app


if __name__ == "__main__":
    port = int(sys.argv[1])
    uvicorn.run(provider(f"http://127.0.0.1:{port}"), host="127.0.0.1", port=port, log_level="warning")
