"""Who may ask how an enterprise's data were used: a key of its own, now (R46, R51).

For one that never had a key the platform may vouch, in a question that its ledger holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.canonical import canonical
from consent.errors import MalformedDocument, Refused
from consent.evidence import NO_KEY, NotTheEnterprise
from consent.keys import SigningKey
from consent.ledger import FixedKeys, Kind, Ledger, MemoryStore, entry, new_salt, prove_inclusion, records
from consent.ledger.errors import EntryMismatch, ForgedHead, StaleHead, WrongLog
from consent.policy import Denied
from consent.signed import Document, countersign, sign
from consent.usage_question import (
    OwnKeyNeeded,
    QuestionNotEntered,
    check_asked,
    check_entered,
    check_word,
    is_word,
    question,
)
from tests.support.authenticator import EVIDENCE, Passkey

AT = "2026-05-01T08:00:00Z"
KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
IMPORTED = {"kind": "import", "reference": "0" * 64}


def body(**changes: Any) -> Document:
    fields = {"question_id": "q-0123456789abcdef", "enterprise": "E1", "at": AT, "evidence": IMPORTED}
    return question(**{**fields, **changes})


def test_the_key_that_signed_a_consent_is_answered_and_so_is_a_passkey() -> None:
    signed = sign(body(), KEY, "enterprise")
    assert check_asked(signed, {KEY.public.raw}, AT)["enterprise"] == "E1"
    passkey = Passkey()
    asked = passkey.sign(body(evidence=EVIDENCE))
    assert check_asked(asked, {passkey.public.raw}, AT)["question_id"] == "q-0123456789abcdef"


@pytest.mark.parametrize("keys", [set(), {STRANGER.public.raw}])
def test_another_key_is_not_answered_whatever_it_signs(keys: set[bytes]) -> None:
    with pytest.raises(NotTheEnterprise):
        check_asked(sign(body(), KEY, "enterprise"), keys, AT)


def test_the_platforms_word_is_no_key() -> None:
    """R51: it could read out a cohort, one enterprise after the other; it is judged by other rules, below."""
    platform = SigningKey.generate()
    stood = body(evidence={"kind": "session_code", "reference": "0" * 64})
    signed = countersign(sign(stood, platform, "registrar"), platform, "platform")
    for keys in ({b""}, {platform.public.raw}, {b"", platform.public.raw}):
        with pytest.raises(NotTheEnterprise):
            check_asked(signed, keys, AT)
    with pytest.raises(Refused):
        check_asked(sign(body(), platform, "platform"), {platform.public.raw}, AT)


@pytest.mark.parametrize("now", ["2026-05-01T08:10:01Z", "2026-05-01T07:49:59Z"])
def test_an_old_question_is_not_answered_again(now: str) -> None:
    with pytest.raises(Denied, match="ask again"):
        check_asked(sign(body(), KEY, "enterprise"), {KEY.public.raw}, now)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"question_id": "q-1"}, "question_id"),
        ({"enterprise": ""}, "enterprise"),
        ({"at": "today"}, "at"),
        ({"evidence": {"kind": "rumour", "reference": "x"}}, "evidence"),
        ({"evidence": {"kind": "import"}}, "evidence"),
    ],
)
def test_a_question_that_is_not_of_its_form_is_refused_by_field(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedDocument, match=f"^{named}"):
        body(**changes)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(min_value=0), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused(place: int, flip: int) -> None:
    raw = canonical(sign(body(), KEY, "enterprise"))
    place %= len(raw)
    changed = raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :]
    try:
        document = json.loads(changed)
    except ValueError:
        return
    if isinstance(document, dict):
        with pytest.raises((Refused, MalformedDocument)):
            check_asked(document, {KEY.public.raw}, AT)


# ---- by the platform's word

PLATFORM = SigningKey.generate()
BY_CODE = {"kind": "session_code", "reference": "0" * 64}


def word(key: SigningKey = PLATFORM, **changes: Any) -> Document:
    """A question for which the platform vouches."""
    return countersign(sign(body(evidence=BY_CODE, **changes), key, "registrar"), key, "platform")


def entered(
    document: Document,
    kind: Kind = Kind.QUESTION,
    at: str = AT,
    key: SigningKey = PLATFORM,
    log: str = "creditlab",
    before: int = 3,
) -> Document:
    """The ledger's record of a document, under a head of that time, `before` entries later than the first."""
    ledger, salt = Ledger(MemoryStore(log)), new_salt()
    ledger.append([entry(Kind.CONSENT, at, {"n": n}, new_salt()) for n in range(before)])
    (place,) = ledger.append([entry(kind, at, document, salt)])
    return json.loads(records.make(document, salt, prove_inclusion(ledger.store, place, ledger.sign_head(key, at))))


def judged(document: Document, record: Any, **changes: Any) -> int:
    given: dict[str, Any] = {"keys": {NO_KEY}, "heads": FixedKeys(PLATFORM.public), "at": AT, "log_id": "creditlab"}
    check_word(document, PLATFORM.public)
    return check_entered(document, record, **{**given, **changes})


def test_the_platform_vouches_for_an_enterprise_that_never_had_a_key_in_a_question_of_its_ledger() -> None:
    """R46: also who acts by session and code learns of its uses."""
    document = word()
    assert is_word(document) and not is_word(sign(body(), KEY, "enterprise"))
    assert check_word(document, PLATFORM.public)["enterprise"] == "E1"
    assert judged(document, entered(document)) == 3
    assert judged(document, entered(document), log_id=None) == 3  # a node before its first head knows no log yet


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (set(), NotTheEnterprise),  # nothing on record
        ({KEY.public.raw}, OwnKeyNeeded),
        ({NO_KEY, KEY.public.raw}, OwnKeyNeeded),  # it signed once: it asks with that key
        ({NO_KEY, PLATFORM.public.raw}, OwnKeyNeeded),
    ],
)
def test_the_platform_vouches_for_nobody_who_ever_signed(keys: set[bytes], named: type[Exception]) -> None:
    """R51: its word reads out nothing that it did not open before."""
    document = word()
    with pytest.raises(NotTheEnterprise) as refused:
        judged(document, entered(document), keys=keys)
    assert type(refused.value) is named


NOT_ENTERED: dict[str, tuple[Callable[[Document], Any], type[Exception]]] = {
    "no record": (lambda document: None, QuestionNotEntered),
    "another question's": (lambda document: entered(word(question_id="q-" + "f" * 16)), QuestionNotEntered),
    "of another kind": (lambda document: entered(document, kind=Kind.DATA_USE), QuestionNotEntered),
    "the body alone": (lambda document: entered(document["body"]), QuestionNotEntered),
    "an old head": (lambda document: entered(document, at="2026-05-01T07:49:59Z"), StaleHead),
    "another salt": (lambda document: {**entered(document), "salt": "0" * 64}, EntryMismatch),
    "another's head": (lambda document: entered(document, key=STRANGER), ForgedHead),
    "another log": (lambda document: entered(document, log="aside"), WrongLog),
    "no record at all": (lambda document: {"document": document}, Refused),
    "what is no JSON": (lambda document: {"n": 2**70}, Refused),
    "a text": (lambda document: "entered", Refused),
}


@pytest.mark.parametrize("case", NOT_ENTERED)
def test_what_the_ledger_is_not_proved_to_hold_is_not_answered(case: str) -> None:
    """So that auditors and witnesses can count every question that was put in somebody's stead."""
    document = word()
    made, named = NOT_ENTERED[case]
    with pytest.raises(named):
        judged(document, made(document))


@pytest.mark.parametrize("now", ["2026-05-01T08:10:01Z", "2026-05-01T07:49:59Z"])
def test_an_old_question_by_the_platforms_word_is_not_answered(now: str) -> None:
    document = word()
    with pytest.raises(Denied, match="ask again"):
        judged(document, entered(document, at=now), at=now)


def test_it_is_the_platforms_word_only_by_the_platforms_key_in_both_roles() -> None:
    own = body(evidence=BY_CODE)
    once = sign(own, PLATFORM, "registrar")
    for document in (
        word(STRANGER),
        once,  # not countersigned
        countersign(once, STRANGER, "platform"),
        countersign(sign(own, STRANGER, "registrar"), PLATFORM, "platform"),
        sign(own, PLATFORM, "platform"),
        countersign(sign(body(), PLATFORM, "enterprise"), PLATFORM, "platform"),  # a key's word, not a session's
        sign(body(), KEY, "enterprise"),
    ):
        with pytest.raises(Refused):
            check_word(document, PLATFORM.public)
    with pytest.raises(MalformedDocument):
        check_word({"body": {"evidence": BY_CODE}, "signatures": []}, PLATFORM.public)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(min_value=0), flip=st.integers(1, 255), of_record=st.booleans())
def test_any_changed_byte_of_question_or_record_is_refused_by_name(place: int, flip: int, of_record: bool) -> None:
    parts = [canonical(WORD), canonical(RECORD)]
    raw = parts[of_record]
    place %= len(raw)
    parts[of_record] = raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :]
    try:
        document, record = (json.loads(part) for part in parts)
        canonical([document, record])
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict):
        with pytest.raises((Refused, MalformedDocument, Denied)):
            judged(document, record) if of_record else check_word(document, PLATFORM.public)


WORD = word()
RECORD = entered(WORD)
