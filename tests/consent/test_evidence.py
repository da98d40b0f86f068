"""How an enterprise's act is proved: by passkey, by key, or by the platform as registrar, and who may act next."""

from __future__ import annotations

import json

import pytest

from consent import artefact, receipt
from consent.book import ConsentBook, verify_event
from consent.evidence import NO_KEY, NotTheEnterprise, check_follows
from consent.keyring import Keyring
from consent.keys import BadSignature, SigningKey
from consent.policy import Denied
from consent.signed import countersign, enterprise_key, sign, signatory, verify
from tests.consent.test_passkey import AT, DOCUMENT, PLATFORM, consent
from tests.support.authenticator import EVIDENCE, Passkey

SESSION = {"kind": "session_code", "reference": "5" * 64}


def registered(body: dict, key: SigningKey = PLATFORM, countersigned_by: SigningKey | None = None) -> dict:
    """What the platform signs where a session and a code prove the enterprise's act."""
    return countersign(sign(body, key, "registrar"), countersigned_by or key, "platform")


# ---- the second way: a session and a one-time code


def test_under_a_session_code_the_platform_signs_as_registrar_and_it_shows() -> None:
    document = registered(consent(SESSION))
    assert verify(document, "enterprise")["evidence"]["kind"] == "session_code"
    assert enterprise_key(document) is None
    assert signatory(document) == NO_KEY
    verify_event({"seq": 1, "kind": "consent", "document": document}, PLATFORM.public)
    keyring = Keyring.found(PLATFORM, platform="zone", at="2026-01-01T00:00:00Z", valid_until="2027-01-01T00:00:00Z")
    raw = receipt.issue(document, PLATFORM, receipt_id="r-1", platform="zone", recorded_at=AT, issued_at=AT)
    view = receipt.verify(raw, keyring)
    assert (view.evidence, view.enterprise_key_id) == ("session_code", None)


def test_nobody_but_the_platform_is_the_registrar() -> None:
    stranger = SigningKey.generate()
    for document in (registered(consent(SESSION), stranger, PLATFORM), sign(consent(SESSION), PLATFORM, "registrar")):
        with pytest.raises(BadSignature):
            verify(document, "enterprise")
    own = countersign(sign(consent(SESSION), stranger, "enterprise"), PLATFORM, "platform")
    with pytest.raises(BadSignature):
        verify(own, "enterprise")  # an enterprise's own key cannot pass as a session


def test_a_registrar_cannot_stand_in_where_a_passkey_is_stated() -> None:
    with pytest.raises(BadSignature, match="role enterprise"):
        verify(registered(consent()), "enterprise")


def test_a_receipt_with_an_idle_signature_is_refused() -> None:
    both = countersign(sign(consent(SESSION), SigningKey.generate(), "enterprise"), PLATFORM, "registrar")
    keyring = Keyring.found(PLATFORM, platform="zone", at="2026-01-01T00:00:00Z", valid_until="2027-01-01T00:00:00Z")
    document = countersign(both, PLATFORM, "platform")
    raw = receipt.issue(document, PLATFORM, receipt_id="r-1", platform="zone", recorded_at=AT, issued_at=AT)
    with pytest.raises(receipt.InconsistentReceipt, match="no use for"):
        receipt.verify(raw, keyring)


def test_a_node_may_refuse_a_kind_of_evidence() -> None:
    """What counts as proof is for the owner of the data to say: the consent stays on record and covers nothing."""
    unlimited = {"limits": {"total": None, "count": None, "period_days": None}}
    events = [{"seq": 1, "kind": "consent", "document": registered(consent(SESSION, **unlimited))}]
    open_book, strict = ConsentBook(), ConsentBook(frozenset({"session_code"}))
    for book in (open_book, strict):
        book.apply(events[0])
    subject = ("91350100M000100Y43", "bank_a", "underwriting_score", AT)
    assert open_book.live(*subject)
    assert open_book.covered(*subject[1:]) == {subject[0]}
    assert strict.covered(*subject[1:]) == frozenset()
    with pytest.raises(Denied) as caught:
        strict.live(*subject)
    assert caught.value.code == "evidence_not_accepted"
    assert "passkey" in caught.value.message
    again = ConsentBook.load(json.loads(json.dumps(list(strict.dump()))), frozenset({"session_code"}))
    assert again.covered(*subject[1:]) == frozenset()


# ---- who may change a consent


ED, OTHER_ED = SigningKey.generate().public.raw, SigningKey.generate().public.raw
ONE, TWO = Passkey().public.raw, Passkey().public.raw


@pytest.mark.parametrize(
    ("first", "now", "taking", "giving"),
    [
        (ED, ED, True, True),
        (ED, OTHER_ED, False, False),
        (ED, ONE, True, False),  # whoever enrols later may end what an earlier key gave, not extend it
        (ED, NO_KEY, True, False),
        (ONE, ONE, True, True),
        (ONE, TWO, True, True),  # another passkey of the enterprise: keys are lost
        (ONE, NO_KEY, True, False),  # a weaker proof takes away and never gives
        (ONE, ED, False, False),
        (NO_KEY, NO_KEY, True, True),
        (NO_KEY, ONE, True, True),
        (NO_KEY, ED, False, False),
    ],
    ids=[
        "same key", "another key", "passkey after key", "none after key", "same passkey", "another passkey",
        "none after passkey", "key after passkey", "none after none", "passkey after none", "key after none",
    ],
)  # fmt: skip
def test_withdrawing_is_never_harder_than_giving_and_resuming_never_weaker(
    first: bytes, now: bytes, taking: bool, giving: bool
) -> None:
    """PIPL §15."""
    for action, may in (("pause", taking), ("withdraw", taking), ("resume", giving)):
        if may:
            check_follows(first, now, action, "c-1")
        else:
            with pytest.raises(NotTheEnterprise):
                check_follows(first, now, action, "c-1")


def test_another_passkey_of_the_enterprise_withdraws_and_the_receipt_holds() -> None:
    withdrawal = artefact.withdrawal(consent_id="c-1", enterprise="91350100M000100Y43", at=AT, evidence=EVIDENCE)
    document = countersign(Passkey().sign(withdrawal), PLATFORM, "platform")
    book = ConsentBook()
    for seq, (kind, each) in enumerate((("consent", DOCUMENT), ("transition", document)), 1):
        event = {"seq": seq, "kind": kind, "document": each}
        verify_event(event, PLATFORM.public)
        book.apply(event)
    assert book.by_id("c-1").state == "withdrawn"
    keyring = Keyring.found(PLATFORM, platform="zone", at="2026-01-01T00:00:00Z", valid_until="2027-01-01T00:00:00Z")
    raw = receipt.issue(
        document, PLATFORM, receipt_id="r-1", platform="zone", recorded_at=AT, issued_at=AT, consent=(DOCUMENT, AT)
    )
    assert receipt.verify(raw, keyring).transition == "withdraw"
