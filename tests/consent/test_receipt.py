"""Receipts prove a step of a consent offline, and every change to one is refused by name (R14, R44, R48)."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from consent import artefact, templates
from consent.canonical import canonical
from consent.keyring import KeyNotValid, Keyring
from consent.keys import BadSignature, SigningKey
from consent.ledger.entries import entry, new_salt
from consent.ledger.errors import ForgedHead, LedgerError, RootMismatch
from consent.ledger.log import Ledger
from consent.ledger.merkle import leaf_hash
from consent.ledger.proofs import prove_inclusion
from consent.ledger.store import MemoryStore
from consent.receipt import (
    TYP,
    InconsistentReceipt,
    LedgerPosition,
    MalformedReceipt,
    ProofMismatch,
    ReceiptView,
    TamperedReceipt,
    UnknownVersion,
    WrongKey,
    issue,
    verify,
)
from consent.signed import countersign, sign
from consent.suites import SUITES
from consent.suites.errors import SuiteMismatch, SuiteNotAllowed

AT = "2026-06-01T08:00:00Z"
LATER = "2026-06-02T08:00:00Z"


class World:
    """One enterprise, one platform, in one suite."""

    def __init__(self, suite: str) -> None:
        self.platform, self.enterprise = SigningKey.generate(suite), SigningKey.generate(suite)
        self.keyring = Keyring.found(
            self.platform, platform="zone", at="2026-01-01T00:00:00Z", valid_until="2027-01-01T00:00:00Z"
        )
        fields: dict[str, Any] = {
            "consent_id": "c-1",
            "enterprise": "91110108MA01ABCD2X",
            "recipient": "bank_a",
            "provider": "lab",
            "valid_from": AT,
            "valid_until": "2026-12-01T00:00:00Z",
            "given_at": AT,
            "evidence": {"kind": "import", "reference": "0" * 64},
            **templates.terms("joint_training"),
        }
        self.consent = self.signed(artefact.consent(**fields))
        self.refusal = self.signed(artefact.refusal(**{**fields, "consent_id": "c-2"}))
        self.withdrawal = self.signed(artefact.withdrawal(consent_id="c-1", enterprise=fields["enterprise"], at=LATER))
        self.receipt = self.issue(self.consent)

    def signed(self, body: dict, by: SigningKey | None = None) -> dict:
        return countersign(sign(body, by or self.enterprise, "enterprise"), self.platform, "platform")

    def issue(self, document: dict, key: SigningKey | None = None, **changes: Any) -> bytes:
        fields = {"receipt_id": "r-1", "platform": "zone", "recorded_at": AT, "issued_at": AT, **changes}
        return issue(document, key or self.platform, **fields)

    def reissued(self, key: SigningKey | None = None, header: dict | None = None, **changes: Any) -> bytes:
        """A receipt with another payload, truly signed: what the platform itself might get wrong."""
        signer = key or self.platform
        jws = json.loads(self.receipt)
        payload = {**json.loads(decode(jws["payload"])), **changes}
        protected = encode(canonical({**json.loads(decode(jws["protected"])), **(header or {})}))
        content = encode(canonical(payload))
        signature = encode(signer.sign(f"{protected}.{content}".encode()))
        return canonical({"payload": content, "protected": protected, "signature": signature})

    def verify(self, raw: bytes, **options: Any) -> ReceiptView:
        return verify(raw, self.keyring, **options)


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


WORLDS = {name: World(name) for name in SUITES}
ED = WORLDS["ed25519"]


@pytest.fixture(params=sorted(WORLDS))
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param]


# ---- what holds


def test_a_receipt_says_who_let_whom_use_what_for(world: World) -> None:
    view = world.verify(world.receipt)
    assert (view.transition, view.consent_id, view.enterprise) == ("grant", "c-1", "91110108MA01ABCD2X")
    assert (view.recipient, view.purpose, view.recorded_at) == ("bank_a", "joint_training", AT)
    assert view.document == world.consent
    assert (view.suite, view.key_id) == (world.platform.suite, world.platform.public.key_id)
    assert view.enterprise_key_id == world.enterprise.public.key_id
    assert view.hash == SUITES[view.suite].hash_name
    assert view.document_hash == SUITES[view.suite].digest(canonical(world.consent)).hex()
    assert view.ledger is None and view.proven is None


def test_every_step_has_its_receipt(world: World) -> None:
    assert world.verify(world.issue(world.refusal)).transition == "refuse"
    raw = world.issue(world.withdrawal, recorded_at=LATER, issued_at=LATER, consent=(world.consent, AT))
    view = world.verify(raw)
    assert (view.transition, view.recipient, view.purpose) == ("withdraw", "bank_a", "joint_training")


def test_an_expiry_is_the_platforms_word_and_says_so(world: World) -> None:
    body = artefact.transition(
        consent_id="c-1",
        enterprise="91110108MA01ABCD2X",
        action="expire",
        at="2026-12-01T00:00:00Z",
        sequence=1,
        previous="0" * 64,
    )
    times = {"recorded_at": "2026-12-01T00:00:00Z", "issued_at": "2026-12-01T00:00:00Z"}
    raw = world.issue(sign(body, world.platform, "platform"), consent=(world.consent, AT), **times)
    assert world.verify(raw).enterprise_key_id is None


def test_an_ed25519_receipt_is_a_jws_that_anybody_can_check() -> None:
    """RFC 7515 flattened JSON and RFC 8037, read here with nothing of ours."""
    jws = json.loads(ED.receipt)
    header = json.loads(decode(jws["protected"]))
    assert header == {"alg": "EdDSA", "kid": ED.platform.public.key_id, "typ": TYP}
    key = Ed25519PublicKey.from_public_bytes(ED.platform.public.raw)
    key.verify(decode(jws["signature"]), f"{jws['protected']}.{jws['payload']}".encode())


def test_the_published_ed25519_jws() -> None:
    """RFC 8037, appendix A.4: the same signing input gives the same signature."""
    seed = decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    key = SigningKey.from_der(bytes.fromhex("302e020100300506032b657004220420") + seed)
    signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc")
    assert encode(signature) == (
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )


def test_an_sm2_receipt_names_its_algorithms(world: World) -> None:
    header = json.loads(decode(json.loads(WORLDS["sm2"].receipt)["protected"]))
    assert header["alg"] == "SM2-SM3"
    assert WORLDS["sm2"].verify(WORLDS["sm2"].receipt, allowed={"sm2"}).hash == "sm3"


# ---- changes


@pytest.mark.parametrize("name", sorted(WORLDS))
@settings(max_examples=250, deadline=None)
@given(position=st.integers(0, 100_000), change=st.integers(1, 255))
def test_any_changed_byte_is_refused(name: str, position: int, change: int) -> None:
    world = WORLDS[name]
    raw = bytearray(world.receipt)
    raw[position % len(raw)] ^= change
    with pytest.raises(BadSignature) as caught:
        world.verify(bytes(raw))
    assert caught.value.code and caught.value.message and caught.value.message_zh


def test_every_letter_of_header_and_signature_counts(world: World) -> None:
    """Also the last ones, whose base64 has spare bits."""
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    jws = json.loads(world.receipt)
    for field in ("protected", "payload", "signature"):
        for position in (0, 1, len(jws[field]) - 2, len(jws[field]) - 1):
            for letter in letters:
                changed = jws[field][:position] + chr(letter) + jws[field][position + 1 :]
                if changed == jws[field]:
                    continue
                with pytest.raises(BadSignature):
                    world.verify(canonical({**jws, field: changed}))


def test_a_changed_payload_is_called_tampered(world: World) -> None:
    jws = json.loads(world.receipt)
    payload = json.loads(decode(jws["payload"]))
    payload["recipient"] = "bank_b"
    with pytest.raises(TamperedReceipt) as caught:
        world.verify(canonical({**jws, "payload": encode(canonical(payload))}))
    assert caught.value.code == "receipt_tampered" and "改动" in caught.value.message_zh


def test_a_receipt_by_a_strangers_key_is_refused(world: World) -> None:
    stranger = SigningKey.generate(world.platform.suite)
    with pytest.raises(WrongKey):
        world.verify(world.issue(world.consent, key=stranger))
    with pytest.raises(TamperedReceipt):
        world.verify(world.reissued(key=stranger))  # under the platform's key id


def test_a_receipt_cannot_change_its_algorithm(world: World) -> None:
    other = {"ed25519": "SM2-SM3", "sm2": "EdDSA"}[world.platform.suite]
    for alg in (other, "none", "HS256", "", None, 1):
        with pytest.raises(SuiteMismatch):
            world.verify(world.reissued(header={"alg": alg}))
    with pytest.raises(SuiteNotAllowed):
        world.verify(world.receipt, allowed=set(SUITES) - {world.platform.suite})


def test_the_receipts_own_signature_counts_among_the_allowed_suites() -> None:
    """Everything inside is of one suite, only the receipt itself of another."""
    world, new = World("ed25519"), SigningKey.generate("sm2")
    keyring = world.keyring.add(world.platform, new.public, at=AT, valid_from=AT, valid_until=LATER)
    receipt = world.issue(world.consent, key=new)
    assert verify(receipt, keyring, allowed={"ed25519", "sm2"})
    for allowed in ({"ed25519"}, {"sm2"}):
        with pytest.raises(SuiteNotAllowed):
            verify(receipt, keyring, allowed=allowed)


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"kid": None}, {"crit": ["b64"]}, {"jwk": {}}])
def test_another_header_is_refused(world: World, header: dict) -> None:
    with pytest.raises(MalformedReceipt):
        world.verify(world.reissued(header=header))


@pytest.mark.parametrize("version", [0, 2, "1", 1.5, None, True])
def test_an_unknown_version_is_refused_by_name(version: object) -> None:
    with pytest.raises(UnknownVersion) as caught:
        ED.verify(ED.reissued(version=version))
    assert caught.value.code == "receipt_version_unknown"


def test_a_signed_document_is_no_receipt(world: World) -> None:
    for raw in (canonical(world.consent), b"", b"{}", b"[]", world.receipt + b"\n", b" " + world.receipt, b"\xff"):
        with pytest.raises(MalformedReceipt):
            world.verify(raw)


# ---- a platform that errs


@pytest.mark.parametrize(
    "changes",
    [
        {"enterprise": "another"},
        {"recipient": "bank_b"},
        {"purpose": "report_query"},
        {"consent_id": "c-9"},
        {"transition": "withdraw"},
        {"hash": "sm3"},
        {"document_hash": "0" * 64},
        {"document": ED.refusal},
        {"recorded_at": LATER},
    ],
)
def test_a_receipt_that_does_not_fit_its_document_is_refused(changes: dict) -> None:
    with pytest.raises(InconsistentReceipt):
        ED.verify(ED.reissued(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"note": "x"},
        {"receipt_id": "a b"},
        {"receipt_id": 7},
        {"platform": ""},
        {"issued_at": "2026-06-01"},
        {"issued_at": None},
        {"consent": {}},
        {"consent": {"document": ED.consent, "recorded_at": AT}},
        {"ledger": {}},
        {"ledger": {"log_id": "l", "index": -1, "leaf_hash": "0" * 64, "salt": "0" * 64, "hash": "sha256"}},
        {"ledger": {"log_id": "l", "index": 1, "leaf_hash": "xx", "salt": "0" * 64, "hash": "sha256"}},
        {"ledger": {"log_id": "l", "index": True, "leaf_hash": "0" * 64, "salt": "0" * 64, "hash": "sha256"}},
    ],
)
def test_a_payload_of_another_form_is_refused(changes: dict) -> None:
    with pytest.raises(MalformedReceipt):
        ED.verify(ED.reissued(**changes))


def _with(document: dict) -> dict[str, Any]:
    return {"document": document, "document_hash": SUITES["ed25519"].digest(canonical(document)).hex()}


def test_a_receipt_over_a_forged_consent_is_refused(world: World) -> None:
    """The platform alone cannot make a consent: the enterprise's own signature is checked too (R14)."""
    forged = copy.deepcopy(world.consent)
    forged["body"]["life_days"] += 1
    unsigned = sign(world.consent["body"], world.platform, "platform")
    uncountersigned = sign(world.consent["body"], world.enterprise, "enterprise")
    for document in (forged, unsigned, uncountersigned):
        with pytest.raises(InconsistentReceipt):
            world.verify(world.issue(document))
    stranger = SigningKey.generate(world.platform.suite)
    countersigned = countersign(uncountersigned, stranger, "platform")
    with pytest.raises(InconsistentReceipt):
        world.verify(world.issue(countersigned))


def test_an_enterprise_signature_that_only_the_platform_vouches_for_is_refused(world: World) -> None:
    """The platform countersigns a signature that the enterprise made over something else (R14)."""
    other = sign({**world.consent["body"], "life_days": 1}, world.enterprise, "enterprise")
    transplanted = {"body": world.consent["body"], "signatures": other["signatures"]}
    document = countersign(transplanted, world.platform, "platform")
    with pytest.raises(InconsistentReceipt, match="does not hold"):
        world.verify(world.issue(document))


def test_documents_that_are_none_are_refused() -> None:
    for document in (None, [], {"body": {}, "signatures": []}, {"body": ED.consent["body"], "signatures": [1]}):
        with pytest.raises(BadSignature):
            ED.verify(ED.reissued(**_with(document)))


def test_a_transition_carries_the_consent_it_changes(world: World) -> None:
    times = {"recorded_at": LATER, "issued_at": LATER}
    with pytest.raises(MalformedReceipt):
        world.issue(world.withdrawal, **times)
    with pytest.raises(InconsistentReceipt):
        world.issue(world.withdrawal, consent=(world.refusal, AT), **times)
    with pytest.raises(InconsistentReceipt):
        world.issue(world.withdrawal, consent=(world.consent, "2026-06-03T00:00:00Z"), **times)
    stranger = world.signed(world.withdrawal["body"], SigningKey.generate(world.platform.suite))
    with pytest.raises(InconsistentReceipt, match="another key"):
        world.verify(world.issue(stranger, consent=(world.consent, AT), **times))


def test_a_transition_of_another_enterprise_is_refused() -> None:
    """Same consent number, same key, but the withdrawal names somebody else."""
    body = {**ED.withdrawal["body"], "enterprise": "another"}
    changes = {
        **_with(ED.signed(body)),
        "transition": "withdraw",
        "enterprise": "another",
        "consent": {"document": ED.consent, "recorded_at": AT},
    }
    with pytest.raises(InconsistentReceipt, match="name two"):
        ED.verify(ED.reissued(**changes))


# ---- keys over time


def test_a_receipt_of_a_retired_key_still_holds_and_a_later_one_does_not() -> None:
    world = World("ed25519")
    new = SigningKey.generate("sm2")
    keyring = world.keyring.add(
        world.platform, new.public, at=AT, valid_from=AT, valid_until="2028-01-01T00:00:00Z"
    ).retire(new, world.platform.public.key_id, at=LATER)
    assert verify(world.receipt, keyring)
    late = world.issue(world.consent, issued_at="2026-06-03T00:00:00Z")
    with pytest.raises(KeyNotValid):
        verify(late, keyring)
    again = world.issue(world.consent, key=new, issued_at="2026-06-03T00:00:00Z")
    assert verify(again, keyring).suite == "sm2"


def test_a_receipt_of_a_compromised_key_is_refused_until_it_is_made_anew() -> None:
    world = World("ed25519")
    new = SigningKey.generate()
    keyring = world.keyring.add(
        world.platform, new.public, at=AT, valid_from=AT, valid_until="2028-01-01T00:00:00Z"
    ).compromise(new, world.platform.public.key_id, since=LATER, at=LATER)
    with pytest.raises(KeyNotValid, match="ask the platform"):
        verify(world.receipt, keyring)
    assert verify(world.receipt, keyring, witnessed=True)
    assert verify(world.issue(world.consent, key=new, issued_at=LATER), keyring)


# ---- ledger


def logged(world: World) -> tuple[bytes, dict, MemoryStore]:
    """A receipt with its place in a ledger of seven entries, and the proof of it."""
    name = SUITES[world.platform.suite].hash_name
    store = MemoryStore("zone-log", name)
    log = Ledger(store)
    salt = new_salt()
    others = [entry("data_use", AT, {"n": n}, new_salt(), name) for n in range(6)]
    log.append([*others[:4], entry("consent", AT, world.consent, salt, name), *others[4:]])
    head = log.sign_head(world.platform, AT)
    proof = prove_inclusion(store, 4, head)
    (raw,) = store.entries(4, 5)
    position = LedgerPosition("zone-log", 4, leaf_hash(raw, name).hex(), salt.hex(), name)
    return world.issue(world.consent, ledger=position), proof, store


def test_a_receipt_with_a_proof_shows_that_the_ledger_holds_it(world: World) -> None:
    receipt, proof, _ = logged(world)
    assert world.verify(receipt).ledger.index == 4
    view = world.verify(receipt, proof=proof)
    assert (view.proven.head.size, view.proven.recorded.sequence) == (7, 4)


def test_a_proof_of_another_entry_is_refused(world: World) -> None:
    receipt, proof, store = logged(world)
    with pytest.raises(ProofMismatch):
        world.verify(receipt, proof=prove_inclusion(store, 3, proof["head"]))
    with pytest.raises(ProofMismatch, match="no ledger position"):
        world.verify(world.receipt, proof=proof)
    view = world.verify(receipt)
    salted = world.issue(world.consent, ledger=replace(view.ledger, salt="0" * 64))
    with pytest.raises(LedgerError):
        world.verify(salted, proof=proof)
    refused = world.issue(world.refusal, ledger=view.ledger)
    with pytest.raises(LedgerError):
        world.verify(refused, proof=proof)


def test_a_changed_proof_is_refused(world: World) -> None:
    receipt, proof, _ = logged(world)
    changed = copy.deepcopy(proof)
    changed["path"][0] = "0" * 64
    with pytest.raises(RootMismatch):
        world.verify(receipt, proof=changed)
    changed = copy.deepcopy(proof)
    changed["head"]["body"]["root"] = "0" * 64
    with pytest.raises(ForgedHead):
        world.verify(receipt, proof=changed)
