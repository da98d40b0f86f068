"""A person's own consent besides the enterprise's: signed by the person, found by every node (PIPL §13, §15, §29, R44).

Both orders of signing lead to the same; whatever is missing, withdrawn, run out or less than the enterprise's terms
leaves the enterprise's consent without effect.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent import artefact, notice, person
from consent.artefact import MalformedDocument
from consent.book import ConsentBook, verify_event
from consent.canonical import canonical
from consent.evidence import EvidenceMismatch, NotThePerson
from consent.keyring import Keyring
from consent.keys import BadSignature, SigningKey
from consent.lifecycle import IllegalTransition, NotYetExpired, State
from consent.person import Given
from consent.policy import Denied
from consent.receipt import ReceiptRefused, issue, verify
from consent.signed import countersign, sign
from consent.signed import verify as verify_signature
from tests.consent.conftest import Maker
from tests.support.authenticator import Passkey

AT = "2026-05-01T00:00:00Z"
SCORE = {"purpose": "underwriting_score"}
ALL = {"tax": "*", "key_persons": ["share_ratio"]}


def book_of(make: Maker) -> ConsentBook:
    book = ConsentBook()
    for event in make.events:
        verify_event(event, make.platform.public)
        book.apply(event)
    return book


def trader(make: Maker, who: str = "e", **more: Any) -> dict[str, Any]:
    """A sole trader's consent to being scored, naming the offer to the person; returns the offer."""
    offered = make.offer(who, **SCORE)
    make.consent(who, subject="sole_trader", persons=[make.named(offered)], **{**SCORE, **more})
    return offered


def denied(book: ConsentBook, who: str = "e", at: str = AT) -> str:
    with pytest.raises(Denied) as caught:
        book.live(who, "bank_a", "underwriting_score", at, used={})
    assert not book.covers(who, "bank_a", "underwriting_score", at, used={})
    return caught.value.code


# ---- what it takes


@pytest.mark.parametrize("person_first", [False, True])
def test_either_may_sign_first(make: Maker, person_first: bool) -> None:
    """PIPL §29: the reference is the digest of the offered terms without times, so order does not matter."""
    if person_first:
        make.said(make.offer("e", **SCORE), passkey=Passkey())
        trader(make)
    else:
        offered = trader(make)
        assert denied(book_of(make)) == "person_consent_missing"
        make.said(offered, given_at="2026-03-01T00:00:00Z", valid_from="2026-03-01T00:00:00Z", passkey=Passkey())
    book = book_of(make)
    assert book.live("e", "bank_a", "underwriting_score", AT, used={}).enterprise == "e"
    assert book.covered("bank_a", "underwriting_score", AT, used={}) == {"e"}


def test_a_persons_withdrawal_ends_what_rests_on_it_and_a_new_consent_opens_it_again(make: Maker) -> None:
    """R44, PIPL §15: the enterprise's own consent stays as it is and permits nothing."""
    offered = trader(make)
    said = make.said(offered)
    make.taken_back(said)
    book = book_of(make)
    assert denied(book) == "person_consent_withdrawn"
    entry = book.entry("e", "bank_a", "underwriting_score")
    assert entry is not None and entry.state is State.ACTIVE
    make.said(offered)
    assert book_of(make).covers("e", "bank_a", "underwriting_score", AT, used={})


def test_every_position_of_the_feed_has_its_own_answer(make: Maker) -> None:
    offered = trader(make)
    make.taken_back(make.said(offered))
    make.said(offered)
    book = book_of(make)
    found = [book.covers("e", "bank_a", "underwriting_score", AT, seq, used={}) for seq in range(5)]
    assert found == [False, False, True, False, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"valid_from": "2026-05-01T00:00:01Z"},
        {"valid_until": AT},
        {"kind": person.REFUSAL},
    ],
)
def test_not_yet_no_longer_or_no_is_missing(make: Maker, changes: dict[str, Any]) -> None:
    make.said(trader(make), **changes)
    assert denied(book_of(make)) == "person_consent_missing"


@pytest.mark.parametrize(
    "less",
    [
        {"modes": ["verification"]},
        {"window_months": 12},
        {"life_days": 1},
        {"data": {"tax": "*"}},
        {"limits": {"total": 1, "count": 1, "period_days": 30}},
        {"recipient": "bank_b"},
        {"provider": "lab_2"},
        {"storage": "recipient"},
    ],
)
def test_a_person_who_agreed_to_less_has_not_agreed(make: Maker, less: dict[str, Any]) -> None:
    """PIPL §14: an enterprise's terms reach no further than its person's."""
    offered = make.offer("e", **SCORE, **less)
    make.consent("e", subject="sole_trader", persons=[make.named(offered)], **SCORE)
    make.said(offered)
    assert denied(book_of(make)) == "person_consent_missing"


def test_an_enterprise_may_agree_to_less_than_its_person_was_offered(make: Maker) -> None:
    make.said(trader(make, window_months=6, data={"tax": ["tax_grade"]}))
    assert book_of(make).covers("e", "bank_a", "underwriting_score", AT, used={})


def test_a_key_person_is_asked_for_what_is_said_about_persons_only(make: Maker) -> None:
    """PIPL §6: the least; each named person is needed, and one is not enough for two."""
    terms = {**SCORE, "data": ALL}
    offers = [make.offer("e", role, f"p-{n}", **terms) for n, role in enumerate(("legal_representative", "controller"))]
    assert [one["data"] for one in offers] == [{"key_persons": ["share_ratio"]}] * 2
    make.consent("e", persons=[make.named(one) for one in offers], **terms)
    make.said(offers[0])
    assert denied(book_of(make)) == "person_consent_missing"
    make.said(offers[1])
    assert book_of(make).covers("e", "bank_a", "underwriting_score", AT, used={})
    with pytest.raises(person.NothingConcerns):
        make.offer("e", "key_person", **SCORE)


def test_a_word_for_one_enterprise_or_purpose_is_none_for_another(make: Maker) -> None:
    offered = trader(make)
    make.said(offered)
    make.consent("e2", subject="sole_trader", persons=[make.named(offered)], **SCORE)
    make.consent("e", subject="sole_trader", persons=[make.named(offered)])
    book = book_of(make)
    assert denied(book, "e2") == "person_consent_missing"
    assert not book.covers("e", "bank_a", "joint_training", AT)


def test_a_role_that_was_not_offered_is_missing(make: Maker) -> None:
    offered = make.offer("e", "key_person", **SCORE, data=ALL)
    make.said(offered)
    named = {**make.named(offered), "role": "sole_trader"}
    make.consent("e", subject="sole_trader", persons=[named], **SCORE)
    assert denied(book_of(make)) == "person_consent_missing"


def test_evidence_that_the_owner_refuses_is_none(make: Maker) -> None:
    make.said(trader(make))
    book = ConsentBook(frozenset({"session_code"}))
    for event in make.events:
        book.apply(event)
    assert denied(book) == "person_consent_missing"


def test_what_needs_nobody_asks_for_nobody(make: Maker) -> None:
    make.consent("e", **SCORE)
    book = book_of(make)
    entry = book.live("e", "bank_a", "underwriting_score", AT, used={})
    assert book.persons(entry.consent_id, AT) is Given.NONE_NEEDED
    assert not list(book.dump_words())


# ---- histories

STEPS = ("give", "refuse", "take back", "grant", "withdraw")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=14))
def test_after_any_history_both_must_stand_and_the_rows_say_the_same(steps: list[str]) -> None:
    """R44: covered exactly while the newest word of each is yes, at every position and after a start from rows."""
    make = Maker()
    offered = make.offer("e", **SCORE)
    own, hers, expected = None, None, [False]
    for step in steps:
        if step == "give":
            hers = make.said(offered)
        elif step == "refuse":
            make.said(offered, person.REFUSAL)
            hers = None
        elif step == "take back" and hers is not None:
            make.taken_back(hers)
            hers = None
        elif step == "grant" and own is None:
            own = make.consent("e", subject="sole_trader", persons=[make.named(offered)], **SCORE)
        elif step == "withdraw" and own is not None:
            make.withdrawal(own)
            own = None
        else:
            continue
        expected.append(own is not None and hers is not None)
    book = book_of(make)
    rows, words = json.loads(json.dumps([list(book.dump()), list(book.dump_words())]))
    again = ConsentBook.load(rows, words=words)
    for seq, wanted in enumerate(expected):
        assert book.covers("e", "bank_a", "underwriting_score", AT, seq, used={}) is wanted
        assert again.covers("e", "bank_a", "underwriting_score", AT, seq, used={}) is wanted
    assert (list(again.dump()), list(again.dump_words())) == (list(book.dump()), list(book.dump_words()))


def test_rows_that_lost_what_they_ask_of_persons_are_not_read(make: Maker) -> None:
    trader(make)
    rows = [row[:14] for row in json.loads(json.dumps(list(book_of(make).dump())))]
    with pytest.raises(ValueError, match="persons"):
        ConsentBook.load(rows)


# ---- the documents


def test_only_the_person_or_the_registrar_signs_it(make: Maker) -> None:
    """An enterprise's signature, or a passkey that signed as the enterprise, is not the person's."""
    body = make.said(make.offer("e", **SCORE))["document"]["body"]
    for role in ("enterprise", "person"):
        event = {
            "seq": 2,
            "kind": person.CONSENT,
            "document": countersign(sign(body, SigningKey.generate(), role), make.platform, "platform"),
        }
        with pytest.raises(BadSignature):
            verify_event(event, make.platform.public)
    signed = make.said(make.offer("e", **SCORE), passkey=Passkey())["document"]
    assert verify_signature(signed, "person")["person"] == "p-1"
    with pytest.raises(EvidenceMismatch):
        verify_signature(signed, "enterprise")


LAST, OVER, AFTER = "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", "2027-12-01T00:00:00Z"


def test_the_platform_says_when_a_persons_consent_has_run_out(make: Maker) -> None:
    """PIPL §14: the same word as for an enterprise's; by it and without it both sides find the same."""
    said = make.said(offered := make.offer("e", **SCORE))
    consent = make.consent("e", subject="sole_trader", persons=[make.named(offered)], valid_until=AFTER, **SCORE)
    name = consent["document"]["body"]["consent_id"]
    without = book_of(make)
    make.ran_out(said, OVER)
    book = book_of(make)
    for at, found in ((LAST, Given.GIVEN), (OVER, Given.MISSING), ("2027-06-01T00:00:00Z", Given.MISSING)):
        assert without.persons(name, at) is book.persons(name, at, seq=2) is found
    assert book.persons(name, OVER) is book.persons(name, LAST) is Given.MISSING
    word = book.word(said["document"]["body"]["consent_id"])
    assert word is not None
    assert (word.life.state, word.ended) == (State.EXPIRED, (3, OVER))
    rows, words = json.loads(json.dumps([list(book.dump()), list(book.dump_words())]))
    assert list(ConsentBook.load(rows, words=words).dump_words()) == list(book.dump_words())


def test_only_time_and_only_the_platform_end_it_so(make: Maker) -> None:
    said = make.said(make.offer("e", **SCORE))
    event = make.ran_out(said, LAST)
    with pytest.raises(NotYetExpired):
        book_of(make)
    body = {**event["document"]["body"], "at": OVER}
    for document in (
        sign(body, make.key("e"), "platform"),
        countersign(sign(body, make.platform, "person"), SigningKey.generate(), "platform"),
    ):
        with pytest.raises(BadSignature):
            verify_event({**event, "document": document}, make.platform.public)
    verify_event({**event, "document": sign(body, make.platform, "platform")}, make.platform.public)
    make.events.pop()
    make.ran_out(said, OVER, person="p-2")
    with pytest.raises(NotThePerson):
        book_of(make)


def test_what_was_withdrawn_or_has_run_out_ends_once(make: Maker) -> None:
    said = make.said(make.offer("e", **SCORE))
    make.taken_back(said)
    make.ran_out(said, OVER)
    with pytest.raises(IllegalTransition):
        book_of(make)
    make.events[1:] = []
    make.ran_out(said, OVER)
    make.taken_back(said, AFTER)
    with pytest.raises(IllegalTransition):
        book_of(make)


def test_nobody_takes_back_what_another_person_gave(make: Maker) -> None:
    said = make.said(make.offer("e", **SCORE))
    make.taken_back(said, person="p-2")
    with pytest.raises(NotThePerson):
        book_of(make)


def test_a_number_serves_once_and_an_unknown_one_is_refused(make: Maker) -> None:
    said = make.said(make.offer("e", **SCORE), consent_id="c-x")
    make.consent("e", consent_id="c-x")
    with pytest.raises(MalformedDocument, match="used already"):
        book_of(make)
    make.events[1:] = []
    make.taken_back(said, consent_id="c-y")
    with pytest.raises(MalformedDocument, match="not known"):
        book_of(make)


def test_withdrawn_is_final_and_a_refusal_cannot_be_taken_back(make: Maker) -> None:
    said = make.said(make.offer("e", **SCORE))
    make.taken_back(said)
    make.taken_back(said, "2026-07-01T00:00:00Z")
    word = book_of(make).word(said["document"]["body"]["consent_id"])
    assert word is not None and word.ended == (2, "2026-06-01T00:00:00Z")
    make.taken_back(make.said(make.offer("e", **SCORE), person.REFUSAL))
    with pytest.raises(IllegalTransition):
        book_of(make)


@pytest.mark.parametrize("language", notice.LANGUAGES)
def test_the_notice_tells_the_person_what_it_is_about_and_changes_with_every_term(make: Maker, language: str) -> None:
    """PIPL §17, §30: recipient, purpose, data, term, necessity and effect, and how to withdraw."""
    offered = make.offer("e", **SCORE)
    body = make.said(offered, language=language)["document"]["body"]
    text = notice.render(body, language)
    for told in ("bank_a", "lab", "p-1", body["valid_until"], str(body["window_months"])):
        assert told in text
    assert ("敏感个人信息" if language == "zh" else "sensitive") in text
    with pytest.raises(person.OfferMismatch):
        artefact.check({**body, "window_months": 1})
    with pytest.raises(notice.NoticeMismatch):
        artefact.check({**body, "valid_until": "2026-12-01T00:00:00Z"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"role": "friend"}, "role"),
        ({"person": ""}, "person"),
        ({"data": {}}, "data"),
        ({"role": "key_person"}, "data"),
        ({"evidence": {"kind": "paper", "reference": "0" * 64}}, "evidence.kind"),
        ({"version": 2}, "version"),
        ({"extra": 1}, "extra"),
        ({"valid_until": "2026-01-01T00:00:00Z"}, "valid_until"),
        ({"modes": ["raw_detail"]}, "modes"),
    ],
)
def test_malformed_is_refused_by_field(make: Maker, changes: dict[str, Any], field: str) -> None:
    body = make.said(make.offer("e", **SCORE))["document"]["body"]
    with pytest.raises(MalformedDocument, match=field.replace(".", r"\.")):
        artefact.check({**body, **changes})


_MAKER = Maker()
_EVENT = _MAKER.said(_MAKER.offer("e", **SCORE), passkey=Passkey())
_RAW = canonical(_EVENT["document"])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 8 * len(_RAW) - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    """As a node takes it: no single bit of the document can change and still be the person's."""
    raw = bytearray(_RAW)
    raw[bit // 8] ^= 1 << bit % 8
    try:
        changed = json.loads(raw.decode())
    except ValueError:
        return
    with pytest.raises((BadSignature, MalformedDocument)):
        verify_event({**_EVENT, "document": changed}, _MAKER.platform.public)


# ---- receipts


def test_receipts_of_a_persons_consent_and_withdrawal_hold_and_cannot_be_mixed_up(make: Maker) -> None:
    """R44: the same form as an enterprise's; the view says whose word it is."""
    keyring = Keyring.found(
        make.platform, platform="zone", at="2026-01-01T00:00:00Z", valid_until="2027-01-01T00:00:00Z"
    )
    times = {"receipt_id": "r-1", "platform": "zone", "recorded_at": AT, "issued_at": AT}
    key = Passkey()
    said = make.said(make.offer("e", **SCORE), passkey=key)
    back = make.taken_back(said, passkey=key)["document"]
    view = verify(issue(said["document"], make.platform, **times), keyring)
    assert (view.transition, view.party, view.person_key_id, view.enterprise_key_id) == (
        "person_grant", "person", key.public.key_id, None,
    )  # fmt: skip
    raw = issue(back, make.platform, consent=(said["document"], AT), **times)
    assert verify(raw, keyring).transition == "person_withdraw"
    over = make.ran_out(said, OVER)["document"]
    view = verify(issue(over, make.platform, consent=(said["document"], AT), **times), keyring)
    assert (view.transition, view.party, view.person_key_id) == ("person_expire", "platform", None)
    name = said["document"]["body"]["consent_id"]
    for other in (
        make.said(make.offer("e", who="p-2", **SCORE), consent_id=name),
        make.consent("e", consent_id=name, **SCORE),
    ):
        with pytest.raises(ReceiptRefused):
            issue(back, make.platform, consent=(other["document"], AT), **times)
