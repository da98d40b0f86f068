"""/v1/staff and what belongs to accounts: people, sign-in, sessions, tokens, sanctions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import ReasonIn
from api.staff import oidc, passkeys, service, sessions
from api.staff.door import COOKIE
from api.staff.schemas import (
    AccountSanctionIn,
    AccountSanctionOut,
    AccountSanctions,
    CredentialIn,
    DutiesIn,
    FirstPasswordIn,
    LeaverIn,
    LoginIn,
    NewPerson,
    NewSession,
    NewToken,
    OidcFinishIn,
    OidcStart,
    People,
    PersonIn,
    Sessions,
    Started,
    TokenIn,
    Tokens,
    TotpIn,
    TotpOut,
)
from api.staff.sessions import Source

router = APIRouter(prefix="/v1", tags=["staff"])
_PUBLIC = [Depends(permits(Action.PUBLIC))]
AccountId = Annotated[str, Path(pattern="^a-[0-9a-f]{12}$")]
SessionId = Annotated[str, Path(pattern="^ss-[0-9a-f]{16}$")]
TokenId = Annotated[str, Path(pattern="^k-[0-9a-f]{12}$")]
SanctionId = Annotated[str, Path(pattern="^as-[0-9a-f]{12}$")]
Oneself = Annotated[Caller, Depends(permits(Action.SELF_MANAGE))]
Changer = Annotated[Caller, Depends(permits(Action.ACCOUNT_CHANGE))]
Reader = Annotated[Caller, Depends(permits(Action.ACCOUNT_READ))]
Sanctioner = Annotated[Caller, Depends(permits(Action.ACCOUNT_SANCTION))]


def _signed_in(control: ControlDep, response: Response, made: NewSession) -> NewSession:
    response.set_cookie(
        COOKIE,
        made.token,
        max_age=int(control.settings.staff_session_seconds),
        secure=True,
        httponly=True,
        samesite="strict",
        path="/",
    )
    return made


# ---- signing in


@router.post("/staff/password", status_code=204, dependencies=_PUBLIC)
def first_password(control: ControlDep, request: Request, body: FirstPasswordIn) -> None:
    """Set the password with the one-time code that was handed over."""
    service.first_password(control, body, Source.of(request))


@router.post("/staff/login", dependencies=_PUBLIC)
def login(control: ControlDep, request: Request, response: Response, body: LoginIn) -> NewSession:
    """Sign in with name, password and one-time password."""
    return _signed_in(control, response, service.login(control, body, Source.of(request)))


@router.post("/staff/passkey/login", dependencies=_PUBLIC)
def passkey_login_start(control: ControlDep) -> Started:
    """Begin to sign in with a passkey."""
    return passkeys.start_login(control)


@router.post("/staff/passkey/login/finish", dependencies=_PUBLIC)
def passkey_login(control: ControlDep, request: Request, response: Response, body: CredentialIn) -> NewSession:
    """Sign in with a passkey."""
    return _signed_in(control, response, passkeys.login(control, body, Source.of(request)))


@router.post("/staff/oidc/login", dependencies=_PUBLIC)
def oidc_start(control: ControlDep) -> OidcStart:
    """Begin to sign in through the institutions' own identity provider."""
    return oidc.start(control)


@router.post("/staff/oidc/login/finish", dependencies=_PUBLIC)
def oidc_finish(control: ControlDep, request: Request, response: Response, body: OidcFinishIn) -> NewSession:
    """Sign in with what the identity provider handed to the browser."""
    return _signed_in(control, response, oidc.finish(control, body, Source.of(request)))


@router.get("/staff/oidc/callback", dependencies=_PUBLIC)
def oidc_callback(
    control: ControlDep,
    request: Request,
    response: Response,
    state: Annotated[str, Query(min_length=1, max_length=512)],
    code: Annotated[str, Query(min_length=1, max_length=2048)],
) -> NewSession:
    """Where the identity provider sends the browser back to."""
    return _signed_in(control, response, oidc.finish(control, OidcFinishIn(state=state, code=code), Source.of(request)))


# ---- oneself


@router.post("/staff/logout", status_code=204)
def logout(control: ControlDep, caller: Oneself, response: Response, everywhere: bool = False) -> None:
    """End this session, or all of one's own."""
    sessions.logout(control, caller, everywhere=everywhere)
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")


@router.post("/staff/totp")
def totp_start(control: ControlDep, caller: Oneself) -> TotpOut:
    """A secret for an authenticator, shown once."""
    return service.start_totp(control, caller)


@router.post("/staff/totp/finish", status_code=204)
def totp_finish(control: ControlDep, caller: Oneself, body: TotpIn) -> None:
    """Take TOTP into use with a code of the authenticator."""
    service.finish_totp(control, caller, body)


@router.post("/staff/passkey")
def passkey_start(control: ControlDep, caller: Oneself) -> Started:
    """Begin to register a passkey."""
    return passkeys.start_registration(control, caller)


@router.post("/staff/passkey/finish", status_code=204)
def passkey_finish(control: ControlDep, caller: Oneself, body: CredentialIn) -> None:
    """Take a passkey into use."""
    passkeys.register(control, caller, body)


# ---- people


@router.post("/staff", status_code=201)
def create(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.STAFF_CREATE))], body: PersonIn
) -> NewPerson:
    """Put an operator of the own institution on record: only its admin does."""
    return service.create(control, caller, body)


@router.get("/staff")
def people(control: ControlDep, caller: Reader, overdue: bool = False) -> People:
    """People; with `overdue` leavers who should be disabled by now."""
    return service.people(control, caller, overdue=overdue)


@router.post("/staff/{account_id}/reset", status_code=201)
def reset(control: ControlDep, caller: Changer, account_id: AccountId, body: ReasonIn) -> NewPerson:
    """A new one-time code for a lost password or second factor; the old ones end."""
    return service.reset(control, caller, account_id, body.reason)


@router.post("/staff/{account_id}/leave", status_code=204)
def leave(control: ControlDep, caller: Changer, account_id: AccountId, body: LeaverIn) -> None:
    """Record that somebody left or changed duty."""
    service.leave(control, caller, account_id, body)


@router.put("/accounts/{account_id}/duties", status_code=204)
def change_duties(control: ControlDep, caller: Changer, account_id: AccountId, body: DutiesIn) -> None:
    """Narrow or widen what an account may do, within its roles."""
    service.change_duties(control, caller, account_id, body)


@router.post("/accounts/{account_id}/cancel", status_code=204)
def cancel(control: ControlDep, caller: Changer, account_id: AccountId, body: ReasonIn) -> None:
    """End an account for good."""
    service.cancel(control, caller, account_id, body.reason)


# ---- sessions


@router.get("/staff/sessions")
def list_sessions(control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.SESSION_READ))]) -> Sessions:
    """Who is signed in from where, and which accounts from two places."""
    return sessions.page(control, caller)


@router.post("/staff/sessions/{session_id}/end", status_code=204)
def end_session(
    control: ControlDep, caller: Annotated[Caller, Depends(permits(Action.SESSION_END))], session_id: SessionId
) -> None:
    """End somebody's session."""
    sessions.end(control, caller, session_id)


# ---- tokens of API clients


@router.get("/accounts/{account_id}/tokens")
def tokens(control: ControlDep, caller: Reader, account_id: AccountId) -> Tokens:
    """When an API client's tokens were made and end."""
    return service.tokens(control, caller, account_id)


@router.post("/accounts/{account_id}/tokens", status_code=201)
def rotate(control: ControlDep, caller: Changer, account_id: AccountId, body: TokenIn) -> NewToken:
    """A new token; earlier ones end after `keep_hours`."""
    return service.rotate(control, caller, account_id, body)


@router.post("/accounts/{account_id}/tokens/{token_id}/end", status_code=204)
def end_token(control: ControlDep, caller: Changer, account_id: AccountId, token_id: TokenId, body: ReasonIn) -> None:
    """End one token at once."""
    service.end_token(control, caller, account_id, token_id, body.reason)


# ---- sanctions on one user


@router.post("/accounts/{account_id}/sanctions", status_code=201)
def sanction(
    control: ControlDep, caller: Sanctioner, account_id: AccountId, body: AccountSanctionIn
) -> AccountSanctionOut:
    """Suspend some or all of an account's duties, at once."""
    return service.sanction(control, caller, account_id, body)


@router.post("/accounts/sanctions/{sanction_id}/lift")
def lift(control: ControlDep, caller: Sanctioner, sanction_id: SanctionId, body: ReasonIn) -> AccountSanctionOut:
    """Lift a sanction."""
    return service.lift(control, caller, sanction_id, body.reason)


@router.get("/accounts/sanctions")
def sanctions(
    control: ControlDep,
    caller: Reader,
    account_id: Annotated[str | None, Query(pattern="^a-[0-9a-f]{12}$")] = None,
) -> AccountSanctions:
    """Sanctions, the newest first."""
    return service.sanctions(control, caller, account_id)
