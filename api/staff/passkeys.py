"""Passkeys of people: registered in a session, then a sign-in of its own that needs no password.

The ceremonies' memory and form are those of the enterprises' portal (`api.enterprises.ceremonies`); what an assertion
proves is for `consent.passkey`.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from webauthn import generate_registration_options, options_to_json
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from api.auth import Caller
from api.control import Control
from api.db import SYSTEM
from api.enterprises import ceremonies
from api.enterprises.ceremonies import PasskeyUnknown
from api.errors import Conflict
from api.staff import repository, service, sessions
from api.staff.repository import StaffPasskey
from api.staff.schemas import CredentialIn, NewSession, Started
from api.staff.sessions import Source

REGISTER, LOGIN = "staff_register", "staff_login"


def start_registration(control: Control, caller: Caller) -> Started:
    """Options to make a passkey for the caller."""
    challenge = secrets.token_bytes(32)
    with control.db.unit(SYSTEM) as unit:
        person = service.oneself(unit, caller)
        own = repository.passkeys(unit.session, person.id)
        options = generate_registration_options(
            rp_id=control.settings.portal_rp_id,
            rp_name=control.settings.portal_name,
            user_id=person.id.encode(),
            user_name=f"{caller.institution} · {person.name}",
            challenge=challenge,
            timeout=int(ceremonies.LIFETIME.total_seconds() * 1000),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=ceremonies.raw_of(each.id, "id")) for each in own],
            supported_pub_key_algs=[COSEAlgorithmIdentifier.ECDSA_SHA_256],
        )
        number = ceremonies.begin(unit, REGISTER, challenge, caller.session_id)
        return Started(ceremony=number, options=json.loads(options_to_json(options)))


def register(control: Control, caller: Caller, body: CredentialIn) -> None:
    """Takes a passkey into use. Raises PasskeyInvalid, ChallengeUsed, or Conflict for one that is known."""
    with control.db.unit(SYSTEM) as unit:
        person = service.oneself(unit, caller)
        challenge, _ = ceremonies.take(unit, body.ceremony, REGISTER, caller.session_id)
        found = ceremonies.registered(control, body.credential, challenge)
        if unit.session.get(StaffPasskey, found.id) is not None:
            raise Conflict("this passkey is registered already", "该通行密钥已登记", code="exists")
        row = StaffPasskey(
            id=found.id, staff=person.id, public_key=found.key.b64, label=body.label, sign_count=found.count,
            created_at=unit.now,
        )  # fmt: skip
        unit.create(row, "staff.passkey.register", f"registered by {person.name}", state="active", staff=person.id)
        service.raise_session(unit, caller, sessions.PASSKEY)


def start_login(control: Control) -> Started:
    """Options to sign in with any passkey of this site: no name is asked for, so none can be guessed."""
    challenge = secrets.token_bytes(32)
    with control.db.unit(SYSTEM) as unit:
        options: dict[str, Any] = ceremonies.request_options(control, challenge, [])
        return Started(ceremony=ceremonies.begin(unit, LOGIN, challenge, None), options=options)


def login(control: Control, body: CredentialIn, source: Source) -> NewSession:
    """A session for who holds the passkey. Raises PasskeyUnknown, PasskeyCloned, ChallengeUsed, SignedInElsewhere."""
    answer = ceremonies.read_answer(body.credential)
    with control.db.unit(SYSTEM) as unit:
        challenge, _ = ceremonies.take(unit, body.ceremony, LOGIN, None)
        row = unit.session.get(StaffPasskey, answer.credential_id, with_for_update=True)
        person = None if row is None else repository.staff(unit.session, row.staff, lock=True)
        if row is None or row.state != "active" or person is None or person.state != "active":
            raise PasskeyUnknown
        row.sign_count = ceremonies.proved(control, answer, challenge, row.public_key, row.sign_count, person.id)
        row.used_at = unit.now
        unit.session.flush()
        unit.record("staff.passkey.use", row, "signed in", detail={"staff": person.id})
        return sessions.open_session(unit, control, person, sessions.PASSKEY, source)
