"""Signing in through an identity provider of the institutions' own: authorisation code with PKCE (RFC 7636).

The provider says who somebody is; that the person works here stands in `staff.external`, put there by the admin.
Owns the checks of an ID token (OpenID Connect Core §3.1.3.7): issuer, audience, time, nonce, and a signature by a key
of the provider's JWKS under an algorithm of our list. Keeps no token of the provider's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import ssl
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import sqlalchemy as sa
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from api.control import Control
from api.db import SYSTEM
from api.errors import ApiError, Forbidden, NotFound
from api.settings import Settings
from api.staff import repository, sessions
from api.staff.repository import LoginState, Staff
from api.staff.schemas import NewSession, OidcFinishIn, OidcStart
from api.staff.sessions import Source

ALGORITHMS = ["RS256", "PS256", "ES256"]  # never none, never a shared secret
CALLBACK = "/v1/staff/oidc/callback"
_LIFETIME = timedelta(minutes=10)
_SECONDS = 5.0
_SKEW = 60


class ProviderFailed(ApiError):
    """The identity provider did not answer as it should."""

    status, code, title = 502, "identity_provider_failed", "The identity provider failed"


class NotVouched(Forbidden):
    """What the provider says does not prove who signs in."""

    code = "identity_not_proved"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the identity provider's word is not accepted: {why}: start again",
            f"身份提供方的凭据未被接受（{why}）：请重新登录",
        )


class NotOnRecord(Forbidden):
    """A person of the provider's whom no admin has put on record here."""

    code = "person_not_on_record"

    def __init__(self) -> None:
        super().__init__(
            "nobody on record here is this person: ask your admin to add you", "本平台未登记该人员：请联系本机构管理员"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _client(settings: Settings) -> httpx.Client:
    ca = None if settings.oidc_ca is None else str(settings.oidc_ca)
    return httpx.Client(
        verify=ssl.create_default_context(cafile=ca), timeout=_SECONDS, trust_env=False, follow_redirects=False
    )


def _fetch(client: httpx.Client, method: str, url: str, **more: Any) -> dict[str, Any]:
    try:
        answer = client.request(method, url, **more)
        answer.raise_for_status()
        found = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ProviderFailed(
            f"the identity provider did not answer as expected ({type(error).__name__})", "身份提供方未正常应答"
        ) from error
    if not isinstance(found, dict):
        raise ProviderFailed("the identity provider answered with something else", "身份提供方应答格式不符")
    return found


def _configuration(client: httpx.Client, settings: Settings) -> dict[str, Any]:
    """The provider's own description (OpenID Connect Discovery §4). Raises NotFound when none is configured."""
    if not settings.oidc_issuer:
        raise NotFound("identity provider", "身份提供方", "none configured")
    found = _fetch(client, "GET", settings.oidc_issuer.rstrip("/") + "/.well-known/openid-configuration")
    if found.get("issuer") != settings.oidc_issuer:
        raise ProviderFailed("the provider describes another issuer", "身份提供方的签发者不符")
    return found


def _redirect(control: Control) -> str:
    return sorted(control.settings.origins)[0] + CALLBACK


def start(control: Control) -> OidcStart:
    """Where to send the browser. State, nonce and PKCE verifier wait here for minutes."""
    with _client(control.settings) as client:
        configuration = _configuration(client, control.settings)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    with control.db.unit(SYSTEM) as unit:
        unit.session.execute(sa.delete(LoginState).where(LoginState.expires_at <= unit.now))
        row = LoginState(id=_digest(state), nonce=nonce, verifier=verifier, expires_at=unit.now + _LIFETIME)
        unit.session.add(row)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    query = {
        "response_type": "code",
        "client_id": control.settings.oidc_client_id,
        "redirect_uri": _redirect(control),
        "scope": "openid",
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return OidcStart(url=f"{configuration['authorization_endpoint']}?{urlencode(query)}")


def _exchange(control: Control, code: str, verifier: str) -> tuple[str, KeySet]:
    """The ID token for the code, and the provider's keys."""
    settings = control.settings
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": _redirect(control),
        "client_id": settings.oidc_client_id,
        "code_verifier": verifier,
    }
    if settings.oidc_client_secret_file is not None:
        form["client_secret"] = settings.oidc_client_secret_file.read_text().strip()
    with _client(settings) as client:
        configuration = _configuration(client, settings)
        answer = _fetch(client, "POST", str(configuration["token_endpoint"]), data=form)
        keys = _fetch(client, "GET", str(configuration["jwks_uri"]))
    token = answer.get("id_token")
    if not isinstance(token, str):
        raise ProviderFailed("the identity provider gave no ID token", "身份提供方未返回身份令牌")
    try:
        return token, KeySet.import_key_set(keys)  # type: ignore[arg-type]
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise ProviderFailed("the identity provider's keys cannot be read", "无法读取身份提供方的密钥") from error


def verify(token: str, keys: KeySet, *, issuer: str, audience: str, nonce: str, now: int) -> str:
    """The subject that the ID token vouches for. Raises NotVouched."""
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        jwt.JWTClaimsRegistry(
            now=now,
            leeway=_SKEW,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True},
        ).validate(claims)
    except (JoseError, ValueError, TypeError) as error:
        raise NotVouched(getattr(error, "error", type(error).__name__)) from error
    if not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
        raise NotVouched("nonce")
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != audience:
        raise NotVouched("azp")
    return str(claims["sub"])


def finish(control: Control, body: OidcFinishIn, source: Source) -> NewSession:
    """A session for the person whom the provider vouches for. Raises NotVouched, NotOnRecord, ProviderFailed."""
    with control.db.unit(SYSTEM) as unit:
        query = sa.delete(LoginState).where(LoginState.id == _digest(body.state), LoginState.expires_at > unit.now)
        waiting = unit.session.execute(query.returning(LoginState.nonce, LoginState.verifier)).one_or_none()
    if waiting is None:
        raise NotVouched("state")
    token, keys = _exchange(control, body.code, waiting.verifier)
    settings = control.settings
    now = int(control.db.clock().timestamp())
    subject = verify(
        token, keys, issuer=settings.oidc_issuer, audience=settings.oidc_client_id, nonce=waiting.nonce, now=now
    )
    with control.db.unit(SYSTEM) as unit:
        external = f"{settings.oidc_issuer}#{subject}"
        person = unit.session.scalar(sa.select(Staff).where(Staff.external == external).with_for_update())
        if person is None or person.state == "cancelled":
            raise NotOnRecord
        if person.state == "invited":  # vouched for by their own institution: no first password is needed
            repository.void_codes(unit.session, person.id, unit.now)
            unit.transition(person, "active", "staff.oidc", "first sign-in through the identity provider")
        return sessions.open_session(unit, control, person, sessions.OIDC, source)
