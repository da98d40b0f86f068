"""WebAuthn ceremonies: registering a passkey, signing in with one, signing a document with one.

Owns the parts with a memory: a challenge is good once, for one session and for minutes; the origin is on the list; the
counter goes up; the passkey is the person's. What an assertion proves is for `consent.passkey`, and what a
registration proves for the `webauthn` library.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from webauthn import generate_registration_options, options_to_json, verify_registration_response
from webauthn.helpers import decode_credential_public_key, decoded_public_key_to_cryptography
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from api.control import Control
from api.db import Unit
from api.enterprises import attempts, repository, sessions
from api.enterprises.repository import Ceremony, Passkey, Person, PortalSession
from api.enterprises.sessions import Visitor
from api.errors import Conflict, Forbidden, Invalid
from consent import passkey
from consent.keys import BadSignature
from consent.passkey import Assertion, PasskeyKey, rp_id_hash
from consent.signed import Document, passkey_challenge, sign_with_passkey

REGISTER, LOGIN, SIGN = "register", "login", "sign"
LIFETIME = timedelta(minutes=5)
MAX_PASSKEYS = 20
_MAX_FIELD = 8192


class PasskeyInvalid(Invalid):
    """The browser's answer is not a passkey's, or proves something else."""

    code = "passkey_invalid"


class ChallengeUsed(Conflict):
    """The challenge was used, has run out, or belongs to another session."""

    code = "challenge_used"

    def __init__(self) -> None:
        super().__init__(
            "this signature was used already, came too late or belongs to another session: start again",
            "该签署已被使用、已过时或属于另一次登录：请重新开始",
        )


class PasskeyUnknown(Forbidden):
    """Not a passkey on record, or not this person's."""

    code = "passkey_unknown"

    def __init__(self) -> None:
        super().__init__(
            "this passkey is not registered here for you, or was removed: use another or ask the operator",
            "该通行密钥未在本平台为您登记，或已移除：请使用其他密钥或联系平台运营方",
        )


class PasskeyCloned(Forbidden):
    """The authenticator's counter did not go up: two devices may hold one key."""

    code = "passkey_counter"

    def __init__(self) -> None:
        super().__init__(
            "the passkey's counter did not go up, it may have been copied: tell the operator",
            "通行密钥计数未递增，可能已被复制：请联系平台运营方",
        )


@dataclass(frozen=True)
class Started:
    """What a page needs: the ceremony's number and the options for the browser."""

    ceremony: str
    options: dict[str, Any]


def begin(unit: Unit, use: str, challenge: bytes, session: str | None, body: Document | None = None) -> str:
    repository.forget_ceremonies(unit.session, unit.now)
    row = Ceremony(
        id=secrets.token_urlsafe(18),
        use=use,
        session=session,
        challenge=challenge,
        body=None if body is None else json.dumps(body, ensure_ascii=False),
        expires_at=unit.now + LIFETIME,
    )
    unit.session.add(row)
    return row.id


def b64u(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


# ---- registering


def start_registration(control: Control, who: Visitor) -> Started:
    """Options to make a passkey for the visitor."""
    if who.kind != sessions.ENROL:
        who.check_fresh(control.db.clock())
    challenge = secrets.token_bytes(32)
    with control.db.unit(who) as unit:
        own = repository.passkeys(unit.session, [who.account_id])
        options = generate_registration_options(
            rp_id=control.settings.portal_rp_id,
            rp_name=control.settings.portal_name,
            user_id=who.account_id.encode(),
            user_name=f"{who.enterprise_name} · {who.name}",
            challenge=challenge,
            timeout=int(LIFETIME.total_seconds() * 1000),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=raw_of(each.id, "id")) for each in own],
            supported_pub_key_algs=[COSEAlgorithmIdentifier.ECDSA_SHA_256],
        )
        return Started(begin(unit, REGISTER, challenge, who.session_id), json.loads(options_to_json(options)))


def register(control: Control, who: Visitor, ceremony: str, credential: Any, label: str, agent: str) -> str | None:
    """Takes a new passkey. After an enrolment: a session, whose token is returned.

    Raises PasskeyInvalid, ChallengeUsed, or Conflict for a code that was used meanwhile.
    """
    with control.db.unit(who) as unit:
        challenge = take(unit, ceremony, REGISTER, who.session_id)[0]
        found = registered(control, credential, challenge)
        person = repository.person(unit.session, who.account_id, lock=True)
        if person is None or person.state == "removed":
            raise sessions.SignedOut
        enrolling = who.kind == sessions.ENROL
        if enrolling and not repository.use_code(unit.session, str(who.code_id), unit.now):
            raise Conflict(
                "the one-time code was used already: ask for a new one", "验证码已被使用：请重新索取", code="code_used"
            )
        if not enrolling:
            who.check_fresh(unit.now)
        if len(repository.passkeys(unit.session, [person.id])) >= MAX_PASSKEYS:
            raise Conflict(
                f"at most {MAX_PASSKEYS} passkeys: remove one first",
                f"通行密钥至多 {MAX_PASSKEYS} 个：请先移除",
                code="too_many",
            )
        if repository.passkey(unit.session, found.id) is not None:
            raise Conflict("this passkey is registered already", "该通行密钥已登记", code="exists")
        row = Passkey(
            id=found.id,
            person=person.id,
            public_key=found.key.b64,
            label=label,
            sign_count=found.count,
            backed_up=found.backed_up,
            created_at=unit.now,
            used_at=None,
        )
        unit.create(row, "passkey.register", f"registered by {who.name}", state="active", person=person.id)
        if not enrolling:
            return None
        if person.state == "invited":
            unit.transition(person, "active", "person.enrol", "enrolled by a one-time code")
        enterprise = repository.enterprise(unit.session, person.enterprise, lock=True)
        assert enterprise is not None
        # who has no right in the enterprise does not begin its account
        if enterprise.state == "invited" and person.rights:
            unit.transition(enterprise, "active", "enterprise.enrol", f"enrolled by {person.name}")
        repository.end_sessions(unit.session, unit.now, PortalSession.id == who.session_id)
        return sessions.open_session(unit, control, person, sessions.PORTAL, agent, passkey=row.id)


@dataclass(frozen=True)
class _Registered:
    id: str
    key: PasskeyKey
    count: int
    backed_up: bool


def registered(control: Control, credential: Any, challenge: bytes) -> _Registered:
    try:
        verified = verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=control.settings.portal_rp_id,
            expected_origin=sorted(control.settings.origins),
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier.ECDSA_SHA_256],
        )
        public = decoded_public_key_to_cryptography(decode_credential_public_key(verified.credential_public_key))
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise ValueError("not an elliptic-curve key")
        key = PasskeyKey.from_public_key(public)
    except (WebAuthnException, BadSignature, ValueError, TypeError, KeyError) as error:
        raise PasskeyInvalid(
            f"the passkey could not be registered: {error}", "无法登记该通行密钥：请换一个密钥或浏览器重试"
        ) from error
    return _Registered(b64u(verified.credential_id), key, verified.sign_count, verified.credential_backed_up)


def remove(control: Control, who: Visitor, credential_id: str) -> None:
    """Removes a passkey of the visitor's own, or of the enterprise's for who manages it.

    Raises PasskeyUnknown, or Conflict for the only one.
    """
    who.check_fresh(control.db.clock())
    with control.db.unit(who) as unit:
        row = repository.passkey(unit.session, credential_id, lock=True)
        owner = None if row is None else repository.person(unit.session, row.person)
        if row is None or row.state != "active" or owner is None or owner.enterprise != who.uscc:
            raise PasskeyUnknown
        if owner.id != who.account_id:
            who.need(sessions.Right.MANAGE)
        if len(repository.passkeys(unit.session, [owner.id])) == 1 and owner.id == who.account_id:
            raise Conflict(
                "this is your only passkey: register another one first",
                "这是您唯一的通行密钥：请先登记另一个",
                code="last_passkey",
            )
        unit.transition(row, "removed", "passkey.remove", f"removed by {who.name}")
        repository.end_sessions(unit.session, unit.now, PortalSession.passkey == credential_id)


# ---- assertions


@dataclass(frozen=True)
class Answer:
    credential_id: str
    user: bytes
    assertion: Assertion


def raw_of(text: object, name: str) -> bytes:
    try:
        if not isinstance(text, str) or len(text) > _MAX_FIELD:
            raise ValueError("not a text")
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise PasskeyInvalid(f"{name}: base64url is needed", f"{name}：应为 base64url") from error
    return raw


def read_answer(credential: Any) -> Answer:
    """The parts of a browser's PublicKeyCredential in its JSON form. Raises PasskeyInvalid or MalformedAssertion."""
    response = credential.get("response") if isinstance(credential, dict) else None
    if not isinstance(response, dict):
        raise PasskeyInvalid("a passkey's answer is needed", "缺少通行密钥的应答")
    assertion = Assertion.from_authenticator(
        raw_of(response.get("authenticatorData"), "authenticatorData"),
        raw_of(response.get("clientDataJSON"), "clientDataJSON"),
        raw_of(response.get("signature"), "signature"),
    )
    handle = response.get("userHandle")
    user = b"" if handle is None else raw_of(handle, "userHandle")
    return Answer(b64u(raw_of(credential.get("id"), "id")), user, assertion)


def take(unit: Unit, ceremony: str, use: str, session: str | None) -> tuple[bytes, Document | None]:
    """The challenge and its document, never again. Raises ChallengeUsed."""
    found = repository.take_ceremony(unit.session, ceremony, use, session, unit.now)
    if found is None:
        raise ChallengeUsed
    return found.challenge, None if found.body is None else json.loads(found.body)


def _check(unit: Unit, control: Control, answer: Answer, challenge: bytes) -> tuple[Passkey, Person]:
    """The passkey on record that made the assertion, its counter moved on. Raises by name."""
    row = repository.passkey(unit.session, answer.credential_id, lock=True)
    person = None if row is None else repository.person(unit.session, row.person)
    if row is None or row.state != "active" or person is None or person.state != "active":
        raise PasskeyUnknown
    row.sign_count = proved(control, answer, challenge, row.public_key, row.sign_count, person.id)
    row.backed_up, row.used_at = answer.assertion.backed_up, unit.now
    return row, person


def proved(control: Control, answer: Answer, challenge: bytes, public_key: str, counter: int, holder: str) -> int:
    """The key's counter after an assertion that it made here, over `challenge`, for its holder. Raises by name."""
    if answer.user and not hmac.compare_digest(answer.user, holder.encode()):
        raise PasskeyUnknown
    settings = control.settings
    key = PasskeyKey.from_b64(public_key)
    origin = passkey.check(answer.assertion, key, challenge, rp_id_hash(settings.portal_rp_id))
    if origin not in settings.origins:
        raise passkey.WrongRelyingParty(f"made at {origin}, accepted are {', '.join(sorted(settings.origins))}")
    count = answer.assertion.sign_count
    if (count or counter) and count <= counter:
        raise PasskeyCloned
    return count


def start_login(control: Control, address: str) -> Started:
    """Options to sign in with any passkey of this site: no name is asked for, so none can be guessed.

    Raises TooManyAttempts.
    """
    attempts.login(control, address)
    challenge = secrets.token_bytes(32)
    with control.db.unit(sessions.NOBODY) as unit:
        return Started(begin(unit, LOGIN, challenge, None), request_options(control, challenge, []))


def request_options(control: Control, challenge: bytes, allowed: list[str]) -> dict[str, Any]:
    return {
        "challenge": b64u(challenge),
        "rpId": control.settings.portal_rp_id,
        "timeout": int(LIFETIME.total_seconds() * 1000),
        "userVerification": "required",
        "allowCredentials": [{"type": "public-key", "id": each} for each in allowed],
    }


def login(control: Control, ceremony: str, credential: Any, agent: str) -> str:
    """A session for who holds the passkey; returns its token. Raises by name."""
    answer = read_answer(credential)
    attempts.passkey(control, answer.credential_id)
    with control.db.unit(sessions.NOBODY) as unit:
        challenge, _ = take(unit, ceremony, LOGIN, None)
        row, person = _check(unit, control, answer, challenge)
        enterprise = repository.enterprise(unit.session, person.enterprise)
        if enterprise is None or not sessions.stands(sessions.PORTAL, person, enterprise.state):
            raise Forbidden(
                "the enterprise's account is not active: ask the operator",
                "该企业账户未处于可用状态：请联系平台运营方",
                code="enterprise_not_active",
            )
        unit.session.flush()
        unit.record("passkey.use", row, "signed in", detail={"person": person.id})
        return sessions.open_session(unit, control, person, sessions.PORTAL, agent, passkey=row.id)


def start_signing(control: Control, who: Visitor, body: Document) -> Started:
    """Options to sign `body` with one of the visitor's passkeys; the document waits for the answer."""
    challenge = passkey_challenge(body)
    with control.db.unit(who) as unit:
        own = repository.passkeys(unit.session, [who.account_id])
        ceremony = begin(unit, SIGN, challenge, who.session_id, body)
        return Started(ceremony, request_options(control, challenge, [each.id for each in own]))


def finish_signing(unit: Unit, control: Control, who: Visitor, ceremony: str, credential: Any) -> Document:
    """The document that waited, signed by the visitor's passkey. Raises by name; the challenge is used up only when
    the caller's transaction is."""
    answer = read_answer(credential)
    challenge, body = take(unit, ceremony, SIGN, who.session_id)
    assert body is not None
    row, person = _check(unit, control, answer, challenge)
    if person.id != who.account_id:
        raise PasskeyUnknown
    unit.session.flush()
    unit.record(
        "passkey.use", row, "signed a document", detail={"person": person.id, "consent": body.get("consent_id")}
    )
    return sign_with_passkey(body, PasskeyKey.from_b64(row.public_key), answer.assertion)
